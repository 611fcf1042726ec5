"""What is expected of a hand beside its pixels: about level, the palm down or sideways."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from demos.extract.hand.evidence import FitOptions, Seen, misfit
from demos.extract.hand.fit import settle
from demos.extract.hand.model import RELAXED_RAD, HandShape, Posture

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
