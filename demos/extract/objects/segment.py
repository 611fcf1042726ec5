"""Which pixels of a picture belong to the object: its colours against the static scene, the hand's colours and its last shape.

Each pixel is explained by one of three: the object (a histogram of its colours), the scene behind it (the colour that this very
pixel has without the object, perhaps in a shadow), or what else moves (hand, sleeve, body). The shape carried along from the
picture before says how likely each is beforehand. All work is done in a cut-out around the object.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from demos.extract.objects.masks import hand_mask
from demos.extract.objects.scene import StaticScene, colour_distance, dot_colours

FloatArray = NDArray[np.float64]
Float32 = NDArray[np.float32]
BoolArray = NDArray[np.bool_]
Picture = NDArray[np.uint8]

_BINS = 16  # a channel
_CELL = (256 // _BINS) ** 3  # colours in a bin
_UNIFORM = 1.0 / 256**3
_NOISE = 7.0  # levels: camera noise, compression
_PEAK_DENSITY = 1.0 / ((2.0 * np.pi) ** 1.5 * _NOISE**3)
_SHADE_DENSITY = 4e-6  # of a colour that is the scene's, darker or lighter
_SURPRISE = 0.04  # part of the object's pixels whose colours were never seen
_CAP = 6.0  # one pixel's colour never says more than that (nats)
_SAME = 18.0  # levels; nearer colours count as the same
_MIN_PIECE = 0.12  # of the largest piece of a mask; the hand may cut it into several
_FAINT = 0.03  # less of a soft mask is nothing
_LEARN = 0.04  # share of a new picture in the histograms


class ColourModel:
    """Histogram of the colours of one thing, smoothed; learns as it goes."""

    def __init__(self) -> None:
        self._counts = np.zeros(_BINS**3, np.float32)
        self._density = np.full(_BINS**3, _UNIFORM, np.float32)
        self.known = False

    def learn(self, colours: Picture, share: float) -> None:
        """Takes colours (N, 3) up, with a share in the whole."""
        from scipy.ndimage import gaussian_filter

        if len(colours) < 8:
            return
        fresh = np.bincount(colour_index(colours), minlength=_BINS**3).astype(np.float32) / len(colours)
        self._counts = fresh if not self.known else (1.0 - share) * self._counts + share * fresh
        smooth = gaussian_filter(self._counts.reshape(_BINS, _BINS, _BINS), 0.7, mode="nearest", truncate=2.0).ravel()
        self._density = (1.0 - _SURPRISE) * smooth / max(float(smooth.sum()), 1e-9) / _CELL + _SURPRISE * _UNIFORM
        self.known = True

    def density(self, index: NDArray[np.int32]) -> Float32:
        """Probability (...,) of each colour, given by `colour_index` (...,), for one of 256^3 colours."""
        return self._density[index]


def colour_index(colours: Picture) -> NDArray[np.int32]:
    """The bin (...,) of colours (..., 3)."""
    wide = colours.astype(np.int32) // (256 // _BINS)
    return (wide[..., 0] * _BINS + wide[..., 1]) * _BINS + wide[..., 2]


@dataclasses.dataclass
class Backdrop:
    """What is behind the object, as far as it is known; learns what the object uncovers.

    Attributes:
        colour: (h, w, 3).
        known: (h, w) bool.
    """

    colour: Picture
    known: BoolArray

    @classmethod
    def around_seed(cls, scene: StaticScene, picture: Picture, mask: BoolArray, hand: FloatArray) -> Backdrop:
        """Tells the two colours of changed pixels apart by a picture in which the object's mask (h, w) is known."""
        to_early, to_late = colour_distance(picture, scene.early), colour_distance(picture, scene.late)
        late_is_near = to_late < to_early
        # on the object the other one of the two colours is the scene's, elsewhere the one that is seen
        colour = np.where((late_is_near != mask)[..., None], scene.late, scene.early)
        known = ~mask | (scene.changed & (np.maximum(to_early, to_late) > _SAME))
        hidden = hand_mask(scene.shape, hand) > 0
        return cls(colour, known & ~(hidden & scene.changed & ~mask))

    def learn(self, box: tuple[slice, slice], picture: Picture, free: BoolArray) -> None:
        """Takes up the pixels of a cut-out (h, w, 3) that are free (h, w) of object and hand."""
        colour, known = self.colour[box], self.known[box]
        fresh = free & ~known
        colour[fresh] = picture[fresh]
        known |= fresh


