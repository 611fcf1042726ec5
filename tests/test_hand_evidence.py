"""What is expected of a hand beside its pixels: about level, the palm down or sideways, before what a depth camera sees."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from demos.camera import project
from demos.extract.hand.evidence import FitOptions, Seen, misfit
from demos.extract.hand.fit import settle
from demos.extract.hand.model import RADIUS_RATIOS, RELAXED_RAD, HandShape, Posture, hand_points
from demos.extract.hand.surface import depth_misfit
from demos.parts import DepthFrames

K = np.array([[500.0, 0.0, 319.5], [0.0, 500.0, 239.5], [0.0, 0.0, 1.0]])
SHAPE, OPTIONS, FRAMES = HandShape.average(0.09), FitOptions(), 4
#: Of a camera that looks straight down from 1 m above the table.
TABLE = np.array([0.0, 0.0, -1.0, 1.0])
#: Columns are where the palm faces, the index side and the fingers: down, to the upper edge of the picture and to its right.
LEVEL = Rotation.from_matrix(np.array([(0.0, 0.0, 1.0), (0.0, -1.0, 0.0), (1.0, 0.0, 0.0)]).T)
PALM_UP = Rotation.from_rotvec([np.pi, 0.0, 0.0]) * LEVEL
FINGERS_UP = Rotation.from_rotvec([0.0, 1.4, 0.0]) * LEVEL


def posture(turn: Rotation) -> Posture:
    rotation = np.tile(turn.as_matrix(), (FRAMES, 1, 1))
    return Posture(rotation, np.tile([0.0, 0.0, 0.6], (FRAMES, 1)), np.tile(RELAXED_RAD, (FRAMES, 1)))


def unseen(prior: Posture, table: np.ndarray | None) -> Seen:
    """Frames in which no key point was detected."""
    return Seen(np.full((FRAMES, 21, 2), np.nan), np.full(FRAMES, 80.0), np.zeros(FRAMES), prior, K, 15.0, table=table)


@pytest.mark.parametrize("turn", [PALM_UP, FINGERS_UP], ids=["palm up", "fingers to the sky"])
def test_unusual_turns_cost_something_where_up_is_known(turn: Rotation) -> None:
    usual, unusual = posture(LEVEL), posture(turn)
    known, unknown = unseen(usual, TABLE), unseen(usual, None)
    assert (misfit(known, unusual, SHAPE, OPTIONS) > misfit(known, usual, SHAPE, OPTIONS) + 1.0).all()
    np.testing.assert_allclose(misfit(unknown, unusual, SHAPE, OPTIONS), misfit(unknown, usual, SHAPE, OPTIONS))


def test_steps_lead_to_less_misfit() -> None:
    start = posture(Rotation.from_rotvec([0.3, 0.9, 0.0]) * LEVEL)
    seen = unseen(start, TABLE)
    settled, cost = settle(seen, start, SHAPE, OPTIONS)
    assert (cost < misfit(seen, start, SHAPE, OPTIONS)).all()
    rise = -settled.rotation[:, 2, 2]  # of the fingers, towards the camera
    assert (np.abs(rise) < 0.3).all()


def test_depth_pictures_tell_a_hand_from_its_mirror_image() -> None:
    """What is seen of the hand must not lie behind it, at whatever distance the hand is taken to be."""
    hand = hand_points(posture(Rotation.from_rotvec([0.0, 0.5, 0.0]) * LEVEL), SHAPE)[:1]
    mirrored = hand * [1.0, 1.0, -1.0] + [0.0, 0.0, 2.0 * hand[..., 2].mean()]
    picture = np.full((480, 640), 1.0)
    radius = RADIUS_RATIOS * 0.09
    column, row = np.round(project(hand[0], K)).astype(int).T
    for x, y, z in sorted(zip(column, row, hand[0, :, 2] - radius, strict=True), key=lambda one: -one[2]):
        picture[y - 9 : y + 10, x - 9 : x + 10] = z  # the nearest is painted last
    depth = DepthFrames(1, lambda frame: picture)
    frames = np.zeros(1, np.int64)
    right, nearer, wrong = (depth_misfit(depth, frames, points, K, 0.09)[0] for points in (hand, hand * 0.95, mirrored))
    assert right < 0.3 * wrong
    assert nearer < 0.5 * wrong
