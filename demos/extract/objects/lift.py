"""From an object's points and masks in the picture to metres: points in the camera frame and, where it is rigid, its pose.

Depth pictures give metres directly. Without them shape and path come from the points' motion (`rigid_motion`), and metres from
the gripping fingertips, between which the object's middle lies, and from a known length.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from demos.camera import FloatArray
from demos.extract.objects.contact import runs
from demos.extract.objects.object_masks import ObjectMasks
from demos.extract.objects.rigid_motion import RigidMotion, find_rigid_motion, refine_path
from demos.extract.objects.views import Outlines, Views, left_behind, make_views, measure_masks, to_rays
from demos.interaction import FINGERTIPS, HandTrack, ObjectTrack
from demos.parts import DepthFrames, PixelTracks
from dexvid_envs.errors import InputFileError, OptionError

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

_HAND_SIGMA = 0.035  # of the hand's distance, one for the whole clip
_LENGTH_SIGMA = 0.12  # of the length as the pictures show it
_LENGTH_SIGMA_POSED = 0.05  # the same where the camera's pose is known
_LENGTH_QUANTILE = 0.7
_LOOKS_DOWN_RAD = 0.5  # a camera of unknown pose that looks at a table
_TABLE_SIGMA = 0.02  # of the distance at which the table is met
_TABLE_TOLERANCE = 0.1  # by which a later rest may correct the distance
_LIFTED_RISE = 0.4  # of its way, that an object rises which is lifted off something
_LIFTED_TOLERANCE = 0.35  # by which the table and other hints may then disagree
_FOOT_RADII = (0.85, 0.35)  # how far behind the mask's nearest edge the object's axis is, of a box or can, and of a ball
_GRIP_SIGMA = 0.05  # of the hand's distance, frame by frame
_GRIP_FRAMES = 24  # in which the object's surface is brought to the fingertips
_MIDDLE_SIGMA = 0.05  # of the distance, between the object's middle and the fingertips'
_SURFACE_SIGMA_M = 0.012  # between the fingertips and the ellipsoid
_FINGER_M = 0.014  # thickness of a fingertip
_TURN_SMOOTHING_S = 0.15
_OUTLIER_SIGMAS = 6.0
_LARGEST_GAP_S = 0.4  # a pose is carried so far through frames that do not show it
_MIN_POINTS = 3  # that show a pose
_LOOSE_SIZES = 0.06  # points that miss the rigid object by this share of its half extent belong to a deformable one
_WINDOW_PX = 1  # depth is read from the pixels around a point
_DEPTH_RANGE_M = (0.05, 20.0)


@dataclasses.dataclass(frozen=True)
class LiftConfig:
    """How an object is lifted.

    Attributes:
        known_length_m: the object's largest extent, where the user knows it.
        rigid: "yes", "no" (points without pose) or "auto" (as its points move).
        track_sigma_px: noise of the tracks in a picture of 640 px; in a larger one it grows with the size.
        max_key_views: views on which shape and motion are found together.
    """

    known_length_m: float | None = None
    rigid: str = "auto"
    track_sigma_px: float = 0.5
    max_key_views: int = 40

    def validate(self) -> None:
        """Refuses values that nothing can be done with.

        Raises:
            OptionError: names the option, its value and what is expected.
        """
        if self.rigid not in ("auto", "yes", "no"):
            raise OptionError(f"rigid is {self.rigid!r}, expected one of: auto, yes, no")
        if self.known_length_m is not None and not 0.005 <= self.known_length_m <= 3.0:
            raise OptionError(
                f"the object's length is {self.known_length_m} m, expected 0.005 to 3; give its largest extent in metres"
            )
        if not 0.0 < self.track_sigma_px < 50.0:
            raise OptionError(f"track_sigma_px is {self.track_sigma_px}, expected above 0 and below 50")
        if self.max_key_views < 2:
            raise OptionError(f"max_key_views is {self.max_key_views}, expected at least 2")


@dataclasses.dataclass(frozen=True)
class LiftFigures:
    """How well the lift is founded.

    Attributes:
        rigid: whether a rigid pose was fitted.
        scale_source: where the metres come from: "depth", or some of "hand" (or "hand without contact"), "table" and
            "length" joined by "and"; "none" where they are a guess.
        scale_sigma: expected standard deviation of the scale, as a share of it.
        length_m: the object's largest extent as found; NaN where unknown.
        hand_to_length: scale by the hand over scale by the known length; NaN without both.
        reprojection_px: median distance of the tracks from the rigid object's points; NaN where not rigid.
        rigidity_m: the same at the object's distance.
        inlier_fraction: of the sightings, that agree with the rigid object.
        key_views: number of views on which the shape was found.
        still_fraction: of the frames, in which the object stands still.
    """

    rigid: bool
    scale_source: str
    scale_sigma: float
    length_m: float = float("nan")
    hand_to_length: float = float("nan")
    reprojection_px: float = float("nan")
    rigidity_m: float = float("nan")
    inlier_fraction: float = float("nan")
    key_views: int = 0
    still_fraction: float = 0.0


@dataclasses.dataclass(frozen=True)
class LiftedObject:
    """An object in metres, and how well that is founded."""

    track: ObjectTrack
    figures: LiftFigures


def lift_object(
    tracks: PixelTracks,
    masks: ObjectMasks | None,
    hand: HandTrack,
    contact: BoolArray,
    K: FloatArray,
    fps: float,
    config: LiftConfig,
    depth: DepthFrames | None = None,
    image_size: tuple[int, int] | None = None,
    T_world_camera: FloatArray | None = None,
) -> ObjectTrack:
    """The object of T frames in metres in the camera frame; arguments as of `lift_with_figures`."""
    return lift_with_figures(tracks, masks, hand, contact, K, fps, config, depth, image_size, T_world_camera).track


def lift_with_figures(
    tracks: PixelTracks,
    masks: ObjectMasks | None,
    hand: HandTrack,
    contact: BoolArray,
    K: FloatArray,
    fps: float,
    config: LiftConfig,
    depth: DepthFrames | None = None,
    image_size: tuple[int, int] | None = None,
    T_world_camera: FloatArray | None = None,
) -> LiftedObject:
    """Lifts an object.

    Args:
        tracks: P points of the object in T frames, px of the video.
        masks: of the object, without the hand before it.
        hand: in the same frames.
        contact: (T,) the hand holds the object.
        K: (3, 3) px of the video.
        fps: of the frames.
        config: how.
        depth: pictures of the same view; ignored where they are not in metres.
        image_size: (width, height) of the video; None where masks and depth pictures have its size.
        T_world_camera: (4, 4) where it is known, the table being z = 0; an object at rest is then expected to stand on it.

    Raises:
        InputFileError: the numbers of frames differ.
        OptionError: the config holds a value that nothing can be done with.
    """
    config.validate()
    frames = len(tracks.pixels)
    for name, count in (
        ("masks", frames if masks is None else len(masks)),
        ("frames of the hand", len(hand.keypoints_camera)),
        ("contact flags", len(contact)),
        ("depth pictures", frames if depth is None else depth.count),
    ):
        if count != frames:
            raise InputFileError(f"{frames} frames of tracks and {count} {name}; expected as many of each")
    seen = tracks.visible & np.isfinite(tracks.pixels).all(axis=-1)
    rays = np.where(seen[..., None], to_rays(tracks.pixels, K), np.nan)
    if depth is not None and depth.metric:
        point_depth = read_depths(np.where(seen[..., None], tracks.pixels, np.nan), depth, image_size)
    else:
        point_depth = np.full(seen.shape, np.nan)
    outlines = measure_masks(masks, frames, K, image_size, T_world_camera)
    grip = _grip(hand)
    width = float(image_size[0]) if image_size else 2.0 * float(K[0, 2]) + 1.0
    focal_px = float(np.sqrt(K[0, 0] * K[1, 1]))
    ray_sigma = config.track_sigma_px * max(1.0, width / 640.0) / focal_px
    if config.rigid != "no" and seen.any():
        seen_on = seen & ~left_behind(rays, seen, ray_sigma)
        views = make_views(rays, seen_on, point_depth, contact, outlines, ray_sigma)
        carried = _hand_turns(hand, contact, fps)[views.frame]
        distance_m, thickness_m = _first_distance(grip, contact), grip.thickness_m(contact)
        motion = find_rigid_motion(views, fps, ray_sigma, distance_m, thickness_m, carried, config.max_key_views)
        if motion is not None:
            motion, figures = _to_metres(motion, views, carried, grip, contact, fps, config, T_world_camera)
            lifted = _rigid_track(motion, views, tracks.pixels, rays, seen_on, focal_px, fps, ray_sigma, figures)
            if config.rigid == "yes" or not _is_loose(lifted.figures, motion):
                return lifted
    return _loose_track(tracks.pixels, rays, seen, point_depth, outlines, grip, contact, fps)


def read_depths(pixels: FloatArray, depth: DepthFrames, image_size: tuple[int, int] | None) -> FloatArray:
    """Depth (T, P) m under pixels (T, P, 2): the median around each; NaN over holes and where near and far meet."""
    found = np.full(pixels.shape[:2], np.nan)
    for frame in range(len(pixels)):
        known = np.flatnonzero(np.isfinite(pixels[frame]).all(axis=-1))
        if not len(known):
            continue
        picture = np.asarray(depth.read_m(frame), float)
        height, width = picture.shape
        scale = np.array([width, height]) / np.array(image_size or (width, height))
        x, y = np.round((pixels[frame, known] + 0.5) * scale - 0.5).astype(int).T
        offset = np.arange(-_WINDOW_PX, _WINDOW_PX + 1)
        rows, columns = np.broadcast_arrays(y[:, None, None] + offset[:, None], x[:, None, None] + offset)
        inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        around = picture[np.clip(rows, 0, height - 1), np.clip(columns, 0, width - 1)].reshape(len(known), -1)
        around = np.where(inside.reshape(len(known), -1) & (around > _DEPTH_RANGE_M[0]), around, np.nan)
        around = np.where(around < _DEPTH_RANGE_M[1], around, np.nan)
        around = np.sort(around, axis=1)  # NaN last
        valid = np.isfinite(around).sum(axis=1)
        middle = np.take_along_axis(around, np.maximum(valid - 1, 0)[:, None] // 2, axis=1)[:, 0]
        low, high = (np.take_along_axis(around, (np.maximum(valid - 1, 0) * q // 8)[:, None], axis=1)[:, 0] for q in (1, 7))
        agrees = (valid >= 4) & (high - low < 0.02 + 0.02 * middle)  # across an edge the median may be of either side
        found[frame, known] = np.where(agrees, middle, np.nan)
    return found


@dataclasses.dataclass(frozen=True)
class _Grip:
    """Fingertips (T, 5, 3) m, the middle (T, 3) m between thumb and fingers, and how far (T,) m they are apart.

    The latter are NaN where there is no hand at all.
    """

    tips: FloatArray
    middle: FloatArray
    width: FloatArray

    @property
    def known(self) -> bool:
        return bool(np.isfinite(self.middle).all())

    def thickness_m(self, contact: BoolArray) -> float:
        """Of what is held: the tips' middles are half a finger outside; infinite without contact."""
        return max(float(np.median(self.width[contact])) - _FINGER_M, _FINGER_M) if contact.any() and self.known else np.inf