def scene_density(picture: Picture, backdrop: Picture, known: BoolArray, around: Float32) -> Float32:
    """Probability (h, w) of the colours of a cut-out if nothing is before the scene; `around` (h, w) where it is unknown."""
    seen, behind = picture.astype(np.float32), backdrop.astype(np.float32) + 1.0
    own, across, square = dot_colours(seen, seen), dot_colours(seen, behind), dot_colours(behind, behind)
    plain = _PEAK_DENSITY * np.exp((across - 0.5 * (own + square)) / _NOISE**2)
    # a shadow or a reflection scales the colour and keeps its tone
    ratio = across / square
    shaded = _SHADE_DENSITY * np.exp(0.5 * (ratio * across - own) / _NOISE**2) * ((ratio > 0.3) & (ratio < 1.35))
    return np.where(known, 0.9 * plain + shaded + 0.02 * _UNIFORM, around).astype(np.float32)


@dataclasses.dataclass
class Shape:
    """Where the object is, also under the hand: a soft mask in a cut-out.

    Attributes:
        soft: (a, b) in [0, 1].
        corner: column and row of its upper left pixel in the picture.
    """

    soft: Float32
    corner: tuple[int, int]

    @classmethod
    def trimmed(cls, soft: Float32, corner: tuple[int, int] = (0, 0)) -> Shape:
        """The shape without the empty margin of a cut-out; as it is where it is empty throughout."""
        solid = soft > _FAINT
        row, column = np.flatnonzero(solid.any(axis=1)), np.flatnonzero(solid.any(axis=0))
        if not len(row):
            return cls(soft, corner)
        part = soft[row[0] : row[-1] + 1, column[0] : column[-1] + 1]
        return cls(np.ascontiguousarray(part), (corner[0] + int(column[0]), corner[1] + int(row[0])))

    @property
    def area(self) -> float:
        """px."""
        return float((self.soft > 0.5).sum())

    def corners(self) -> FloatArray:
        """(4, 2) px."""
        (x, y), (height, width) = self.corner, self.soft.shape
        return np.array([(x, y), (x + width, y), (x + width, y + height), (x, y + height)], float)

    def middle(self) -> FloatArray:
        """(2,) px, where the mass is."""
        total = max(float(self.soft.sum()), 1e-6)
        x = float((self.soft.sum(axis=0) * np.arange(self.soft.shape[1])).sum()) / total
        y = float((self.soft.sum(axis=1) * np.arange(self.soft.shape[0])).sum()) / total
        return np.array([self.corner[0] + x, self.corner[1] + y])

    def moved(self, motion: FloatArray, box: tuple[slice, slice]) -> Float32:
        """The shape (a, b) inside a cut-out after a motion (2, 3) of the picture's points."""
        import cv2

        matrix = motion.copy()
        matrix[:, 2] += motion[:, :2] @ np.array(self.corner, float) - (box[1].start, box[0].start)
        size = (box[1].stop - box[1].start, box[0].stop - box[0].start)
        return np.asarray(cv2.warpAffine(self.soft, matrix, size, flags=cv2.INTER_LINEAR), np.float32)


@dataclasses.dataclass(frozen=True)
class Evidence:
    """What the colours of a cut-out say.

    Attributes:
        box: rows and columns of the cut-out.
        object: (a, b) log odds of the object against all else, without regard to place.
        hidden: (a, b) bool, hand or arm is seen here.
        reach: (a, b) bool, hand and arm may be here.
    """

    box: tuple[slice, slice]
    object: Float32
    hidden: BoolArray
    reach: BoolArray


