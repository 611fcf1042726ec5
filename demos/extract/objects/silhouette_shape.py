"""The `silhouette-shape` backend: a solid for each frame from that frame's mask alone, without correspondence over time.

It stands in for methods that reconstruct a mesh from every single picture. The mask is blown up to a closed surface, that of
all balls that fit into it; what the hand hides is filled by convexity. Metres come frame by frame from the fingertips that
hold the object, and from a known length where all of the object shows; a depth picture gives the front, the solid the back.
Nothing is smoothed over time, so the shapes jump as those of single-picture methods do.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from demos.camera import FloatArray, unproject
from demos.extract.objects.lift_figures import LiftedObject, LiftFigures
from demos.extract.objects.masks import hand_mask
from demos.extract.objects.object_masks import ObjectMasks
from demos.interaction import FINGERTIPS, HandTrack, ObjectTrack
from demos.parts import DepthFrames, image_points, resize_nearest

BoolArray = NDArray[np.bool_]

_CELLS = 48  # along the longer side of a mask; a blown-up shape is no finer
_MIN_PIXELS = 12
_LARGEST_HALF = 0.5  # of the distance: nothing reaches to the camera
_MIN_DEPTHS = 8  # fewer measured cells do not show where the object is
_DEPTH_RANGE_M = (0.05, 20.0)
_UNKNOWN_DISTANCE_M = 0.7  # where neither hand nor length is known
_HIDDEN_EDGE = 0.1  # of a mask's edge; with more of it at the hand, nobody knows how far the object goes on
_PART_OF_EXTENT = 0.5  # a mask of less than this part of the usual extent shows only a part: something else hides the object
_NEAR_GRASP_S = 0.5  # so long before and after it is held, an object is about as far away
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
        whole: neither the hand nor the picture's edge cuts the mask off.
    """

    pixels: FloatArray
    half: FloatArray
    seen: BoolArray
    extent: float
    whole: bool


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
        fps: of the frames.
        known_length_m: the object's largest extent, where the user knows it.
        depth: T depth pictures, where there are any; those without metres are passed over.
        image_size: (width, height) of the video.
        count: points a frame.
    """
    frames, fronts = len(masks), count - count // 2
    points, pose = np.full((frames, count, 3), np.nan), np.full((frames, 4, 4), np.nan)
    visible = np.zeros((frames, count), bool)
    extent, measured = np.full(frames, np.nan), np.full(frames, np.nan)
    whole = np.zeros(frames, bool)
    previous = np.array([1.0, 0.0, 0.0])
    for frame in range(frames):
        solid = blow_up(masks[frame], hand.keypoints_image[frame], K, image_size)
        if solid is None:
            continue
        extent[frame], whole[frame] = solid.extent, solid.whole
        middle = None
        if depth is not None and depth.metric:
            middle = _measured_middle(solid, np.asarray(depth.read_m(frame), float), image_size)
        if middle is None:
            middle = np.ones(len(solid.half))  # scaled below, which changes nothing in the picture
        else:
            measured[frame] = np.median(middle)
        half = solid.half * float(np.median(middle))
        front, back = unproject(solid.pixels, middle - half, K), unproject(solid.pixels, middle + half, K)
        pose[frame] = _pose(np.concatenate([front, back]), previous)
        previous = pose[frame, :3, 0]
        chosen = np.random.default_rng(0).permutation(len(front))
        first, second = chosen[:fronts], chosen[: count // 2]
        points[frame, : len(first)], points[frame, fronts : fronts + len(second)] = front[first], back[second]
        visible[frame, : len(first)] = solid.seen[first]
    distance, figures = _distances(hand, contact, extent, whole, known_length_m, fps)
    if np.isfinite(measured).any():
        figures = dataclasses.replace(figures, scale_source="depth", scale_sigma=0.01)
    factor = np.where(np.isfinite(measured), 1.0, distance)
    points *= factor[:, None, None]
    pose[:, :3, 3] *= factor[:, None]
    length_m = (extent * np.where(np.isfinite(measured), measured, distance))[np.isfinite(extent)]
    if len(length_m):
        figures = dataclasses.replace(figures, length_m=float(np.median(length_m)))
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
    scale, focal_px = image_size[0] / mask.shape[1], float(np.sqrt(K[0, 0] * K[1, 1]))
    before = hand_mask((mask.shape[0], mask.shape[1]), (hand_px + 0.5) / scale - 0.5) > 0
    whole = mask | _hidden(mask, before)
    around = cv2.dilate(np.pad(mask, 1).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    edge = around & ~np.pad(mask, 1)
    cut_off = edge & np.pad(before, 1, constant_values=True)  # outside the picture it may go on as well
    rows, columns = np.flatnonzero(whole.any(axis=1)), np.flatnonzero(whole.any(axis=0))
    step = -(-max(int(np.ptp(rows)), int(np.ptp(columns)), 1) // _CELLS)
    rows = np.arange(rows[0], rows[-1] + 1, step)
    columns = np.arange(columns[0], columns[-1] + 1, step)
    small = whole[rows[:, None], columns]
    inside = cv2.distanceTransform(np.pad(small, 1).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    inside = np.sqrt(np.round(np.square(inside.astype(np.float64)))) - 0.5  # squares of distances between cells are whole
    # half a ball's thickness at x is the root of r^2 - |x - c|^2, so the largest ball is found along rows, then along columns
    square = np.where(small, np.square(inside), -np.inf)
    square = _highest_parabola(_highest_parabola(square).T).T
    row, column = np.nonzero(small)
    pixels = (np.stack([columns[column], rows[row]], axis=-1) + 0.5) * scale - 0.5
    half = np.minimum(np.sqrt(np.maximum(square[row, column], 0.0)) * step * scale / focal_px, _LARGEST_HALF)
    outline, _ = cv2.findContours(whole.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    longest = np.linalg.eigh(np.cov(pixels.T))[1][:, -1]
    extent = (float(np.ptp(np.concatenate(outline)[:, 0] @ longest)) + 1.0) * scale / focal_px
    return Solid(pixels, half, mask[rows[row], columns[column]], extent, bool(cut_off.sum() < _HIDDEN_EDGE * edge.sum()))


def _hidden(mask: BoolArray, before: BoolArray) -> BoolArray:
    """What of the mask's convex hull (h, w) lies behind the hand (h, w), whose own outline is crude.

    A gap that is mostly the hand's is filled as a whole, so that no slits remain beside the fingers.
    """
    import cv2

    filled = np.zeros(mask.shape, np.uint8)
    outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    cv2.fillConvexPoly(filled, cv2.convexHull(np.concatenate(outlines)), (1,))
    gaps = (filled > 0) & ~mask
    if not (gaps & before).any():
        return np.zeros_like(mask)
    count, labels = cv2.connectedComponents(gaps.astype(np.uint8), connectivity=4)
    number = np.asarray(labels, np.int64)
    size, hidden = np.bincount(number[gaps], minlength=count), np.bincount(number[gaps & before], minlength=count)
    return gaps & (before | (hidden > 0.5 * size)[number])


def _highest_parabola(heights: FloatArray) -> FloatArray:
    """The largest of heights[:, k] - (k - i)^2 over k, for each column i."""
    at = np.arange(heights.shape[1])
    return (heights[:, :, None] - np.square(at[:, None] - at)).max(axis=1)


def _distances(
    hand: HandTrack, contact: BoolArray, extent: FloatArray, whole: BoolArray, known_length_m: float | None, fps: float
) -> tuple[FloatArray, LiftFigures]:
    """Distance (T,) m of the object in each frame by itself, and where it comes from.

    It is that of the fingertips in the frame, or the nearest one, in which they hold the object. With a known length it follows
    from the extent (T,) where the object is `whole` (T,), and the fingertips' is put right by one factor for the clip.
    """
    tips = hand.keypoints_camera[:, FINGERTIPS, 2]
    between = 0.5 * (tips[:, 0] + tips[:, 1:].mean(axis=1))
    known = np.isfinite(between)
    held = known & contact
    if held.any():
        by_hand, figures = _nearest(between, held), LiftFigures(False, "hand", _HAND_SIGMA)
    elif known.any():
        by_hand = np.full(len(between), np.median(between[known]))
        figures = LiftFigures(False, "hand without contact", _FREE_HAND_SIGMA)
    else:
        by_hand, figures = np.full(len(between), _UNKNOWN_DISTANCE_M), LiftFigures(False, "none", _GUESS_SIGMA)
    shown = np.isfinite(extent)
    if known_length_m is None or not shown.any():
        return by_hand, figures
    whole = whole if whole.any() else shown
    whole = whole & (extent > _PART_OF_EXTENT * np.median(extent[whole]))
    by_length = known_length_m / np.where(shown, extent, 1.0)
    figures = LiftFigures(False, "length", _LENGTH_SIGMA)
    since_held = (
        np.abs(np.arange(len(held)) - _nearest(np.arange(len(held), dtype=np.float64), held))
        if held.any()
        else np.full(len(held), np.inf)
    )
    both = whole & (since_held <= _NEAR_GRASP_S * fps)
    if both.any():
        ratio = float(np.median(by_hand[both] / by_length[both]))
        figures = LiftFigures(False, "hand and length", _LENGTH_SIGMA, hand_to_length=ratio)
        by_length, whole = np.where(held & ~whole, by_hand / ratio, by_length), whole | held
    return _nearest(by_length, whole), figures


def _nearest(values: FloatArray, known: BoolArray) -> FloatArray:
    """The values (T,) with those of the nearest known frame where they are not known."""
    at, frames = np.flatnonzero(known), np.arange(len(values))
    after = np.clip(np.searchsorted(at, frames), 0, len(at) - 1)
    before = np.maximum(after - 1, 0)
    return values[np.where(np.abs(at[after] - frames) < np.abs(at[before] - frames), at[after], at[before])]


def _measured_middle(solid: Solid, picture: FloatArray, image_size: tuple[int, int]) -> FloatArray | None:
    """Depth (C,) m of the solid's middle behind the front that a depth picture (H, W) shows; None where it shows none.

    Cells that the hand hides or that have no depth of the object are as far away as the others in the median.
    """
    column, row = np.round(solid.pixels).astype(int).T
    front = resize_nearest(picture, (image_size[1], image_size[0]))[row, column]
    usable = solid.seen & (front > _DEPTH_RANGE_M[0]) & (front < _DEPTH_RANGE_M[1])
    if usable.sum() < _MIN_DEPTHS:
        return None
    typical = float(np.median(front[usable] / (1.0 - solid.half[usable])))
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