def _grip(hand: HandTrack) -> _Grip:
    """Where the hand grips, from the thumb's tip and those that oppose it; interpolated where the hand is unknown."""
    tips = hand.keypoints_camera[:, FINGERTIPS, :]
    thumb, opposing = tips[:, 0], tips[:, 1:].mean(axis=1)
    middle = 0.5 * (thumb + opposing)
    width = np.linalg.norm(opposing - thumb, axis=-1)
    known = np.flatnonzero(np.isfinite(middle).all(axis=-1))
    if not len(known):
        return _Grip(tips, np.full((len(thumb), 3), np.nan), width)
    frames = np.arange(len(thumb))
    path = np.stack([np.interp(frames, known, middle[known, axis]) for axis in range(3)], axis=-1)
    return _Grip(tips, path, np.interp(frames, known, width[known]))


def _hand_turns(hand: HandTrack, contact: BoolArray, fps: float) -> FloatArray:
    """Turn (T, 3, 3) of the hand against one frame of its contact; NaN without contact. A gripping hand is nearly rigid."""
    turns = np.full((len(contact), 3, 3), np.nan)
    points = hand.keypoints_camera
    held = np.flatnonzero(contact & np.isfinite(points).all(axis=(1, 2)))
    if not len(held):
        return turns
    centred = points[held] - points[held].mean(axis=1, keepdims=True)
    typical = centred[len(held) // 2]
    u, _, vt = np.linalg.svd(np.einsum("tni,nj->tij", centred, typical))
    handed = np.tile(np.eye(3), (len(held), 1, 1))
    handed[:, 2, 2] = np.sign(np.linalg.det(u @ vt))
    turns[held] = u @ handed @ vt
    for start, end in runs(contact):
        part = held[(held >= start) & (held < end)]
        if len(part) > 2:
            u, _, vt = np.linalg.svd(gaussian_filter1d(turns[part], _TURN_SMOOTHING_S * fps, axis=0, mode="nearest"))
            turns[part] = u @ vt  # the turn nearest to the mean; neighbours are close, so it is proper
    return turns


def _first_distance(grip: _Grip, contact: BoolArray) -> float:
    """Depth in m at which the object is expected."""
    depth = grip.middle[contact, 2] if contact.any() else grip.middle[:, 2]
    return float(np.median(depth)) if len(depth) and grip.known else 0.7


def _to_metres(
    motion: RigidMotion,
    views: Views,
    carried: FloatArray,
    grip: _Grip,
    contact: BoolArray,
    fps: float,
    config: LiftConfig,
    T_world_camera: FloatArray | None,
) -> tuple[RigidMotion, LiftFigures]:
    """The motion in metres, by what is known of its scale, then held at the grip's depth frame by frame."""
    still = 1.0 - len(views.frame) / len(views.of_frame)
    figures = LiftFigures(True, "depth", 0.01, key_views=len(motion.key_views), still_fraction=still)
    if np.isfinite(views.depth).any():
        return motion, dataclasses.replace(figures, length_m=_length(motion, views, T_world_camera))
    held = np.flatnonzero(contact)
    by_hand = np.nan
    if grip.known:
        at = held if len(held) else np.arange(len(contact))
        by_hand = _scale_by_hand(motion, views, grip, at)
    resting = _resting_depth(views, T_world_camera)
    first = int(np.argmax(np.isfinite(resting)))
    sources = {
        "hand" if len(held) else "hand without contact": (by_hand, _HAND_SIGMA if len(held) else 0.25),
        "table": (float(np.log(resting[first] / motion.place[first, 2])), _TABLE_SIGMA),
        "length": (np.nan, 1.0),
    }
    length_m = _length(motion, views, T_world_camera)
    if config.known_length_m is not None:
        sigma = _LENGTH_SIGMA if T_world_camera is None else _LENGTH_SIGMA_POSED
        sources["length"] = float(np.log(config.known_length_m / length_m)), sigma
    known = {name: one for name, one in sources.items() if np.isfinite(one[0])}
    if not known:
        return motion, dataclasses.replace(figures, scale_source="none", scale_sigma=0.5, length_m=length_m)
    if "table" in known and len(known) > 1:  # a thing that stands elsewhere is as much off as the table is high
        others = [one for name, one in known.items() if name != "table"]
        away = known["table"][0] - sum(v / q**2 for v, q in others) / sum(1.0 / q**2 for _, q in others)
        allowed = 2.0 * np.sqrt(1.0 / sum(1.0 / q**2 for _, q in others) + _TABLE_SIGMA**2)
        # nothing is below the table, and what was lifted did stand on something, while hands may be measured badly
        if away < 0.0 or (T_world_camera is not None and _is_lifted(motion, first, T_world_camera)):
            allowed = max(allowed, _LIFTED_TOLERANCE)
        if abs(away) > allowed:
            del known["table"]
    if "table" in known and "hand" in known:
        known["hand"] = known["hand"][0], max(_HAND_SIGMA, 0.5 * abs(known["hand"][0] - known["table"][0]))
    weight = sum(1.0 / sigma**2 for _, sigma in known.values())
    factor = float(np.exp(sum(value / sigma**2 for value, sigma in known.values()) / weight))
    motion = motion.scaled(factor)
    expected, sigma = np.full(len(views.frame), np.nan), np.full(len(views.frame), np.nan)
    if len(held) and grip.known:
        # the hand's distance errs for the whole clip alike; what it adds frame by frame is how the distance changes
        level, view = grip.middle[held, 2], views.of_frame[held]
        expected[view] = level * float(np.median(motion.place[view, 2] / level))
        sigma[view] = _GRIP_SIGMA * expected[view]
    if "table" in known:
        on_table = np.abs(np.log(resting / motion.place[:, 2])) < _TABLE_TOLERANCE  # not in a bucket, not cut off
        expected[on_table], sigma[on_table] = resting[on_table], _TABLE_SIGMA * resting[on_table]
    if np.isfinite(expected).any():
        motion = refine_path(motion, fps, carried, expected, sigma)
    return motion, dataclasses.replace(
        figures,
        scale_source=" and ".join(known),
        scale_sigma=float(weight**-0.5),
        length_m=_length(motion, views, T_world_camera),
        hand_to_length=float(np.exp(by_hand - sources["length"][0])),
    )


def _scale_by_hand(motion: RigidMotion, views: Views, grip: _Grip, frames: IntArray) -> float:
    """Logarithm of the factor that brings the object between the fingertips of the given frames, and its surface to them."""
    chosen = frames[np.unique(np.linspace(0, len(frames) - 1, _GRIP_FRAMES).astype(int))]
    by_middle = float(np.median(np.log(grip.middle[frames, 2] / motion.place[views.of_frame[frames], 2])))
    tips = grip.tips[chosen]
    known = np.isfinite(tips).all(axis=(1, 2))
    if not known.any():
        return by_middle
    view = views.of_frame[chosen[known]]
    factor = np.exp(by_middle + np.arange(-0.25, 0.2501, 0.005))[:, None, None, None]  # (S, 1, 1, 1)
    off = tips[known] - factor * motion.place[view][:, None]  # (S, k, 5, 3)
    off = np.einsum("skni,kij,jl->sknl", off, motion.turn[view], motion.body.axes)
    half = factor * motion.body.half + 0.5 * _FINGER_M
    inside = ((off / half) ** 2).sum(axis=-1)
    distance = (inside - 1.0) / (2.0 * np.sqrt(((off / half**2) ** 2).sum(axis=-1)) + 1e-9)  # to first order
    cost = np.log1p((distance / _SURFACE_SIGMA_M) ** 2).mean(axis=(1, 2)) * tips.shape[1]
    cost += 0.5 * ((np.log(factor[:, 0, 0, 0]) - by_middle) / _MIDDLE_SIGMA) ** 2
    return float(np.log(factor[np.argmin(cost), 0, 0, 0]))


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
        behind = radius * (_FOOT_RADII[0] + (_FOOT_RADII[1] - _FOOT_RADII[0]) * float(round_mask))
        ahead = foot - (foot @ up) * up
        axis = foot + behind * ahead / max(float(np.linalg.norm(ahead)), 1e-9)
        # the middle is on its ray above that place, hardly higher than the object is wide if the camera looks straight down
        rows = np.concatenate([np.stack([ray, -up], axis=1), [[0.0, 0.1]]])
        found = float(np.linalg.lstsq(rows, np.append(axis, 0.1 * radius), rcond=None)[0][0])
        depth[view] = found if found > 0.0 else np.nan
    return depth


def _is_lifted(motion: RigidMotion, view: int, T_world_camera: FloatArray) -> bool:
    """Whether the object rises from its place in a view, other than a drawer or what is pushed along."""
    way = motion.place - motion.place[view]
    far = np.linalg.norm(way, axis=1)
    on_its_way = far > 0.25 * far.max()
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


def _rigid_track(
    motion: RigidMotion,
    views: Views,
    pixels: FloatArray,
    rays: FloatArray,
    seen: BoolArray,
    focal_px: float,
    fps: float,
    ray_sigma: float,
    figures: LiftFigures,
) -> LiftedObject:
    frames, count = seen.shape
    turn, place = motion.turn[views.of_frame], motion.place[views.of_frame]
    whole = np.einsum("tij,pj->tpi", turn, motion.points[:count]) + place[:, None]
    error = np.linalg.norm(whole[..., :2] / np.maximum(whole[..., 2:], 0.02) - np.nan_to_num(rays), axis=-1)
    fits = seen & (error < _OUTLIER_SIGMAS * ray_sigma + 0.05 * motion.body.half[0] / place[:, 2:])
    ever = fits.any(axis=0)
    on_ray = np.concatenate([np.nan_to_num(rays), np.ones((frames, count, 1))], axis=-1) * whole[..., 2:]
    shown = fits.sum(axis=1) >= _MIN_POINTS
    shown |= np.isfinite(views.outlines.area[views.of_frame])
    at = np.flatnonzero(shown)
    known = np.zeros(frames, bool)
    if len(at):
        after = np.searchsorted(at, np.arange(frames))
        near = np.stack([at[np.maximum(after - 1, 0)], at[np.minimum(after, len(at) - 1)]])
        known = np.abs(np.arange(frames) - near).min(axis=0) <= _LARGEST_GAP_S * fps
    points = np.where(fits[..., None], on_ray, whole)
    points[~known] = np.nan
    points[:, ~ever] = np.nan
    fits &= known[:, None]
    pose = np.full((frames, 4, 4), np.nan)
    pose[known] = np.eye(4)
    pose[known, :3, :3], pose[known, :3, 3] = turn[known], place[known]
    apart = np.where(fits, error * whole[..., 2], 0.0)
    number = fits.sum(axis=1)
    residual = np.where(known & (number > 0), np.sqrt((apart**2).sum(axis=1) / np.maximum(number, 1)), np.nan)
    figures = dataclasses.replace(
        figures,
        reprojection_px=float(np.median(error[seen])) * focal_px,
        rigidity_m=float(np.median((error * whole[..., 2])[seen])),
        inlier_fraction=float(fits.sum() / seen.sum()),
    )
    return LiftedObject(ObjectTrack(points, np.where(seen[..., None], pixels, np.nan), fits, pose, residual), figures)


def _is_loose(figures: LiftFigures, motion: RigidMotion) -> bool:
    return figures.rigidity_m > _LOOSE_SIZES * motion.body.half[0] or figures.inlier_fraction < 0.5


def _loose_track(
    pixels: FloatArray,
    rays: FloatArray,
    seen: BoolArray,
    point_depth: FloatArray,
    outlines: Outlines,
    grip: _Grip,
    contact: BoolArray,
    fps: float,
) -> LiftedObject:
    """Points without pose: at their measured depth, else at the grip's depth when it last or next holds the object."""
    frames = len(seen)
    source, sigma = "depth", 0.01
    depth = point_depth
    if not np.isfinite(point_depth).any():
        source, sigma = ("hand", 0.05) if contact.any() else ("hand without contact", 0.25)
        level = np.full(frames, _first_distance(grip, contact))
        if contact.any() and grip.known:
            held = np.flatnonzero(contact)
            level = np.interp(np.arange(frames), held, gaussian_filter1d(grip.middle[:, 2], 0.2 * fps)[held])
        depth = np.where(seen, level[:, None], np.nan)
    points = np.concatenate([rays, np.ones_like(rays[..., :1])], axis=-1) * depth[..., None]
    visible = seen & np.isfinite(points).all(axis=-1)
    points = np.where(visible[..., None], points, np.nan)
    track = ObjectTrack(
        points, np.where(seen[..., None], pixels, np.nan), visible, np.full((frames, 4, 4), np.nan), np.full(frames, np.nan)
    )
    return LiftedObject(track, LiftFigures(False, source, sigma))