class Segmenter:
    """Knows the colours of an object and of what surrounds it, and finds the object in one picture after another."""

    def __init__(self, scene: StaticScene, picture: Picture, mask: BoolArray, hand: FloatArray) -> None:
        self.backdrop = Backdrop.around_seed(scene, picture, mask, hand)
        self._own, self._around, self._other = ColourModel(), ColourModel(), ColourModel()
        inner = _shrunk(mask, 1)
        self._own.learn(picture[inner if inner.sum() > 30 else mask], 1.0)
        self._around.learn(picture[_grown(mask, 12) & ~_grown(mask, 2)], 1.0)
        skin = (hand_mask(scene.shape, hand, 0.08, forearm=False) > 0) & ~_grown(mask, 2)
        self._other.learn(picture[skin], 1.0)

    def look(self, picture: Picture, box: tuple[slice, slice], hand: FloatArray) -> Evidence:
        """Weighs the colours of a cut-out of the picture (h, w, 3)."""
        part = picture[box]
        index = colour_index(part)
        own, around = self._own.density(index), self._around.density(index)
        scene = scene_density(part, self.backdrop.colour[box], self.backdrop.known[box], around)
        reach = _in_box(hand, box, 0.2, True)
        other = self._other.density(index) * np.where(reach, 0.75, 0.12).astype(np.float32)
        rest = np.where(reach, 0.25, 0.88).astype(np.float32) * scene
        odds = np.clip(np.log(own) - np.log(rest + other), -_CAP, _CAP)
        hidden = (other > rest) & (other > own)
        return Evidence(box, odds.astype(np.float32), hidden, reach)

    def learn(
        self, picture: Picture, evidence: Evidence, mask: BoolArray, shape: Float32, hand: FloatArray, sure: bool
    ) -> None:
        """Takes the colours of a picture up, now that the object's mask and shape in the cut-out are known."""
        box = evidence.box
        part = picture[box]
        away = ~_grown(mask | (shape > 0.2), 4)
        self.backdrop.learn(box, part, away & ~evidence.reach)
        bare = _in_box(hand, box, 0.08, False)
        moving = (
            evidence.reach & away & self.backdrop.known[box] & (colour_distance(part, self.backdrop.colour[box]) > 2.0 * _SAME)
        )
        self._other.learn(part[(bare & (shape < 0.2)) | moving], 2.0 * _LEARN)
        if sure:
            self._own.learn(part[_shrunk(mask, 1)], _LEARN)


def decide(evidence: Evidence, shape: Float32, spread_px: float) -> BoolArray:
    """The object's pixels (a, b) of a cut-out: colours and shape together, in one piece with the shape."""
    import cv2

    blurred = cv2.GaussianBlur(shape, (0, 0), spread_px)
    before = np.clip(blurred, 0.002, 0.97)
    odds = cv2.GaussianBlur(evidence.object, (0, 0), 1.0) + np.log(before / (1.0 - before))
    inside = ((odds > 0.0) & ~evidence.hidden).astype(np.uint8)
    inside = cv2.morphologyEx(inside, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    count, parts = cv2.connectedComponents(inside)
    if count < 2:
        return np.zeros(shape.shape, bool)
    area = np.bincount(parts.ravel(), minlength=count)
    common = np.bincount(parts.ravel(), weights=(shape > 0.5).ravel().astype(float), minlength=count)
    keep = (common > 0.3 * area) & (area > _MIN_PIECE * area[1:].max())
    keep[0] = False
    mask = keep[parts]
    filled = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8)) > 0
    return filled & ~evidence.hidden


def _in_box(hand: FloatArray, box: tuple[slice, slice], margin: float, forearm: bool) -> BoolArray:
    """The part of `hand_mask` in a cut-out."""
    shape = (box[0].stop - box[0].start, box[1].stop - box[1].start)
    return hand_mask(shape, hand - (box[1].start, box[0].start), margin, forearm) > 0


def _grown(mask: BoolArray, by_px: int) -> BoolArray:
    import cv2

    return cv2.dilate(mask.astype(np.uint8), np.ones((2 * by_px + 1, 2 * by_px + 1), np.uint8)) > 0


def _shrunk(mask: BoolArray, by_px: int) -> BoolArray:
    import cv2

    return cv2.erode(mask.astype(np.uint8), np.ones((2 * by_px + 1, 2 * by_px + 1), np.uint8)) > 0
