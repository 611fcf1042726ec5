"""Metres for the path of a rigid object: from the table on which it rests, the hand that holds it, and a known length."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from demos.camera import FloatArray
from demos.extract.objects.grip import Grip
from demos.extract.objects.lift_figures import LiftFigures
from demos.extract.objects.path_distance import steady_distance
from demos.extract.objects.rigid_motion import RigidMotion, refine_path
from demos.extract.objects.touch import HAND_SIGMA, distance_beside
from demos.extract.objects.views import Views

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

_LENGTH_SIGMA = 0.12  # of the length as the pictures show it
_LENGTH_SIGMA_POSED = 0.05  # the same where the camera's pose is known
_LENGTH_QUANTILE = 0.7
_LOOKS_DOWN_RAD = 0.5  # a camera of unknown pose that looks at a table
_TABLE_SIGMA = 0.02  # of the distance at which the table is met
_TABLE_TOLERANCE = 0.1  # by which a later rest may make the distance larger
_LEVEL_SIGMA = 0.003  # of the distance once it is found
_WHOLE = 0.7  # of its visible size at the first rest, that an object shows at another one
_LET_GO = 1.5  # half extents from where the hand let it go, at which it was put down
_BEGINS_S = 0.35  # of the contact, in which the object is still about where it rested
_FRONT_RADII = 0.7  # from the middle of a can, bottle or ball to most of what is seen of it
_LEAST_SEEN = 4  # points that show where it is
_LIFTED_RISE = 0.4  # of its way, that an object rises which is lifted off something
_LIFTED_SIZES = 0.6  # half extents on its way, from which that is judged
_LIFTED_TOLERANCE = 0.35  # by which the table and other hints may then disagree
_FOOT_RADII = 0.82  # how far behind the mask's nearest edge the axis of a box or can is
_GRIP_FRAMES = 24  # in which the object's surface is compared with the fingertips


def to_metres(
    motion: RigidMotion,
    views: Views,
    carried: FloatArray,
    grip: Grip,
    contact: BoolArray,
    fps: float,
    known_length_m: float | None,
    T_world_camera: FloatArray | None,
) -> tuple[RigidMotion, LiftFigures]:
    """The motion in metres by what is known of its scale, on the table at every rest and in the hand at every contact; its
    turns are found again there.

    Args:
        motion: in a unit of its own.
        views: n views of T frames.
        carried: (n, 3, 3) turn of the hand in each view against one frame of its contact; NaN without contact.
        grip: where the hand grips in the T frames.
        contact: (T,) whether it does.
        fps: frames a second.
        known_length_m: the object's largest extent, where the user knows it.
        T_world_camera: (4, 4) where it is known.
    """
    still = 1.0 - len(views.frame) / len(views.of_frame)
    figures = LiftFigures(True, "depth", 0.01, key_views=len(motion.key_views), still_fraction=still)
    if np.isfinite(views.depth).any():
        return motion, dataclasses.replace(figures, length_m=_length(motion, views, T_world_camera))
    held = np.flatnonzero(contact)
    by_table = _asked_by_table(motion, views, T_world_camera)
    first = int(np.argmax(np.isfinite(by_table)))
    by_hand = np.nan
    if grip.known:
        at = held if len(held) else np.arange(len(contact))
        after = held[held >= views.frame[first]]
        if np.isfinite(by_table[first]) and len(after):  # before its path drifts, hand and table are compared
            at = after[: max(1, round(_BEGINS_S * fps))]
            by_hand = _scale_by_hand(motion, views, grip, at, rest=first)
        else:
            by_hand = _scale_by_hand(motion, views, grip, at)
    sources = {
        "hand" if len(held) else "hand without contact": (by_hand, HAND_SIGMA if len(held) else 0.25),
        "table": (float(by_table[first]), _TABLE_SIGMA),
        "length": (np.nan, 1.0),
    }
    length_m = _length(motion, views, T_world_camera)
    if known_length_m is not None:
        sigma = _LENGTH_SIGMA if T_world_camera is None else _LENGTH_SIGMA_POSED
        sources["length"] = float(np.log(known_length_m / length_m)), sigma
    known = {name: one for name, one in sources.items() if np.isfinite(one[0])}
    if not known:
        return motion, dataclasses.replace(figures, scale_source="none", scale_sigma=0.5, length_m=length_m)
    if "table" in known and len(known) > 1:  # a thing that stands elsewhere is as much off as the table is high
        others = [one for name, one in known.items() if name != "table"]
        away = known["table"][0] - sum(v / q**2 for v, q in others) / sum(1.0 / q**2 for _, q in others)
        sigma = float(np.sqrt(1.0 / sum(1.0 / q**2 for _, q in others) + _TABLE_SIGMA**2))
        # nothing is below the table, and what was lifted did stand on something, while hands may be measured badly; but what
        # moves level and is seen above the table is rather a drawer than a thing that is pushed
        stands = away < 0.0 or (T_world_camera is not None and _is_lifted(motion, first, T_world_camera))
        allowed = max(2.0 * sigma, _LIFTED_TOLERANCE) if stands else 0.0
        if abs(away) > allowed:
            del known["table"]
            if "hand" in known:
                known["hand"] = _scale_by_hand(motion, views, grip, held), known["hand"][1]
    if "table" in known and "hand" in known:
        known["hand"] = known["hand"][0], max(HAND_SIGMA, 0.5 * abs(known["hand"][0] - known["table"][0]))
    weight = sum(1.0 / sigma**2 for _, sigma in known.values())
    factor = float(np.exp(sum(value / sigma**2 for value, sigma in known.values()) / weight))
    motion = motion.scaled(factor)
    rest_off = _off_at_rests(motion, views, by_table - np.log(factor))
    rest_off = rest_off if "table" in known else np.full(len(by_table), np.nan)
    along = steady_distance(motion, views, grip, rest_off, fps)
    motion = dataclasses.replace(motion, place=motion.place * along[:, None])
    level = motion.place[:, 2]
    motion = refine_path(dataclasses.replace(motion, steady=False), fps, carried, level, _LEVEL_SIGMA * level)
    return motion, dataclasses.replace(
        figures,
        scale_source=" and ".join(known),
        scale_sigma=float(weight**-0.5),
        length_m=_length(motion, views, T_world_camera),
        hand_to_length=float(np.exp(by_hand - sources["length"][0])),
    )


def _scale_by_hand(motion: RigidMotion, views: Views, grip: Grip, frames: IntArray, rest: int | None = None) -> float:
    """Logarithm of the factor that brings the object's surface to the fingertips of the given frames.

    With `rest`, a view, the object is still where that shows it.
    """
    chosen = frames[np.unique(np.linspace(0, len(frames) - 1, _GRIP_FRAMES).astype(int))]
    found: list[float] = []
    for frame in chosen:
        view = views.of_frame[frame] if rest is None else rest
        points = motion.points[:-1][views.seen[view]] @ motion.turn[view].T + motion.place[view]
        beside = distance_beside(points, grip.middle[frame])
        found.append(grip.middle[frame, 2] / (beside if np.isfinite(beside) else motion.place[view, 2]))
    ratio = float(np.median(found))
    return float(np.log(ratio)) if ratio > 0.0 else np.nan


def _resting_depth(views: Views, T_world_camera: FloatArray | None) -> FloatArray:
    """Depth (n,) m of the object's middle in the views in which it rests, if it does so on the table; NaN in the others.

    The mask's nearest edge meets the table in front of the object's axis: by its radius for a box or can, by less for a ball.
    """
    depth = np.full(len(views.frame), np.nan)
    outlines = views.outlines
    for view in np.flatnonzero(~views.contact & (views.length > 1) & np.isfinite(outlines.foot[:, 0])):
        if T_world_camera is None:
            break
        up, foot, ray = T_world_camera[2, :3], outlines.foot[view], np.append(outlines.middle[view], 1.0)
        long, short = outlines.half_axes[view]
        radius = float(short * foot[2])
        # a ball's mask fills its ellipse and is as long as wide, that of a box has corners
        round_mask = np.clip((outlines.area[view] / (np.pi * long * short) - 0.955) / 0.035, 0.0, 1.0)
        round_mask *= np.clip((short / long - 0.8) / 0.15, 0.0, 1.0)
        ahead = foot - (foot @ up) * up
        # the ray that touches a ball from below meets the table before the place on which it rests
        down = float(np.arctan2(-(foot @ up), np.linalg.norm(ahead)))
        behind = radius * (_FOOT_RADII + (np.tan(0.5 * down) - _FOOT_RADII) * float(round_mask))
        axis = foot + behind * ahead / max(float(np.linalg.norm(ahead)), 1e-9)
        # the middle is on its ray above that place, hardly higher than the object is wide if the camera looks straight down
        rows = np.concatenate([np.stack([ray, -up], axis=1), [[0.0, 0.1]]])
        found = float(np.linalg.lstsq(rows, np.append(axis, 0.1 * radius), rcond=None)[0][0])
        depth[view] = found if found > 0.0 else np.nan
    return depth


def _asked_by_table(motion: RigidMotion, views: Views, T_world_camera: FloatArray | None) -> FloatArray:
    """Logarithm (n,) of the factor that brings the object onto the table in the views in which it rests; NaN in the others.

    What is seen of it is nearer than its middle, by somewhat less than its radius.
    """
    resting = _resting_depth(views, T_world_camera)
    found = np.full(len(resting), np.nan)
    for view in np.flatnonzero(np.isfinite(resting)):
        seen = motion.points[:-1][views.seen[view]] @ motion.turn[view, 2] + motion.place[view, 2]
        radius = float(views.outlines.half_axes[view, 1]) * resting[view]
        if len(seen) >= _LEAST_SEEN:
            found[view] = np.log((resting[view] - _FRONT_RADII * radius) / np.median(seen))
        else:
            found[view] = np.log(resting[view] / motion.place[view, 2])
    return found


def _off_at_rests(motion: RigidMotion, views: Views, by_table: FloatArray) -> FloatArray:
    """Logarithm (n,) of the factors that bring the object onto the table wherever it rests there, against the first rest.

    The motion of points says little of a slow change of distance: what is off at a later rest has crept in since the first.
    """
    first = int(np.argmax(np.isfinite(by_table)))
    off = by_table - by_table[first]
    # nothing is below the table; but what seems to hover may have been put onto or into something
    off[(off > _TABLE_TOLERANCE) | (off < -_LIFTED_TOLERANCE)] = np.nan
    # what is partly hidden, as by the wall of a bucket, does not show where it stands
    size = views.outlines.area * motion.place[:, 2] ** 2
    off[size < _WHOLE * size[first]] = np.nan
    # nor is it known where a thing comes to rest that the hand let go on its way
    held = np.flatnonzero(views.contact)
    if len(held):
        away = np.linalg.norm(views.outlines.middle - views.outlines.middle[held[-1]], axis=1)
        off[(np.arange(len(off)) > held[-1]) & (away > _LET_GO * views.outlines.half_axes[:, 0])] = np.nan
    return off


def _is_lifted(motion: RigidMotion, view: int, T_world_camera: FloatArray) -> bool:
    """Whether the object rises from its place in a view, other than a drawer or what is pushed along."""
    way = motion.place - motion.place[view]
    far = np.linalg.norm(way, axis=1)
    on_its_way = far > min(_LIFTED_SIZES * float(motion.body.half[0]), 0.25 * float(far.max()))
    return bool((way @ T_world_camera[2, :3] > _LIFTED_RISE * far)[on_its_way & (far > 0.0)].any())


def _length(motion: RigidMotion, views: Views, T_world_camera: FloatArray | None) -> float:
    """The object's largest extent in m, as the masks show it.

    A camera that looks down by e sees a height h and a depth d as h cos(e) + d sin(e); the depth is taken as the width.
    """
    extent = views.outlines.extent * motion.place[:, 2:]
    free = np.isfinite(extent[:, 0]) & ~views.contact
    if not free.any():
        free = np.isfinite(extent[:, 0])
    if not free.any():
        return 2.0 * float(motion.body.half[0])
    up = np.array([0.0, -np.cos(_LOOKS_DOWN_RAD), -np.sin(_LOOKS_DOWN_RAD)])
    if T_world_camera is not None:
        up = T_world_camera[2, :3]
    down = np.arcsin(np.clip(-up[2], 0.0, 0.95))
    upright = np.abs(np.cos(views.outlines.angle) * up[0] + np.sin(views.outlines.angle) * up[1])
    down = down * (upright / max(float(np.hypot(up[0], up[1])), 1e-9)) ** 2
    height = (extent[:, 0] - extent[:, 1] * np.sin(down)) / np.cos(down)
    found = np.maximum(height, extent[:, 1])[free]
    # what hides a part makes it shorter, so rather long than short; a view counts as its frames
    order = np.argsort(found)
    share = np.cumsum(views.length[free][order]) / views.length[free].sum()
    return float(found[order[np.searchsorted(share, _LENGTH_QUANTILE)]])
