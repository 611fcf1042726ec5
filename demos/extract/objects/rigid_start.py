"""What the search for a rigid object's motion starts from: the clearest view, the object's rough body, sightings, key views."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from demos.camera import FloatArray
from demos.extract.objects.rigid_sightings import Sightings
from demos.extract.objects.views import Views

IntArray = NDArray[np.int64]

MIN_POINTS = 4
_INDEPENDENT_POINTS = 10.0  # the errors of the tracks of a view are alike, so that many points count as so few
_KEY_STEP_SIZES = 0.15  # of its size, that the object moves between key views
_KEY_OVERLAP = 0.6  # of the points of one key view that the next still shows
_DEPTH_SIGMA = 0.006  # m, of one depth reading at 1 m; grows with the square of the distance
_MIDDLE_SIGMA = 0.15  # of the mask's radius: how far its middle is from the object's
_FRONT_DEPTH = 0.75  # of the half depth: so far the object's middle is behind the points on its front
_SIZE_SIGMA = 0.08  # how well a mask's size tells the distance


@dataclasses.dataclass(frozen=True)
class Body:
    """The ellipsoid in the object's frame: `axes` (3, 3) columns are its long, short and viewing direction, `half` (3,) m."""

    axes: FloatArray
    half: FloatArray

    def front(self, turn: FloatArray, place: FloatArray, rays: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Where rays (N, 2) meet it first, or come nearest, and their directions, both (N, 3) in the object's frame.

        Args:
            turn: (3, 3) or (N, 3, 3) of the object.
            place: (3,) or (N, 3) m of the object.
            rays: (N, 2).
        """
        along = np.concatenate([rays, np.ones_like(rays[:, :1])], axis=1)
        along = np.einsum("...i,...ij->...j", along, turn)
        origin = np.einsum("...i,...ij->...j", np.broadcast_to(-place, along.shape), turn)
        scaled_along, scaled_origin = along @ self.axes / self.half, origin @ self.axes / self.half
        a, b = (scaled_along**2).sum(axis=1), (scaled_along * scaled_origin).sum(axis=1)
        c = (scaled_origin**2).sum(axis=1) - 1.0
        way = (-b - np.sqrt(np.maximum(b**2 - a * c, 0.0))) / a
        return origin + way[:, None] * along, along / np.linalg.norm(along, axis=1, keepdims=True)


def reference_view(views: Views) -> int:
    """The view from which to start: many points, little hidden, better before or after contact."""
    counts = views.seen.sum(axis=1).astype(float)
    worth = counts * np.where(views.contact, 0.7, 1.0)
    if np.isfinite(views.outlines.area).any():
        area = np.nan_to_num(views.outlines.area)
        worth *= 0.1 + np.sqrt(area / area.max())
    return int(np.argmax(np.where(counts >= MIN_POINTS, worth, -1.0)))


def first_body(views: Views, reference: int, distance_m: float, thickness_m: float) -> tuple[FloatArray, Body]:
    """Place (3,) m of the object in the reference view and its ellipsoid."""
    seen = views.seen[reference]
    rays = views.rays[reference, seen]
    outlines = views.outlines
    if np.isfinite(outlines.area[reference]):
        middle, half, angle = outlines.middle[reference], outlines.half_axes[reference], float(outlines.angle[reference])
    else:
        middle = 0.5 * (rays.min(axis=0) + rays.max(axis=0))
        values, vectors = np.linalg.eigh(np.cov(rays.T))
        half = 2.3 * np.sqrt(np.maximum(values[::-1], 1e-10))  # points rarely lie at the very rim
        angle = float(np.arctan2(vectors[1, 1], vectors[0, 1]))
    half = np.array([half[0], max(half[1], 0.2 * half[0]), max(half[1], 0.2 * half[0])])
    half[2] = max(min(half[2], 1.0 * thickness_m / distance_m), 0.1 * half[0])
    measured = views.depth[reference, seen]
    distance = distance_m
    if np.isfinite(measured).any():
        distance = float(np.nanmedian(measured)) * (1.0 + _FRONT_DEPTH * half[2])
    axes = np.array([[np.cos(angle), -np.sin(angle), 0.0], [np.sin(angle), np.cos(angle), 0.0], [0.0, 0.0, 1.0]])
    return distance * np.array([middle[0], middle[1], 1.0]), Body(axes, distance * half)


def find_sightings(views: Views, reference: int, ray_sigma: float, distance_m: float) -> Sightings:
    """Those of the P points, and as point P the object's origin in the middle of the masks, as far away as they are small."""
    view, point = np.nonzero(views.seen)
    depth = views.depth[view, point]
    outlines = views.outlines
    shown = np.flatnonzero(np.isfinite(outlines.area))
    radius = np.sqrt(outlines.area[shown] / np.pi)
    area = outlines.area[reference] if np.isfinite(outlines.area[reference]) else np.nan
    hidden = np.nan_to_num(np.abs(np.log(outlines.area[shown] / area)))
    origin_depth = distance_m * np.sqrt(area / outlines.area[shown])
    origin_depth[views.contact[shown] | np.isfinite(views.depth).any()] = np.nan  # a hand hides some of it
    size_sigma = _SIZE_SIGMA + 0.1 * hidden
    number = views.seen.sum(axis=1)[view]
    measured = np.isfinite(depth)
    order = np.argsort(np.concatenate([view, shown]), kind="stable")
    return Sightings(
        frame=np.concatenate([view, shown])[order],
        point=np.concatenate([point, np.full(len(shown), views.seen.shape[1])])[order],
        ray=np.concatenate([views.rays[view, point], outlines.middle[shown]])[order],
        ray_sigma=np.concatenate([ray_sigma / views.sharpness[view], radius * (_MIDDLE_SIGMA + 0.5 * hidden)])[order],
        depth=np.concatenate([depth, origin_depth])[order],
        depth_sigma=np.concatenate(
            [_DEPTH_SIGMA * np.maximum(depth, 0.5) ** 2 / views.sharpness[view], size_sigma * distance_m]
        )[order],
        weight=np.concatenate([np.where(measured, 1.0, np.minimum(1.0, _INDEPENDENT_POINTS / number)), np.ones(len(shown))])[
            order
        ],
    )


def find_key_views(views: Views, reference: int, size: float, most: int) -> IntArray:
    """Views in which the object has moved on or shows new points, the reference among them; ascending.

    Args:
        views: all of them.
        reference: the first one.
        size: half the extent of the object in rays.
        most: at most so many.
    """
    step = _KEY_STEP_SIZES * size
    while True:
        keys = [reference]
        for order in (range(reference + 1, len(views.frame)), range(reference - 1, -1, -1)):
            last = reference
            for view in order:
                seen = views.seen[view]
                if seen.sum() < MIN_POINTS:
                    continue
                both = seen & views.seen[last]
                moved = np.inf
                if both.sum() >= MIN_POINTS:
                    moved = float(np.median(np.linalg.norm(views.rays[view, both] - views.rays[last, both], axis=-1)))
                if moved > step or both.sum() < _KEY_OVERLAP * seen.sum():
                    keys.append(view)
                    last = view
        if len(keys) <= most:
            return np.array(sorted(keys), np.int64)
        if step > 0.5 * size:  # a long clip: an even choice, and the views between are followed one by one
            chosen = np.array(sorted(keys), np.int64)
            picked = chosen[np.linspace(0, len(chosen) - 1, most - 1).astype(int)]
            return np.unique(np.append(picked, reference))
        step *= 1.5
