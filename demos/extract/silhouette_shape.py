"""The `silhouette-shape` backend: a solid for each frame from that frame's mask alone, without correspondence over time.

It stands in for methods that reconstruct a mesh from every single picture. The mask is blown up to a closed surface, that of
all balls that fit into it; what the hand hides is filled by convexity. Metres come from a known length, else from the
fingertips that hold the object, frame by frame; a depth picture gives the front itself, and the solid its back.
Nothing is smoothed over time, so the shapes jump as those of single-picture methods do.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from demos.camera import FloatArray, unproject
from demos.extract.lift import LiftedObject, LiftFigures
from demos.extract.masks import hand_mask
from demos.extract.object_masks import ObjectMasks
from demos.interaction import FINGERTIPS, HandTrack, ObjectTrack
from demos.parts import DepthFrames, image_points, resize_nearest

BoolArray = NDArray[np.bool_]

_CELLS = 64  # along the longer side of a mask; a blown-up shape is no finer
_MIN_PIXELS = 12
_MIN_DEPTHS = 8  # fewer measured cells do not show where the object is
_DEPTH_RANGE_M = (0.05, 20.0)
_UNKNOWN_DISTANCE_M = 0.7  # where neither hand nor length is known
_LENGTH_SIGMA = 0.15  # lengths are foreshortened
_HAND_SIGMA, _FREE_HAND_SIGMA, _GUESS_SIGMA = 0.05, 0.25, 0.5


@dataclasses.dataclass(frozen=True)
class Solid:
    """A mask blown up, at an unknown distance: each of its C cells has a front and a back.

    Attributes:
        pixels: (C, 2) px of the video.
        half: (C,) half the thickness, as a share of the distance.
        seen: (C,) bool, the cell is in the mask, not only behind the hand.
        extent: the largest one across the line of sight, as a share of the distance.
    """

    pixels: FloatArray
    half: FloatArray
    seen: BoolArray
    extent: float


def silhouette_shape(
    masks: ObjectMasks,
    hand: HandTrack,
    contact: BoolArray,
    K: FloatArray,
    fps: float,
    known_length_m: float | None,
    depth: DepthFrames | None,
    image_size: tuple[int, int],
    count: int = 200,
) -> LiftedObject:
    """Solids of all T frames as points of their surfaces.

    Row p of two frames is not the same point of the object, so nothing may be learnt from its motion. The first half of the
    rows is the front, `visible` where the mask shows it; the others are the back, known and never visible.

    The pose is as much as such shapes tell: the middle of the solid, x along its long side, z along the line of sight. So it
    turns in the picture's plane only, at random where the mask is nearly round, and may flip by half a turn.

    Args:
        masks: T frames.
        hand: T frames, pixels of the video.
        contact: (T,) frames in which the hand holds the object.
        K: (3, 3) px of the video.
        fps: of the frames; not needed, as every frame stands alone.
        known_length_m: the object's largest extent, where the user knows it.
        depth: T depth pictures, where there are any; those without metres are passed over.
        image_size: (width, height) of the video.
        count: points a frame.
    """
    frames, fronts = len(masks), count - count // 2
    points, pose = np.full((frames, count, 3), np.nan), np.full((frames, 4, 4), np.nan)
    visible = np.zeros((frames, count), bool)
    length_m, ratio, measured = np.full(frames, np.nan), np.full(frames, np.nan), 0
    by_hand, hand_source, sigma = _distance_of_hand(hand, contact)
    previous = np.array([1.0, 0.0, 0.0])
    for frame in range(frames):
        solid = blow_up(masks[frame], hand.keypoints_image[frame], K, image_size)
        if solid is None:
            continue
        distance = float(by_hand[frame])
        if known_length_m is not None:
            distance, ratio[frame] = known_length_m / solid.extent, distance * solid.extent / known_length_m
        middle = None
        if depth is not None and depth.metric:
            middle = _measured_middle(solid, np.asarray(depth.read_m(frame), float), image_size)
        if middle is None:
            middle = np.full(len(solid.half), distance)
        else:
            distance, measured = float(np.median(middle)), measured + 1
        front = unproject(solid.pixels, middle - solid.half * distance, K)
        back = unproject(solid.pixels, middle + solid.half * distance, K)
        pose[frame] = _pose(np.concatenate([front, back]), previous)
        previous = pose[frame, :3, 0]
        length_m[frame] = solid.extent * distance
        chosen = np.random.default_rng(0).permutation(len(front))
        first, second = chosen[:fronts], chosen[: count // 2]
        points[frame, : len(first)], points[frame, fronts : fronts + len(second)] = front[first], back[second]
        visible[frame, : len(first)] = solid.seen[first]
    source = hand_source
    if known_length_m is not None:
        source, sigma = "length", _LENGTH_SIGMA
    if measured:
        source, sigma = "depth", 0.01
    held = contact & np.isfinite(ratio) & (hand_source == "hand")
    figures = LiftFigures(
        rigid=False,
        scale_source=source,
        scale_sigma=sigma,
        length_m=float(np.nanmedian(length_m)) if np.isfinite(length_m).any() else float("nan"),
        hand_to_length=float(np.median(ratio[held])) if held.any() else float("nan"),
    )
    return LiftedObject(ObjectTrack(points, image_points(points, K), visible, pose, np.full(frames, np.nan)), figures)


def blow_up(mask: BoolArray, hand_px: FloatArray, K: FloatArray, image_size: tuple[int, int]) -> Solid | None:
    """The solid of one mask (h, w); None where it shows too little.

    Args:
        mask: of the object without what the hand hides, in its own size.
        hand_px: (21, 2) px of the video; NaN where unknown.
        K: (3, 3) px of the video.
        image_size: (width, height) of the video.
    """
    import cv2

    if mask.sum() < _MIN_PIXELS:
        return None
    scale = image_size[0] / mask.shape[1]
    whole = mask | _hidden(mask, (hand_px + 0.5) / scale - 0.5)
    rows, columns = np.flatnonzero(whole.any(axis=1)), np.flatnonzero(whole.any(axis=0))
    step = -(-max(int(np.ptp(rows)), int(np.ptp(columns)), 1) // _CELLS)
    rows = np.arange(rows[0], rows[-1] + 1, step)
    columns = np.arange(columns[0], columns[-1] + 1, step)
    small = whole[rows[:, None], columns]
    inside = cv2.distanceTransform(np.pad(small, 1).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1] - 0.5
    # half a ball's thickness at x is the root of r^2 - |x - c|^2, so the largest ball is found along rows, then along columns
    square = np.where(small, np.square(inside.astype(np.float64)), -np.inf)
    square = _highest_parabola(_highest_parabola(square).T).T
    row, column = np.nonzero(small)
    pixels = (np.stack([columns[column], rows[row]], axis=-1) + 0.5) * scale - 0.5
    half = np.sqrt(np.maximum(square[row, column], 0.0)) * step * scale / float(np.sqrt(K[0, 0] * K[1, 1]))
    flat = unproject(pixels, np.ones(len(pixels)), K)[:, :2]
    longest = np.linalg.eigh(np.cov(flat.T))[1][:, -1]
    extent = float(np.ptp(flat @ longest)) + step * scale / K[0, 0]
    return Solid(pixels, half, mask[rows[row], columns[column]], extent)


def _hidden(mask: BoolArray, hand: FloatArray) -> BoolArray:
    """What belongs to the mask's convex hull and lies behind the hand (21, 2) px."""
    import cv2

    filled = np.zeros(mask.shape, np.uint8)
    outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    cv2.fillConvexPoly(filled, cv2.convexHull(np.concatenate(outlines)), (1,))
    return (filled > 0) & (hand_mask((mask.shape[0], mask.shape[1]), hand) > 0)


