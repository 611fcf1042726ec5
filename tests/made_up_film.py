"""A small film of a made-up hand that pushes a patch over a table, and a detector that knows this hand: quick, and exact."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from demos.camera import intrinsics_from_fov, project
from demos.extract.hand.detection import DETECTED, REGION, Detection, Region
from demos.video import video_writer
from robots.human_hand import JOINT_NAMES, HandDimensions, HumanHand

WIDTH, HEIGHT, FPS = 320, 240, 20.0
FRAMES = 36
DISTANCE_M = 0.7
K = intrinsics_from_fov(WIDTH, HEIGHT, 60.0)
_GREEN, _RED = (20, 230, 20), (230, 20, 20)
_MARK_PX = 5


def bent_hand() -> NDArray[np.float64]:
    """Key points (21, 3) m of a right hand seen from its back, about its middle: fingers to the right in the picture."""
    hand, T_camera_hand = HumanHand(HandDimensions()), np.eye(4)
    T_camera_hand[:3, :3] = [[1.0, 0.0, 0.0], [0.0, -1.0, 0.0], [0.0, 0.0, -1.0]]
    hand.pose(T_camera_hand, np.where([name.endswith("flexion") for name in JOINT_NAMES], 0.3, 0.0))
    points = hand.keypoints_world()
    return points - points.mean(axis=0)


SHAPE = bent_hand()
_IMAGE = project(SHAPE + np.array([0.0, 0.0, DISTANCE_M]), K)
IMAGE = _IMAGE - _IMAGE.mean(axis=0)  # (21, 2) px about the mark


@dataclasses.dataclass(frozen=True)
class Film:
    """What is filmed.

    Attributes:
        frames: how many.
        hand: whether there is a hand.
        other_hand: whether there is a second one, which rests.
        leaves: whether the patch is pushed out of the picture.
        pan_px: how far the camera pans over the film.
    """

    frames: int = FRAMES
    hand: bool = True
    other_hand: bool = False
    leaves: bool = False
    pan_px: float = 0.0

    def hand_px(self) -> NDArray[np.float64]:
        """Middle (T, 2) px of the hand: it comes, pushes and goes."""
        at = np.linspace(0.0, 1.0, self.frames)
        x = np.interp(at, [0.0, 0.3, 0.7, 1.0], [40.0, 95.0, 350.0 if self.leaves else 185.0, 120.0])
        return np.stack([x, np.full(self.frames, 130.0)], axis=-1)

    def patch_px(self) -> NDArray[np.float64]:
        """Middle (T, 2) px of the patch."""
        x = np.maximum.accumulate(np.maximum(self.hand_px()[:, 0] + 65.0, 160.0))
        return np.stack([np.round(x), np.full(self.frames, 130.0)], axis=-1).astype(np.float64)

    def pictures(self) -> list[NDArray[np.uint8]]:
        """All pictures (h, w, 3)."""
        import cv2

        rng = np.random.default_rng(3)
        table = cv2.GaussianBlur(rng.integers(70, 170, (HEIGHT, WIDTH + 200, 3), dtype=np.uint8), (0, 0), 2.0)
        patch = cv2.GaussianBlur(rng.integers(0, 255, (50, 50, 3), dtype=np.uint8), (0, 0), 1.0)
        grain = cv2.GaussianBlur(rng.integers(120, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8), (0, 0), 2.0)
        skin = (grain // 3 + np.array([120, 70, 50])).astype(np.uint8)
        shown = []
        for frame, (hand, middle) in enumerate(zip(self.hand_px(), self.patch_px(), strict=True)):
            shift = round(self.pan_px * frame / max(self.frames - 1, 1))
            picture = np.zeros((HEIGHT, WIDTH + 100, 3), np.uint8)
            picture[:, :WIDTH] = table[:, shift : shift + WIDTH]
            left, top = int(middle[0]) - 25, int(middle[1]) - 25
            if left < WIDTH:
                picture[top : top + 50, left : left + 50] = patch
            picture = np.ascontiguousarray(picture[:, :WIDTH])
            if self.hand:
                _draw_hand(picture, hand, skin, _GREEN)
            if self.other_hand:
                _draw_hand(picture, np.array([60.0, 40.0]), skin, _RED)
            shown.append(picture)
        return shown

    def write(self, path: Path) -> Path:
        """Makes the video."""
        with video_writer(path, (WIDTH, HEIGHT), FPS, quality=9) as writer:
            for picture in self.pictures():
                writer.send(picture)
        return path


def _draw_hand(picture: NDArray[np.uint8], middle: NDArray[np.float64], skin: NDArray[np.uint8], colour: tuple) -> None:
    import cv2

    inside = np.zeros(picture.shape[:2], np.uint8)
    cv2.fillConvexPoly(inside, cv2.convexHull(np.round(IMAGE + middle).astype(np.int32)), (255,))
    by = np.roll(skin, (round(middle[1]), round(middle[0])), (0, 1))  # its texture goes with it
    picture[inside > 0] = by[inside > 0]
    cv2.circle(picture, tuple(np.round(middle).astype(int).tolist()), _MARK_PX, colour, -1)


class MarkedHands:
    """Finds the hands of these films by their marks; takes the place of MediaPipe. `asked` counts the questions."""

    asked: ClassVar[int] = 0

    def __init__(self, min_confidence: float, mirrored: bool) -> None:
        del min_confidence, mirrored

    def detect(self, rgb: NDArray[np.uint8]) -> list[Detection]:
        MarkedHands.asked += 1
        return self._find(rgb, DETECTED)

    def detect_in_region(self, rgb: NDArray[np.uint8], region: Region) -> list[Detection]:
        MarkedHands.asked += 1
        near = 0.5 * region.side_px
        return [hand for hand in self._find(rgb, REGION) if np.linalg.norm(hand.image.mean(axis=0) - region.centre) < near]

    def close(self) -> None: ...

    def _find(self, rgb: NDArray[np.uint8], origin: int) -> list[Detection]:
        found = []
        for strong, weak, side in ((1, 0, "right"), (0, 1, "left")):
            mark = (rgb[..., strong] > 150) & (rgb[..., weak] < 110) & (rgb[..., 2] < 110)
            if mark.sum() < 2 * _MARK_PX**2:
                continue
            middle = np.argwhere(mark).mean(axis=0)[::-1]
            found.append(Detection(IMAGE + middle, SHAPE, 0.95, side, origin))
        return found
