"""Follows hands through a video and bridges dropouts; metric 3D is left to `hand_pose`.

A search of the whole picture often misses a hand that holds something. Once found, a hand is therefore read where optical flow
says that it is now, forwards and, when the video is over, also backwards from where it was first found. Where even that
fails, the flow alone carries the 21 points on for a while, with falling confidence.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from demos.extract.flow import to_gray, track_points
from demos.extract.hand.detection import DETECTED as DETECTED
from demos.extract.hand.detection import FLOW, LOST, Detection, HandDetector, Region, RgbImage, hand_size_px, image_distance
from demos.extract.hand.detection import REGION as REGION
from demos.extract.hand.detection import RawHand as RawHand
from demos.extract.hand.mediapipe_hands import MediaPipeHands as MediaPipeHands
from dexvid_envs.errors import NoHandFoundError

FloatArray = NDArray[np.float64]
GrayImage = NDArray[np.uint8]

_SURE = 0.6  # score from which a hand needs no second look
_SEARCH_EVERY_FRAMES = 12  # for further hands while one is followed
_UNSURE_SEARCH_EVERY_FRAMES = 3  # while a hand that is followed may be none
_HARD_SEARCH_EVERY_FRAMES = 4  # in enlarged and turned pictures while none is followed
_MAX_HANDS = 2
_SAME_HAND = 0.4  # two tracks nearer than this (in hand sizes) are on one hand
_CELLS, _CHANGED = 8, 1.0  # parts of the picture across and down; grey levels on average that are more than noise
_SIDE_KNOWN = 0.85  # share of the evidence from which a track is of this side and no other
_SIZE_RATIO = 1.7  # a hand does not grow or shrink by more at once
_NEAR = 0.9  # a hand found at most this far from where one was expected is that one


@dataclasses.dataclass
class _Track:
    """A hand while the video runs."""

    frames: list[int]
    hands: list[Detection]
    confidence: list[float]
    lost_frames: int = 0
    ended: bool = False

    def append(self, frame: int, hand: Detection, confidence: float) -> None:
        self.frames.append(frame)
        self.hands.append(hand)
        self.confidence.append(confidence)
        self.lost_frames = self.lost_frames + 1 if hand.origin == FLOW else 0

    def pop(self) -> None:
        for values in (self.frames, self.hands, self.confidence):
            values.pop()

    def size_px(self) -> float:
        """Usual size of late; it changes slowly."""
        return _usual_size_px(self.hands[-30:])

    def is_astray(self) -> bool:
        """Whether it has been unsure for a while, as on something that is no hand."""
        return float(np.mean(self.confidence[-8:])) < _SURE

    def cut_doubtful_end(self) -> None:
        """Ends the track where it was last sure."""
        while self.frames and self.confidence[-1] < _SURE:
            self.pop()
        self.ended = True


class HandFollower:
    """Joins the detections of a running video to tracks and bridges dropouts."""

    def __init__(self, detector: HandDetector, max_gap_frames: int) -> None:
        self._detector, self._max_gap = detector, max_gap_frames
        self._tracks: list[_Track] = []
        self._gray: GrayImage | None = None
        self._count = 0
        self._width_px = 0
        self._changes: list[FloatArray] = []  # (8, 8) of each picture since the one before

    def update(self, rgb: RgbImage, gray: GrayImage) -> None:
        """Takes the next picture, full size for the detector and in grey at its own, smaller size for optical flow."""
        self._width_px = rgb.shape[1]
        alive = [track for track in self._tracks if not track.ended]
        unsure = any(track.hands[-1].score < _SURE or track.hands[-1].origin == FLOW for track in alive)
        due = self._count % _SEARCH_EVERY_FRAMES == 0 and len(alive) < _MAX_HANDS
        search = not alive or due or (unsure and self._count % _UNSURE_SEARCH_EVERY_FRAMES == 0)
        found = self._search(rgb, not alive) if search else []
        for track in alive:
            hand, confidence = self._follow(track, rgb, gray, found)
            if hand is not None:
                track.append(self._count, hand, confidence)
            track.ended = hand is None
        self._end_doubles(alive)
        for hand in found:
            current = [track for track in self._tracks if not track.ended]
            if any(image_distance(hand.image, track.hands[-1].image) < 0.5 for track in current):
                continue
            astray = [track for track in current if track.is_astray()]
            if hand.score >= _SURE and astray:
                astray[0].cut_doubtful_end()
                current.remove(astray[0])
            if len(current) < _MAX_HANDS:
                self._tracks.append(_Track([self._count], [hand], [hand.score]))
        self._changes.append(np.full((_CELLS, _CELLS), np.inf) if self._gray is None else _change(self._gray, gray))
        self._gray, self._count = gray, self._count + 1

    def _search(self, rgb: RgbImage, hard: bool) -> list[Detection]:
        found = self._detector.detect(rgb)
        if found or not hard or self._count % _HARD_SEARCH_EVERY_FRAMES:
            return found
        return self._search_closer(rgb, self._count // _HARD_SEARCH_EVERY_FRAMES)

    def _search_closer(self, rgb: RgbImage, turn: int) -> list[Detection]:
        """Looks in a part of the picture, or in the picture upside down: small hands, and arms from an unusual side."""
        height, width = rgb.shape[:2]
        turn %= 4
        if turn == 3:
            images = [np.array([width - 1, height - 1]) - hand.image for hand in self._detector.detect(rgb[::-1, ::-1])]
            return [hand for image in images for hand in self._detector.detect_in_region(rgb, Region.around(image))]
        side = round(0.6 * max(height, width))
        corner = np.array([turn * max(width - side, 0) // 2, turn * max(height - side, 0) // 2])
        cut = rgb[corner[1] : corner[1] + side, corner[0] : corner[0] + side]
        return [dataclasses.replace(hand, image=hand.image + corner) for hand in self._detector.detect(cut)]

    def _follow(self, track: _Track, rgb: RgbImage, gray: GrayImage, found: list[Detection]) -> tuple[Detection | None, float]:
        """The hand of a track in this picture, and how sure that is."""
        predicted, reliable = _predict(track.hands[-1].image, self._gray, gray, gray.shape[1] / rgb.shape[1])
        read = self._read(rgb, predicted, track.size_px())
        near = [hand for hand in found if image_distance(hand.image, predicted) < _NEAR]
        if near and (read is None or read.score < _SURE):
            read = max(near if read is None else [*near, read], key=_score)
        if read is not None:
            return read, read.score * _agreement(read, predicted, reliable)
        if not reliable or track.lost_frames >= self._max_gap:
            return None, 0.0
        return dataclasses.replace(track.hands[-1], image=predicted, origin=FLOW), 0.85 * track.confidence[-1]

    def _read(self, rgb: RgbImage, predicted: FloatArray, size_px: float) -> Detection | None:
        """The hand near predicted key points (21, 2) px, about `size_px` large; where it is unsure, with several looks."""
        best: Detection | None = None
        for attempt in range(4):
            region = Region.around(predicted if best is None else best.image)
            if attempt == 1:  # wider
                region = dataclasses.replace(region, side_px=1.3 * region.side_px)
            elif attempt == 2:  # turned, this way in one picture and that way in the next
                region = dataclasses.replace(region, turn_rad=region.turn_rad + 0.5 * (-1) ** self._count)
            picture = _stretched(rgb, region) if attempt == 3 else rgb
            for hand in self._detector.detect_in_region(picture, region):
                ratio = float(hand_size_px(hand.image)) / size_px
                fits = image_distance(hand.image, predicted) < _NEAR and 1.0 / _SIZE_RATIO < ratio < _SIZE_RATIO
                if fits and (best is None or hand.score > best.score):
                    best = dataclasses.replace(hand, origin=REGION if attempt else DETECTED)
            if best is not None and best.score >= _SURE:
                break
        return best

    def _end_doubles(self, tracks: list[_Track]) -> None:
        """Where two tracks came upon one hand, the less sure one ends, and forgets where they ran together."""
        alive = [track for track in tracks if not track.ended]
        if len(alive) < _MAX_HANDS or image_distance(alive[0].hands[-1].image, alive[1].hands[-1].image) >= _SAME_HAND:
            return
        worse, better = sorted(alive, key=lambda track: (np.mean(track.confidence[-15:]), len(track.frames)))
        others = dict(zip(better.frames, better.hands, strict=True))
        while worse.frames:
            other = others.get(worse.frames[-1])
            if other is None or image_distance(worse.hands[-1].image, other.image) >= _SAME_HAND:
                break
            worse.pop()
        worse.ended = True

    def result(self, side: str, pictures: Callable[[int], RgbImage] | None = None) -> RawHand:
        """The hand to follow: of the wanted side, or with "auto" the one that is seen longest and moves most.

        Args:
            side: "right", "left" or "auto".
            pictures: gives the picture (h, w, 3) of a frame in any size, `FrameCache.rgb` for instance; with it the hand is
                also followed backwards from where it was found. The detector has to be open still.

        Raises:
            NoHandFoundError: no hand, or none of the wanted side, was found.
        """
        tracks = [track for track in self._tracks if sum(hand.origin != FLOW for hand in track.hands) >= 3]
        wanted = [track for track in tracks if side in ("auto", _side(track.hands)[0])]
        if not wanted:
            seen = f"only a {_side(tracks[0].hands)[0]} hand" if tracks else "no hand"
            raise NoHandFoundError(
                f"{seen} was found in {self._count} frames, expected {'a human' if side == 'auto' else 'a ' + side} hand; "
                "film it larger, in better light and not cut off by the border, or lower --min-confidence (or change --side)"
            )
        wanted.sort(key=_interest, reverse=True)
        hands: dict[int, tuple[Detection, float]] = {}
        left_out: list[_Track] = []
        first_side, first_share = _side(wanted[0].hands)
        for track in wanted:  # the first, then the same hand before and after a long dropout
            same, share = _side(track.hands)
            may_be_same = same == first_side or min(share, first_share) < _SIDE_KNOWN
            if may_be_same and not hands.keys() & set(track.frames):
                hands |= zip(track.frames, zip(track.hands, track.confidence, strict=True), strict=True)
            else:
                left_out.append(track)
        left_out += [track for track in tracks if side not in ("auto", _side(track.hands)[0])]
        beside = {f for track in left_out for f, hand in zip(track.frames, track.hands, strict=True) if hand.origin != FLOW}
        other_hand_part = len(beside & hands.keys()) / self._count
        if pictures is not None:
            self._follow_back(hands, pictures)
        raw = _assemble(hands, self._count)
        return dataclasses.replace(raw, moving=self._moving(hands), other_hand_part=other_hand_part)

    def _moving(self, hands: dict[int, tuple[Detection, float]]) -> NDArray[np.bool_]:
        """(T,) whether the picture changed in the part where the hand is."""
        moving = np.zeros(self._count, bool)
        height_px = self._width_px * self._gray.shape[0] / self._gray.shape[1] if self._gray is not None else 1.0
        for frame, (hand, _) in hands.items():
            column, row = np.clip(hand.image.mean(axis=0) / [self._width_px, height_px] * _CELLS, 0, _CELLS - 1).astype(int)
            moving[frame] = self._changes[frame][row, column] > _CHANGED
        return moving

    def _follow_back(self, hands: dict[int, tuple[Detection, float]], pictures: Callable[[int], RgbImage]) -> None:
        """Looks for the hand anew where it was lost or unsure, coming from the sure frames after."""
        size_px = _usual_size_px([hand for hand, _ in hands.values()])
        bridged, after = 0, None
        for frame in range(max(hands) - 1, -1, -1):
            known, confidence = hands.get(frame, (None, 0.0))
            if known is not None and known.origin != FLOW and confidence >= 0.5 * _SURE:
                bridged, after = 0, None
                continue
            if frame + 1 not in hands or bridged > self._max_gap:
                continue
            later = hands[frame + 1]
            after = to_gray(pictures(frame + 1)) if after is None else after
            rgb = pictures(frame)
            gray, scale = to_gray(rgb), rgb.shape[1] / self._width_px
            predicted, reliable = _predict(later[0].image, after, gray, scale)
            after = gray
            read = self._read(rgb, (predicted + 0.5) * scale - 0.5, size_px * scale)
            if read is not None:
                read = dataclasses.replace(read, image=(read.image + 0.5) / scale - 0.5, origin=REGION)
                better = read.score * _agreement(read, predicted, reliable)
                if better > confidence:
                    hands[frame], bridged = (read, better), 0
                continue
            bridged += 1
            if known is None and reliable:
                hands[frame] = (dataclasses.replace(later[0], image=predicted, origin=FLOW), 0.85 * later[1])
        for frame in sorted(hands):  # before the first sure frame the hand was not yet in the picture
            if hands[frame][0].origin != FLOW:
                break
            del hands[frame]


def _predict(last: FloatArray, before: GrayImage | None, gray: GrayImage, scale: float) -> tuple[FloatArray, bool]:
    """Where optical flow sees key points (21, 2) px now, and whether most of them could be followed."""
    if before is None:
        return last, False
    size = float(hand_size_px(last)) * scale
    moved, error_px = track_points(before, gray, (last + 0.5) * scale - 0.5)
    moved = (moved + 0.5) / scale - 0.5
    good = error_px < 0.1 * size
    if good.sum() < 8:
        return last, False
    shift = np.median(moved[good] - last[good], axis=0)  # for the points that could not be followed
    strayed = np.linalg.norm(moved - last - shift, axis=-1) * scale > 0.5 * size  # onto the background
    return np.where((good & ~strayed)[:, None], moved, last + shift), True


def _change(before: GrayImage, after: GrayImage) -> FloatArray:
    """(8, 8) mean change of the grey levels in the parts of a picture."""
    import cv2

    return np.asarray(cv2.resize(cv2.absdiff(before, after), (_CELLS, _CELLS), interpolation=cv2.INTER_AREA), np.float64)


def _agreement(hand: Detection, predicted: FloatArray, reliable: bool) -> float:
    """How well a hand lies where it was expected, in [0, 1]."""
    if not reliable:
        return 0.8
    apart = np.median(np.linalg.norm(hand.image - predicted, axis=-1)) / hand_size_px(hand.image)
    return float(np.exp(-((apart / 0.3) ** 2)))


def _stretched(rgb: RgbImage, region: Region) -> RgbImage:
    """The picture with the tones of a region spread over the whole range."""
    reach = 0.5 * region.side_px
    low, high = np.maximum(region.centre - reach, 0.0).astype(int), np.maximum(region.centre + reach, 1.0).astype(int)
    cut = rgb[low[1] : high[1] + 1, low[0] : high[0] + 1]
    if cut.size == 0:
        return rgb
    dark, light = np.percentile(cut[::2, ::2], [1.0, 99.0])
    table = np.clip((np.arange(256) - dark) * 255.0 / max(light - dark, 16.0), 0, 255).astype(np.uint8)
    return table[rgb]


def _side(hands: Iterable[Detection]) -> tuple[str, float]:
    """The side that most of the evidence is for, and how much of it."""
    votes = {"right": 1e-6, "left": 0.0}
    for hand in hands:
        if hand.origin != FLOW:
            votes[hand.side] += hand.score * max(hand.side_score - 0.5, 0.05)
    side = max(votes, key=lambda name: votes[name])
    return side, votes[side] / sum(votes.values())


def _score(hand: Detection) -> float:
    return hand.score


def _usual_size_px(hands: Sequence[Detection]) -> float:
    return float(np.median(hand_size_px(np.stack([hand.image for hand in hands]))))


def _interest(track: _Track) -> float:
    """How much a hand is worth following: it goes somewhere, and is seen long and surely.

    A hand that only holds on is often seen throughout, the one that acts comes and goes: time counts for less than motion.
    """
    wrists = np.array([hand.image[0] for hand in track.hands])
    size = _usual_size_px(track.hands)
    reach = float(np.linalg.norm(np.ptp(wrists, axis=0))) / size
    return sum(track.confidence) ** 0.7 * (0.2 + min(reach, 4.0))


def _assemble(hands: dict[int, tuple[Detection, float]], frames: int) -> RawHand:
    image, shape = np.full((frames, 21, 2), np.nan), np.full((frames, 21, 3), np.nan)
    confidence, origin, side_seen = np.zeros(frames), np.full(frames, LOST), np.zeros(frames, bool)
    side, agreement = _side(hand for hand, _ in hands.values())
    for frame, (hand, value) in hands.items():
        image[frame], shape[frame], confidence[frame], origin[frame] = hand.image, hand.shape, value, hand.origin
        side_seen[frame] = hand.side == side
    return RawHand(image, shape, confidence, origin, side, agreement, side_seen)