def _highest_parabola(heights: FloatArray) -> FloatArray:
    """The largest of heights[:, k] - (k - i)^2 over k, for each column i."""
    at = np.arange(heights.shape[1])
    return (heights[:, :, None] - np.square(at[:, None] - at)).max(axis=1)


def _distance_of_hand(hand: HandTrack, contact: BoolArray) -> tuple[FloatArray, str, float]:
    """Depth (T,) m between thumb and fingers when they hold the object, now or at the nearest time; its source and sigma."""
    tips = hand.keypoints_camera[:, FINGERTIPS, 2]
    between = 0.5 * (tips[:, 0] + tips[:, 1:].mean(axis=1))
    known = np.flatnonzero(np.isfinite(between))
    frames = np.arange(len(between))
    if not len(known):
        return np.full(len(between), _UNKNOWN_DISTANCE_M), "none", _GUESS_SIGMA
    held = known[contact[known]]
    if not len(held):
        return np.full(len(between), np.median(between[known])), "hand without contact", _FREE_HAND_SIGMA
    nearest = held[np.abs(frames[:, None] - held).argmin(axis=1)]
    return between[nearest], "hand", _HAND_SIGMA


def _measured_middle(solid: Solid, picture: FloatArray, image_size: tuple[int, int]) -> FloatArray | None:
    """Depth (C,) m of the solid's middle behind the front that a depth picture (H, W) shows; None where it shows none.

    Cells that the hand hides or that have no depth of the object are as far away as the others in the median.
    """
    column, row = np.round(solid.pixels).astype(int).T
    front = resize_nearest(picture, (image_size[1], image_size[0]))[row, column]
    usable = solid.seen & (front > _DEPTH_RANGE_M[0]) & (front < _DEPTH_RANGE_M[1])
    if usable.sum() < _MIN_DEPTHS:
        return None
    typical = float(np.median(front[usable] / (1.0 - np.minimum(solid.half[usable], 0.5))))
    middle = front + solid.half * typical
    usable &= np.abs(middle - typical) < 0.6 * solid.extent * typical  # at the rim the depth is often the background's
    return np.where(usable, middle, typical)


def _pose(surface: FloatArray, previous: FloatArray) -> FloatArray:
    """The solid's frame (4, 4) in the camera's, x as near as may be to the previous one (3,)."""
    pose = np.eye(4)
    pose[:3, 3] = surface.mean(axis=0)
    x = np.linalg.eigh(np.cov(surface.T))[1][:, -1]
    x = x if x @ previous >= 0.0 else -x
    z = pose[:3, 3] / np.linalg.norm(pose[:3, 3])
    y = np.cross(z, x)
    y /= np.linalg.norm(y)
    pose[:3, :3] = np.stack([x, y, np.cross(x, y)], axis=-1)
    return pose
