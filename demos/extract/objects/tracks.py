"""The `optical-flow` backend: follows one object, its mask and points on it, from one frame forwards and backwards.

Points give the motion, the motion carries the mask, colours put the mask right, and the mask says where points may be. Where an
object has too few points, the place where its colours fit best decides; where the hand hides it, it goes with the hand.
Coordinates are pixels of the kept pictures.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from demos.extract.flow import to_gray
from demos.extract.hand.follow import hand_size_px
from demos.extract.objects.long_tracks import LongTracks
from demos.extract.objects.masks import ObjectSeed, mask_in_outline, similar_motion
from demos.extract.objects.object_masks import CARRIED, LOST, SEEN, ObjectMasks
from demos.extract.objects.scene import StaticScene, observe_scene
from demos.extract.objects.segment import Evidence, Segmenter, Shape, decide
from demos.parts import MaskFrames, PixelTracks
from demos.video import FrameCache

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
Picture = NDArray[np.uint8]
Box = tuple[slice, slice]

_WANTED_POINTS = 60
_MIN_TRACK_S = 0.2
_TRUSTED_POINTS = 8  # so many agree on a motion: no other is tried
_SEEN_SHARE = 0.3  # of the part that nothing hides; less, and the colours do not show the object
_FORGET = 0.5  # of the old shape, where the new one is seen
_RETURN_STRIDE = 3  # frames between looks for a lost object in the whole picture
_SMALLEST_PX = 4  # across; what is smaller is found everywhere
_COMES_BACK = 2.0  # mean log odds at which a lost object is found again
_PATIENCE_S = 0.4  # an object that fits nowhere is lost after so long


@dataclasses.dataclass(frozen=True)
class PointTracks:
    """Points on the object in the picture.

    Attributes:
        pixels: (T, P, 2) px; NaN where a point is not seen.
        centre: (T, 2) px, middle of its shape, also where the hand hides it; NaN where it is lost.
        outline: T polygons (N, 2) px.
        error_px: (T,) median forward-backward error; NaN where nothing was followed.
    """

    pixels: FloatArray
    centre: FloatArray
    outline: list[FloatArray]
    error_px: FloatArray


@dataclasses.dataclass(frozen=True)
class ObjectInPicture(PointTracks):
    """One object over a clip.

    Attributes:
        masks: the visible part of the object in each frame.
        tracks: points on it, with confidence; `pixels` are the same.
    """

    masks: ObjectMasks
    tracks: PixelTracks


def follow_object(
    cache: FrameCache,
    seed: ObjectSeed,
    hand: FloatArray,
    fps: float,
    max_points: int,
    progress: Callable[[], None],
    given: MaskFrames | None = None,
    scene: StaticScene | None = None,
) -> ObjectInPicture:
    """Masks and tracks of the object through all T frames.

    Args:
        cache: T pictures.
        seed: the object in one frame.
        hand: (T, 21, 2) px.
        fps: of the T frames.
        max_points: the longest so many tracks are kept.
        progress: called after each frame.
        given: masks of another system; then they are used as they are, kept clear of the hand.
        scene: of this clip; made here where it is not given. Share it among the objects of a clip.
    """
    scene = observe_scene(cache, hand) if scene is None else scene
    follower = _Follower(cache, seed, hand, fps, scene, given)
    for frames in (range(seed.frame, len(cache)), range(seed.frame, -1, -1)):
        follower.follow(frames, progress)
    tracks = follower.points.result(max_points, max(3, round(_MIN_TRACK_S * fps)))
    return ObjectInPicture(tracks.pixels, follower.centre, follower.outline, follower.error_px, follower.masks, tracks)


@dataclasses.dataclass(frozen=True)
class Trail:
    """Where a candidate went.

    Attributes:
        middle: (F, 2) px.
        seen: (F,) bool, its colours were there.
        masks: of all frames of the clip; empty but in those F.
    """

    middle: FloatArray
    seen: BoolArray
    masks: ObjectMasks


def trail_of(
    cache: FrameCache, seed: ObjectSeed, hand: FloatArray, fps: float, scene: StaticScene, frames: Sequence[int]
) -> Trail:
    """Follows what the seed shows, with a hand (T, 21, 2) px, through F frames only; until the first it is taken to rest."""
    follower = _Follower(cache, seed, hand, fps, scene, None)
    middle: list[FloatArray] = []
    follower.follow(frames, lambda: middle.append(follower.shape.middle()))
    return Trail(np.array(middle), follower.masks.origin[list(frames)] == SEEN, follower.masks)


class _Follower:
    """What is known of the object while the pictures pass."""

    def __init__(
        self,
        cache: FrameCache,
        seed: ObjectSeed,
        hand: FloatArray,
        fps: float,
        scene: StaticScene,
        given: MaskFrames | None,
    ) -> None:
        self._cache, self._hand, self._seed, self._given = cache, hand, seed, given
        self._patience = max(2, round(_PATIENCE_S * fps))
        self.masks = ObjectMasks(scene.shape, len(cache))
        self.points = LongTracks(len(cache))
        self.outline: list[FloatArray] = [np.zeros((0, 2))] * len(cache)
        self.centre, self.error_px = np.full((len(cache), 2), np.nan), np.full(len(cache), np.nan)
        picture = cache.rgb(seed.frame)
        mask = seed.mask
        if given is not None:
            mask = given.read_sized(seed.frame, scene.shape)
        elif mask is None:
            mask = mask_in_outline(picture, seed.polygon, hand[seed.frame])
        self._seed_shape = Shape.trimmed(mask.astype(np.float32))
        self._segmenter = Segmenter(scene, picture, mask, hand[seed.frame])
        self.shape, self._velocity, self._missing = self._seed_shape, np.zeros(2), 0

    def follow(self, frames: Sequence[int], progress: Callable[[], None]) -> None:
        """Goes through the frames in the given order; the first is the seed's."""
        self.points.start()
        self.shape, self._velocity, self._missing = self._seed_shape, np.zeros(2), 0
        before, previous = None, frames[0]
        for frame in frames:
            picture = self._cache.rgb(frame)
            gray = to_gray(picture)
            if before is not None:
                self._step(before, gray, picture, previous, frame)
                progress()
            elif self.masks.origin[frame] == LOST:
                self._begin(gray, picture, frame)
                progress()
            self.points.note(frame)
            before, previous = gray, frame

    def _begin(self, gray: Picture, picture: Picture, frame: int) -> None:
        box = self._box([self.shape.corners()], 12.0)
        soft = self.shape.moved(np.eye(2, 3), box)
        evidence = self._segmenter.look(picture, box, self._hand[frame])
        self._finish(gray, evidence, soft > 0.5, soft, frame, SEEN)
        self.points.keep_start()

    def _step(self, before: Picture, gray: Picture, picture: Picture, previous: int, frame: int) -> None:
        if self._missing > self._patience and self._given is None and not self._comes_back(picture, frame):
            return
        size = float(np.sqrt(max(self.shape.area, 16.0)))
        reach = 6.0 + 0.25 * size + 0.8 * float(np.linalg.norm(self._velocity))
        guesses = self._guesses(previous, frame)
        corners = self.shape.corners()
        told = None if self._given is None else self._given.read_sized(frame, self.masks.shape)
        if told is not None and told.any():
            guesses.append(
                np.hstack([np.eye(2), (Shape.trimmed(told.astype(np.float32)).middle() - self.shape.middle())[:, None]])
            )
        box = self._box([corners, *(_apply(guess, corners) for guess in guesses)], reach + 8.0)
        motion, self.error_px[frame] = self.points.step(before, gray, box)
        evidence = self._segmenter.look(picture, box, self._hand[frame])
        if motion is None or len(self.points.place) < _TRUSTED_POINTS:
            motion = self._best(evidence, guesses if motion is None else [motion, *guesses], reach)
        moved = _apply(motion, self.shape.middle()[None])[0]
        self._velocity = moved - self.shape.middle()
        self.points.moved_by(motion)
        soft = self.shape.moved(motion, box)
        if told is not None:
            self._tell(gray, evidence, told, frame)
            return
        mask = decide(evidence, soft, max(1.5, 0.035 * size))
        open_part = float(((soft > 0.5) & ~evidence.hidden).sum())
        seen = mask.sum() >= max(10.0, _SEEN_SHARE * open_part)
        self._missing = 0 if seen or open_part < 0.4 * self.shape.area else self._missing + 1
        self._finish(gray, evidence, mask if seen else (soft > 0.5) & ~evidence.hidden, soft, frame, SEEN if seen else CARRIED)
        if seen:
            self._segmenter.learn(picture, evidence, mask, soft, self._hand[frame], mask.sum() > 0.7 * open_part)

    def _comes_back(self, picture: Picture, frame: int) -> bool:
        """Looks for a lost object in the whole picture, now and then; puts the shape where it is found."""
        import cv2

        self.points.restrict(np.zeros(self.masks.shape, np.uint8))
        if frame % _RETURN_STRIDE or min(self.shape.soft.shape) < _SMALLEST_PX:
            return False
        whole = (slice(0, self.masks.shape[0]), slice(0, self.masks.shape[1]))
        evidence = self._segmenter.look(picture, whole, self._hand[frame])
        fits = cv2.resize(evidence.object, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        soft = cv2.resize(self.shape.soft, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        if soft.sum() < 4.0 or soft.shape[0] > fits.shape[0] or soft.shape[1] > fits.shape[1]:
            return False
        score = cv2.matchTemplate(fits, soft, cv2.TM_CCORR) / float(soft.sum())
        row, column = (int(at) for at in np.unravel_index(int(score.argmax()), score.shape))
        if score[row, column] < _COMES_BACK:
            return False
        self.shape = Shape(self.shape.soft, (2 * column, 2 * row))
        self._velocity, self._missing = np.zeros(2), 0
        return True

    def _tell(self, gray: Picture, evidence: Evidence, told: BoolArray, frame: int) -> None:
        """Takes a mask (h, w) of another system, without the hand."""
        box = self._box([Shape.trimmed(told.astype(np.float32)).corners()], 12.0) if told.any() else evidence.box
        evidence = self._segmenter.look(self._cache.rgb(frame), box, self._hand[frame])
        mask = told[box] & ~evidence.hidden
        self._finish(gray, evidence, mask, told[box].astype(np.float32), frame, SEEN if mask.any() else LOST)

    def _guesses(self, previous: int, frame: int) -> list[FloatArray]:
        """Motions (2, 3) that the object may have made: none, the same as before, that of a hand nearby."""
        still, on = np.eye(2, 3), np.eye(2, 3)
        on[:, 2] = self._velocity
        guesses = [still, on] if np.linalg.norm(self._velocity) > 1.0 else [still]
        hand = self._hand[[previous, frame]]
        if np.isfinite(hand).all():
            corners = np.vstack([self.shape.corners(), self.shape.middle()])
            near = np.linalg.norm(corners[:, None] - hand[0, 5:][None], axis=-1).min() < 1.2 * float(hand_size_px(hand[0]))
            if near:
                carried = np.eye(2, 3)
                middle = self.shape.middle()[None]
                carried[:, 2] = similar_motion(hand[0], hand[1], middle)[0]
                guesses.append(carried)
        return guesses

    def _best(self, evidence: Evidence, guesses: list[FloatArray], reach: float) -> FloatArray:
        """Of the guesses, each shifted to where the colours fit, the one that fits best."""
        import cv2

        said = np.where(evidence.hidden, -0.5, evidence.object).astype(np.float32)
        small = cv2.resize(said, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        best, best_score = guesses[0], -np.inf
        steps = max(1, round(0.5 * reach))
        for guess in guesses:
            soft = cv2.resize(self.shape.moved(guess, evidence.box), small.shape[::-1], interpolation=cv2.INTER_AREA)
            if soft.sum() < 1.0:
                continue
            padded = cv2.copyMakeBorder(small, steps, steps, steps, steps, cv2.BORDER_CONSTANT, value=(0.0,))
            score = cv2.matchTemplate(padded, soft, cv2.TM_CCORR) / float(soft.sum())
            offset = np.arange(-steps, steps + 1)
            score = score - 0.6 * (offset[:, None] ** 2 + offset[None] ** 2) / steps**2
            row, column = (int(at) for at in np.unravel_index(int(score.argmax()), score.shape))
            if score[row, column] > best_score + 0.05:
                best_score = float(score[row, column])
                best = guess.copy()
                best[:, 2] += 2.0 * np.array([_peak(score, row, column, 1), _peak(score, row, column, 0)]) - 2.0 * steps
        return best

    def _finish(
        self, gray: Picture, evidence: Evidence, mask: BoolArray, soft: NDArray[np.float32], frame: int, origin: int
    ) -> None:
        """Stores the mask (a, b) of the cut-out, and lets the points follow it."""
        import cv2

        box = evidence.box
        if origin == SEEN:
            blend = _FORGET * soft + (1.0 - _FORGET) * mask
            soft = np.where(evidence.hidden, soft, blend).astype(np.float32)
        self.shape = Shape.trimmed(soft, (box[1].start, box[0].start))
        if origin != LOST:
            self.centre[frame] = self.shape.middle()
        whole = np.zeros(self.masks.shape, bool)
        whole[box] = mask
        self.masks.put(frame, whole, origin)
        outlines, _ = cv2.findContours((soft > 0.5).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        if outlines:
            largest: FloatArray = max(outlines, key=cv2.contourArea).reshape(-1, 2).astype(np.float64)
            self.outline[frame] = largest + np.array((box[1].start, box[0].start), np.float64)
        size = float(np.sqrt(max(mask.sum(), 1)))
        apart = float(np.clip(0.09 * size, 3.0, 8.0))
        region = (whole * np.uint8(255)).astype(np.uint8)
        self.points.restrict(region)
        inner = region.copy()
        rim = 3 if size > 40 else 1
        inner[box] = cv2.erode(region[box], np.ones((2 * rim + 1, 2 * rim + 1), np.uint8))
        self.points.mend(gray, region, box, apart)
        if origin == SEEN and (frame % 3 == 0 or len(self.points.place) < _TRUSTED_POINTS):
            self.points.take_up(gray, inner, _WANTED_POINTS, apart, box)

    def _box(self, corners: list[FloatArray], margin: float) -> Box:
        """Rows and columns around corners, within the picture and never empty."""
        points = np.concatenate(corners)
        height, width = self.masks.shape
        low = np.clip(np.floor(points.min(axis=0) - margin), 0, (width - 24, height - 24)).astype(int)
        high = np.clip(np.ceil(points.max(axis=0) + margin), low + 24, (width, height)).astype(int)
        return (slice(int(low[1]), int(high[1])), slice(int(low[0]), int(high[0])))


def _apply(motion: FloatArray, points: FloatArray) -> FloatArray:
    return points @ motion[:, :2].T + motion[:, 2]


def _peak(score: NDArray[np.float32], row: int, column: int, axis: int) -> float:
    """The place of the maximum along an axis, between the samples."""
    at = (row, column)[axis]
    if not 0 < at < score.shape[axis] - 1:
        return float(at)
    line = score[:, column] if axis == 0 else score[row]
    bend = float(line[at - 1] - 2.0 * line[at] + line[at + 1])
    return at + float(np.clip(0.5 * (line[at - 1] - line[at + 1]) / bend, -0.5, 0.5)) if bend < 0 else float(at)
