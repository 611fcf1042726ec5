"""What is seen of an object before it is lifted: its points as rays, their depths, its outline; frames at rest are one view.

Rays are (x / z, y / z) in the camera frame. An object that nobody touches and that does not move has one pose, so the frames in
which it stands still are merged into a single view with less noise.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from demos.camera import FloatArray
from demos.extract.objects.object_masks import ObjectMasks
from demos.runs import runs

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

_MIN_MASK_PIXELS = 12
_END_PERCENT = (0.3, 99.7)  # of a mask's pixels: its ends without stray pixels
_FOOT_PERCENT = 1.0  # of a mask's pixels
_MIN_DOWN = 0.05  # a ray less steep than this meets the table too far away
_MIN_STILL_FRAMES = 3
_MOVING_SIGMAS = 3.0  # of a ray, that the points move from frame to frame
_MIN_MOVING_FRAMES = 4
_BEHIND_SHARE = 0.3  # of the others' motion
_STILL_SIZES = 0.02  # an object that stays within this share of its size stands still
_STILL_SIGMAS = 2.0  # or within the noise of its points
_LARGEST_PICTURES = 400  # frames at rest of which the points' median is taken


@dataclasses.dataclass(frozen=True)
class Outlines:
    """What the masks say in n frames or views, as rays; NaN where nothing is seen.

    Attributes:
        middle: (n, 2).
        area: (n,).
        half_axes: (n, 2) of the ellipse with the same second moments, the longer first.
        angle: (n,) rad, of the longer axis to x.
        extent: (n, 2) from end to end along the longer axis and across it.
        foot: (n, 3) m, where the nearest edge of the mask meets the table; NaN where no table is known.
    """

    middle: FloatArray
    area: FloatArray
    half_axes: FloatArray
    angle: FloatArray
    extent: FloatArray
    foot: FloatArray

    def pick(self, index: IntArray) -> Outlines:
        """Those of the given frames (F,)."""
        return Outlines(*(getattr(self, field.name)[index] for field in dataclasses.fields(self)))


@dataclasses.dataclass(frozen=True)
class Views:
    """What is seen in n views of P points.

    Attributes:
        frame: (n,) the middle one of the frames of the view.
        of_frame: (T,) the view of each frame.
        length: (n,) number of its frames.
        rays: (n, P, 2); NaN where unseen.
        seen: (n, P) bool.
        depth: (n, P) m; NaN where unknown.
        sharpness: (n,) how many times more exact than a single frame.
        contact: (n,) bool.
        outlines: of the n views.
    """

    frame: IntArray
    of_frame: IntArray
    length: IntArray
    rays: FloatArray
    seen: BoolArray
    depth: FloatArray
    sharpness: FloatArray
    contact: BoolArray
    outlines: Outlines


def to_rays(pixels: FloatArray, K: FloatArray) -> FloatArray:
    """Rays (..., 2) of pixels (..., 2)."""
    return (pixels - K[:2, 2]) / np.array([K[0, 0], K[1, 1]])


def measure_masks(
    masks: ObjectMasks | None,
    frames: int,
    K: FloatArray,
    image_size: tuple[int, int] | None,
    T_world_camera: FloatArray | None = None,
) -> Outlines:
    """Middle, size and direction of the masks of T frames, and where they stand on the table.

    Args:
        masks: of the object; None where there are none.
        frames: T.
        K: (3, 3) px of the video.
        image_size: (width, height) of the video; None where the masks have its size.
        T_world_camera: (4, 4), the table being z = 0; None where it is not known.
    """
    middle, area = np.full((frames, 2), np.nan), np.full(frames, np.nan)
    half_axes, angle = np.full((frames, 2), np.nan), np.full(frames, np.nan)
    extent, foot = np.full((frames, 2), np.nan), np.full((frames, 3), np.nan)
    if masks is None:
        return Outlines(middle, area, half_axes, angle, extent, foot)
    height, width = masks.shape
    size = np.array(image_size or (width, height)) / np.array([width, height])
    x = to_rays(np.stack([(np.arange(width) + 0.5) * size[0] - 0.5, np.zeros(width)], axis=-1), K)[:, 0]
    y = to_rays(np.stack([np.zeros(height), (np.arange(height) + 0.5) * size[1] - 0.5], axis=-1), K)[:, 1]
    cell = float(np.prod(size / np.array([K[0, 0], K[1, 1]])))
    for frame in range(frames):
        row, column = np.divmod(np.flatnonzero(masks[frame]), width)
        if len(row) < _MIN_MASK_PIXELS:
            continue
        place = np.stack([x[column], y[row]])
        middle[frame], area[frame] = place.mean(axis=1), len(row) * cell
        values, vectors = np.linalg.eigh(np.cov(place))
        half_axes[frame] = 2.0 * np.sqrt(np.maximum(values[::-1], 0.25 * cell))
        angle[frame] = np.arctan2(vectors[1, 1], vectors[0, 1])
        extent[frame] = np.ptp(np.percentile(vectors.T @ place, _END_PERCENT, axis=1), axis=0)[::-1]
        if T_world_camera is not None:
            foot[frame] = _foot(place, T_world_camera)
    return Outlines(middle, area, half_axes, angle, extent, foot)


def _foot(rays: FloatArray, T_world_camera: FloatArray) -> FloatArray:
    """Where (3,) m the rays (2, N) of a mask meet the table nearest to the camera."""
    down = -(T_world_camera[2, 0] * rays[0] + T_world_camera[2, 1] * rays[1] + T_world_camera[2, 2])
    if T_world_camera[2, 3] <= 0.0 or (down <= _MIN_DOWN).any():
        return np.full(3, np.nan)
    nearest = down >= np.percentile(down, 100.0 - _FOOT_PERCENT)
    return T_world_camera[2, 3] / down[nearest].mean() * np.array([*rays[:, nearest].mean(axis=1), 1.0])


def left_behind(rays: FloatArray, seen: BoolArray, ray_sigma: float) -> BoolArray:
    """Points (P,) that stay where they are while most of the others move: they lie on the background.

    Args:
        rays: (T, P, 2).
        seen: (T, P) bool.
        ray_sigma: noise of a single ray.
    """
    both = seen[1:] & seen[:-1]
    step = np.where(both[..., None], np.diff(rays, axis=0), 0.0)
    typical = np.zeros((len(step), 1, 2))
    for frame in np.flatnonzero(both.any(axis=1)):
        typical[frame, 0] = np.median(step[frame, both[frame]], axis=0)
    moving = (np.linalg.norm(typical, axis=-1) > _MOVING_SIGMAS * ray_sigma) & both  # (T - 1, P)
    along = np.where(moving, (step * typical).sum(axis=-1), 0.0).sum(axis=0)
    expected = np.where(moving, (typical**2).sum(axis=-1), 0.0).sum(axis=0)
    return (moving.sum(axis=0) >= _MIN_MOVING_FRAMES) & (along < _BEHIND_SHARE * expected)


def make_views(
    rays: FloatArray,
    seen: BoolArray,
    depth: FloatArray,
    contact: BoolArray,
    outlines: Outlines,
    ray_sigma: float,
) -> Views:
    """Merges the frames in which the object stands still.

    Args:
        rays: (T, P, 2).
        seen: (T, P) bool.
        depth: (T, P) m; NaN where unknown.
        contact: (T,) bool.
        outlines: of the T frames.
        ray_sigma: noise of a single ray.
    """
    frames = len(rays)
    still = _still_runs(rays, seen, contact, outlines, ray_sigma)
    first = np.ones(frames, bool)
    for start, end in still:
        first[start + 1 : end] = False
    of_frame = np.cumsum(first) - 1
    count = int(of_frame[-1]) + 1
    starts = np.flatnonzero(first)
    lengths = np.diff(np.append(starts, frames))
    middle = starts + lengths // 2
    shown = middle.copy()  # the frame whose outline stands for the view
    merged = [rays[starts], seen[starts], depth[starts]]
    sharpness = np.ones(count)
    for start, end in still:
        view = int(of_frame[start])
        pick = np.unique(np.linspace(start, end - 1, min(end - start, _LARGEST_PICTURES)).astype(int))
        merged[1][view] = seen[pick].sum(axis=0) >= max(1, min(3, len(pick) // 3))
        merged[0][view] = _median(np.where(seen[pick][..., None], rays[pick], np.nan))
        merged[2][view] = _median(np.where(seen[pick], depth[pick], np.nan))
        sharpness[view] = min(2.0, np.sqrt(len(pick)))  # drift does not average out
        area = outlines.area[start:end]
        if np.isfinite(area).any():  # nearly the largest: a passing hand makes it smaller, a slip larger
            goal = np.nanpercentile(area, 80)
            shown[view] = start + int(np.nanargmin(np.abs(area - goal)))
    rays_of, seen_of, depth_of = merged
    rays_of = np.where(seen_of[..., None], rays_of, np.nan)
    return Views(middle, of_frame, lengths, rays_of, seen_of, depth_of, sharpness, contact[starts], outlines.pick(shown))


def _median(values: FloatArray) -> FloatArray:
    """Median over the first axis without what is NaN; NaN where there is nothing."""
    known = np.isfinite(values).any(axis=0)
    filled = np.where(known, values, 0.0)
    return np.where(known, np.nanmedian(filled, axis=0), np.nan)


def _still_runs(
    rays: FloatArray, seen: BoolArray, contact: BoolArray, outlines: Outlines, ray_sigma: float
) -> list[tuple[int, int]]:
    """Half-open ranges of frames without contact in which the object does not move."""
    size = np.nanmedian(outlines.half_axes[:, 0]) if np.isfinite(outlines.area).any() else _spread(rays, seen)
    limit = max(_STILL_SIZES * float(size), _STILL_SIGMAS * ray_sigma)
    known = seen.any(axis=1)
    step = np.zeros(len(rays))
    for frame in range(1, len(rays)):
        both = seen[frame] & seen[frame - 1]
        if both.any():
            step[frame] = np.linalg.norm(np.median(rays[frame, both] - rays[frame - 1, both], axis=0))
        elif not known[frame] or not known[frame - 1]:
            step[frame] = np.inf if contact[frame] else 0.0
    moving = contact | (step > 2.0 * limit)
    found: list[tuple[int, int]] = []
    for start, end in runs(~moving):
        found.extend(_split_by_place(rays, seen, start, end, limit))
    return found


def _split_by_place(rays: FloatArray, seen: BoolArray, start: int, end: int, limit: float) -> list[tuple[int, int]]:
    """Parts of a range in which the points stay at one place: the range itself, or what is left on its two sides."""
    inside = np.flatnonzero(seen[start:end].any(axis=1)) + start
    if len(inside) < _MIN_STILL_FRAMES:
        return []
    start, end = int(inside[0]), int(inside[-1]) + 1
    found: list[tuple[int, int]] = []
    while end - start >= _MIN_STILL_FRAMES:
        pick = np.unique(np.linspace(start, end - 1, min(end - start, _LARGEST_PICTURES)).astype(int))
        typical = _median(np.where(seen[pick][..., None], rays[pick], np.nan))
        away = np.array([_distance(rays[frame], seen[frame], typical) for frame in pick])
        if (away <= limit).mean() > 0.9:
            good = pick[away <= limit]
            found.append((int(good[0]), int(good[-1]) + 1))
            break
        # it creeps: look at the half that stays closer to its own middle
        half = (end - start) // 2
        found.extend(_split_by_place(rays, seen, start, start + half, limit))
        start += half
    return found


def _distance(rays: FloatArray, seen: BoolArray, typical: FloatArray) -> float:
    off = rays[seen] - typical[seen]
    return float(np.linalg.norm(np.median(off, axis=0))) if len(off) else 0.0


def _spread(rays: FloatArray, seen: BoolArray) -> float:
    """Half the extent of the points in the frame that shows most of them."""
    best = rays[int(np.argmax(seen.sum(axis=1)))]
    return float(0.5 * np.max(np.ptp(best[np.isfinite(best[:, 0])], axis=0), initial=0.0))
