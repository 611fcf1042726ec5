"""Shape and path of one rigid object from its views: key frames, growing from the clearest one, adjustment, every view's pose.

Where motion says nothing about the shape, the object is expected to be as deep as it is narrow: its points lie on the front of
the ellipsoid that its mask suggests. Without depths the result is in metres only as far as the expected distance is right.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation, Slerp

from demos.camera import FloatArray
from demos.extract.objects.rigid_path import PathPrior, fit_path, fit_pose
from demos.extract.objects.rigid_sightings import Sightings, ray_errors
from demos.extract.objects.rigid_start import MIN_POINTS, Body, find_key_views, find_sightings, first_body, reference_view
from demos.extract.objects.rigid_structure import Links, PointPrior, adjust, place_points
from demos.extract.objects.rigid_surface import lean
from demos.extract.objects.views import Views

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

_MAX_POINTS = 300  # in the adjustment; the others are placed afterwards
_TURN_RATE = 1.0  # rad/s, expected between key views
_CARRIED_SIGMA = 0.12  # rad, of the hand's turn, and of the object's in the hand
_STEADY_SIGMA = 1e-3  # rad, of what does not turn
_DEPTH_RATE = 0.5  # m/s, expected between key views
_ACCELERATION = 6.0  # m/s^2, of a hand that carries something
_TURN_ACCELERATION = 20.0  # rad/s^2
_BULGE_SIGMA = 0.6  # of the half depth: how well the ellipsoid is known
_SLANT_SIGMA = 1.0  # how much it may be tilted


@dataclasses.dataclass(frozen=True)
class RigidMotion:
    """The object's frame has its origin in the expected middle of the object and the camera's axes in the reference view.

    Attributes:
        turn: (n, 3, 3) of each view.
        place: (n, 3) m.
        points: (P + 1, 3) m in the object's frame; the last one is its origin.
        body: the ellipsoid.
        sightings: of all points in all views.
        prior: of all points.
        key_views: (k,) on which the shape was found.
        reference: the view from which it grew.
        steady: it was taken not to turn.
    """

    turn: FloatArray
    place: FloatArray
    points: FloatArray
    body: Body
    sightings: Sightings
    prior: PointPrior
    key_views: IntArray
    reference: int
    steady: bool = False

    def misfit(self) -> float:
        """Typical distance of the sightings from where their points should be seen, in the unit of rays."""
        of_points = self.sightings.pick(self.sightings.point < len(self.points) - 1)
        return float(np.median(ray_errors(self.turn, self.place, self.points, of_points)))

    def scaled(self, factor: float) -> RigidMotion:
        """The same pictures of an object `factor` times as large and as far away."""
        prior, sightings = self.prior, self.sightings
        return dataclasses.replace(
            self,
            place=factor * self.place,
            points=factor * self.points,
            body=Body(self.body.axes, factor * self.body.half),
            sightings=dataclasses.replace(
                sightings, depth=factor * sightings.depth, depth_sigma=factor * sightings.depth_sigma
            ),
            prior=PointPrior(factor * prior.place, prior.direction, factor * prior.sigma, factor * prior.across_sigma),
        )


def find_rigid_motion(
    views: Views,
    fps: float,
    ray_sigma: float,
    distance_m: float,
    thickness_m: float,
    carried: FloatArray,
    max_key_views: int,
    steady: bool = False,
) -> RigidMotion | None:
    """Shape and path of the object; None where no view shows enough points.

    Args:
        views: n views of P points.
        fps: of the frames.
        ray_sigma: noise of a ray in a single frame.
        distance_m: expected depth of the object where no depth is measured.
        thickness_m: at most so thick, as far as is known; else infinite.
        carried: (n, 3, 3) turn of the hand that holds it; NaN where none does.
        max_key_views: at most so many key views.
    """
    if views.seen.sum(axis=1).max(initial=0) < MIN_POINTS:
        return None
    reference = reference_view(views)
    start, body = first_body(views, reference, distance_m, thickness_m)
    sightings = find_sightings(views, reference, ray_sigma, float(start[2]))
    keys = find_key_views(views, reference, float(body.half[0] / start[2]), max_key_views)
    turn, place, points, prior = _grow(views, sightings, keys, reference, start, body, fps, steady)
    turn, place, points, prior = _adjust(
        views, sightings, keys, reference, turn, place, points, prior, body, carried, fps, steady
    )
    if len(keys) >= max_key_views - 1:
        placed = np.isin(np.arange(len(points)), sightings.point[np.isin(sightings.frame, keys)])
        every = np.arange(len(views.frame))
        path_turn, path_place, points, prior = _grow(
            views, sightings, every, reference, start, body, fps, steady, (points, prior.direction, placed)
        )
    else:
        path_turn, path_place = _between(views.frame, views.frame[keys], turn, place)
    motion = RigidMotion(path_turn, path_place, points, body, sightings, prior, keys, reference, steady)
    return refine_path(motion, fps, carried)


def refine_path(
    motion: RigidMotion,
    fps: float,
    carried: FloatArray,
    depth: FloatArray | None = None,
    depth_sigma: FloatArray | None = None,
) -> RigidMotion:
    """Poses of all views and places of all points, by turns.

    Args:
        motion: to start from.
        fps: of the frames.
        carried: (n, 3, 3) turn of the hand that holds it; NaN where none does.
        depth: (n,) m expected of the object's origin; NaN where unknown.
        depth_sigma: (n,) m, its standard deviation.
    """
    unknown = np.full(len(motion.turn), np.nan)
    path = PathPrior(
        _TURN_ACCELERATION / fps**2,
        _ACCELERATION / fps**2,
        unknown if depth is None else depth,
        unknown if depth_sigma is None else depth_sigma,
        np.tile(np.eye(3), (len(motion.turn), 1, 1)) if motion.steady else _as_carried(motion.turn, carried),
        _STEADY_SIGMA if motion.steady else _CARRIED_SIGMA,
    )
    turn, place, points = motion.turn, motion.place, motion.points
    for iterations in (5, 3):
        turn, place = fit_path(turn, place, points, motion.sightings, path, iterations)
        prior = _prior(motion.sightings, turn, place, points, motion.body, motion.prior)
        points = place_points(turn, place, points, motion.sightings, prior)
    return dataclasses.replace(motion, turn=turn, place=place, points=points)


def _as_carried(turn: FloatArray, carried: FloatArray) -> FloatArray:
    """Turns (n, 3, 3) that the object would have if it did not turn in the hand."""
    held = np.isfinite(carried[:, 0, 0])
    expected = np.full_like(turn, np.nan)
    if held.any():
        in_hand = Rotation.from_matrix(carried[held].swapaxes(-1, -2) @ turn[held])
        expected[held] = carried[held] @ in_hand.mean().as_matrix()
    return expected


def _grow(
    views: Views,
    sightings: Sightings,
    keys: IntArray,
    reference: int,
    start: FloatArray,
    body: Body,
    fps: float,
    steady: bool,
    known: tuple[FloatArray, FloatArray, BoolArray] | None = None,
) -> tuple[FloatArray, FloatArray, FloatArray, PointPrior]:
    """First poses (k, 3, 3), (k, 3) of the key views and places (P + 1, 3) of the points, outwards from the reference.

    `known` are places and directions (P + 1, 3) of the points, and which of them (P + 1,) have such.
    """
    count = views.seen.shape[1] + 1
    turn, place = np.tile(np.eye(3), (len(keys), 1, 1)), np.tile(start, (len(keys), 1))
    points, direction = np.zeros((count, 3)), np.tile([0.0, 0.0, 1.0], (count, 1))
    placed = np.zeros(count, bool)
    placed[-1] = True  # the origin
    if known is not None:
        points, direction, placed = known[0].copy(), known[1].copy(), known[2].copy()
    bounds = np.searchsorted(sightings.frame, np.stack([keys, keys + 1]))
    first = int(np.flatnonzero(keys == reference)[0])
    for order in (range(first, len(keys)), range(first - 1, -1, -1)):
        before = first
        for key in order:
            part = sightings.part(int(bounds[0, key]), int(bounds[1, key]))
            if key != first:
                turn[key], place[key] = turn[before], place[before]
                place[key, :2] += place[before, 2] * _shift(views, int(keys[before]), int(keys[key]))
                time_s = abs(int(views.frame[keys[key]] - views.frame[keys[before]])) / fps
                depth_sigma = 0.02 + _DEPTH_RATE * min(time_s, 1.0)
                turn[key], place[key] = fit_pose(
                    turn[key],
                    place[key],
                    points,
                    part.pick(placed[part.point]),
                    _STEADY_SIGMA if steady else 0.05 + _TURN_RATE * min(time_s, 1.0),
                    np.array([1.0, 1.0, depth_sigma]),
                )
                before = key
            new = part.pick(~placed[part.point])
            points[new.point], direction[new.point] = body.front(turn[key], place[key], new.ray)
            measured = np.isfinite(new.depth)
            if measured.any():
                camera = np.concatenate([new.ray, np.ones((len(new), 1))], axis=1) * new.depth[:, None]
                points[new.point[measured]] = ((camera - place[key]) @ turn[key])[measured]
            placed[new.point] = True
    aside = np.linalg.norm(points - (points * direction).sum(axis=1, keepdims=True) * direction, axis=1)
    sigma = np.hypot(_BULGE_SIGMA * body.half[2], _SLANT_SIGMA * aside)
    sigma[-1] = 1e-5
    across = np.full(count, 10.0 * body.half[0])
    across[-1] = 1e-5
    return turn, place, points, PointPrior(points.copy(), direction, sigma, across)


def _shift(views: Views, before: int, after: int) -> FloatArray:
    """How far (2,) the object moves in rays from one view to another."""
    both = views.seen[before] & views.seen[after]
    if both.any():
        return np.median(views.rays[after, both] - views.rays[before, both], axis=0)
    return np.nan_to_num(views.outlines.middle[after] - views.outlines.middle[before])


def _adjust(
    views: Views,
    sightings: Sightings,
    keys: IntArray,
    reference: int,
    turn: FloatArray,
    place: FloatArray,
    points: FloatArray,
    prior: PointPrior,
    body: Body,
    carried: FloatArray,
    fps: float,
    steady: bool,
) -> tuple[FloatArray, FloatArray, FloatArray, PointPrior]:
    """Poses of the key views and points that are seen in them, together."""
    index = np.full(len(views.frame), -1)
    index[keys] = np.arange(len(keys))
    at_keys = sightings.pick(index[sightings.frame] >= 0)
    often = np.bincount(at_keys.point, minlength=len(points))
    often[-1] = len(keys) + 1
    chosen = np.sort(np.argsort(-often, kind="stable")[: _MAX_POINTS + 1])
    chosen = chosen[often[chosen] > 0]
    number = np.full(len(points), -1)
    number[chosen] = np.arange(len(chosen))
    at_keys = at_keys.pick(number[at_keys.point] >= 0)
    at_keys = dataclasses.replace(at_keys, frame=index[at_keys.frame], point=number[at_keys.point])
    part = _pick_prior(prior, chosen)
    links = _links(views.frame[keys] / fps, carried[keys])
    if steady:
        identity = np.tile(np.eye(3), (len(links.turn), 1, 1))
        links = dataclasses.replace(links, turn=identity, turn_sigma=np.full(len(links.turn), _STEADY_SIGMA))
    fixed = int(np.flatnonzero(keys == reference)[0])
    for iterations in (8, 8):
        turn, place, points[chosen] = adjust(turn, place, points[chosen], at_keys, part, links, fixed, iterations)
        part = _prior(at_keys, turn, place, points[chosen], body, part)
    all_prior = PointPrior(prior.place.copy(), prior.direction.copy(), prior.sigma, prior.across_sigma)
    all_prior.place[chosen], all_prior.direction[chosen] = part.place, part.direction
    return turn, place, points, all_prior


def _links(time_s: FloatArray, carried: FloatArray) -> Links:
    """From each key view to the next, and from the first in which a hand (k, 3, 3) holds it to the others with one."""
    count = len(time_s)
    before, after = np.arange(count - 1), np.arange(1, count)
    step_s = np.minimum(np.diff(time_s), 2.0)
    held = np.isfinite(carried[:, 0, 0])
    both = held[:-1] & held[1:]
    turn = np.tile(np.eye(3), (count - 1, 1, 1))
    turn[both] = carried[after[both]] @ carried[before[both]].swapaxes(-1, -2)
    turn_sigma = 0.02 + np.where(both, 0.5, 1.0) * _TURN_RATE * step_s
    depth_sigma = 0.02 + _DEPTH_RATE * step_s
    others = np.flatnonzero(held)[1:]
    if len(others):
        first = np.flatnonzero(held)[:1].repeat(len(others))
        before, after = np.concatenate([before, first]), np.concatenate([after, others])
        turn = np.concatenate([turn, carried[others] @ carried[first].swapaxes(-1, -2)])
        turn_sigma = np.append(turn_sigma, np.full(len(others), _CARRIED_SIGMA))
        depth_sigma = np.append(depth_sigma, np.full(len(others), 10.0))
    free = np.full(len(before), 10.0)
    return Links(before, after, turn, turn_sigma, np.stack([free, free, depth_sigma], axis=1))


def _pick_prior(prior: PointPrior, chosen: IntArray) -> PointPrior:
    return PointPrior(prior.place[chosen], prior.direction[chosen], prior.sigma[chosen], prior.across_sigma[chosen])


def _prior(
    sightings: Sightings, turn: FloatArray, place: FloatArray, points: FloatArray, body: Body, prior: PointPrior
) -> PointPrior:
    """The prior with each point on the front of the body as seen in its first view, leaned as the points are."""
    point, first = np.unique(sightings.point, return_index=True)
    keep = point < len(prior.place) - 1
    point, first = point[keep], first[keep]
    frame = sightings.frame[first]
    where, direction = prior.place.copy(), prior.direction.copy()
    where[point], direction[point] = body.front(turn[frame], place[frame], sightings.ray[first])
    facing = dataclasses.replace(prior, place=where, direction=direction)
    return lean(facing, points, sightings, body, float(place[frame, 2].mean()))


def _between(frame: IntArray, key_frame: IntArray, turn: FloatArray, place: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Poses (n, 3, 3), (n, 3) of all views from those of the key views, which outside them stay."""
    if len(key_frame) == 1:
        return np.repeat(turn, len(frame), axis=0), np.repeat(place, len(frame), axis=0)
    inside = np.clip(frame, key_frame[0], key_frame[-1])
    path = np.stack([np.interp(inside, key_frame, place[:, axis]) for axis in range(3)], axis=-1)
    return Slerp(key_frame, Rotation.from_matrix(turn))(inside).as_matrix(), path
