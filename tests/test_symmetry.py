"""Turns after which an object is as before, read from its collision geometry."""

from __future__ import annotations

import numpy as np
import pytest

from demos.multiplication.play import CopyPlayer
from demos.multiplication.symmetry import symmetry_of, turned_alike


@pytest.mark.parametrize(
    ("env_id", "options", "expected"),
    [
        ("DexVid-BottlePickPlace-v0", {"bottle": "pet"}, "round"),
        ("DexVid-BottlePickPlace-v0", {"bottle": "mustard"}, "half turn"),
        ("DexVid-GraspLift-v0", {"objects": ("sugar_box",)}, "half turn"),
        ("DexVid-GraspLift-v0", {"objects": ("mug",)}, "none"),
        ("DexVid-LiftThrow-v0", {"objects": ("tennis_ball",)}, "round"),
    ],
)
def test_symmetry_of_objects(env_id: str, options: dict[str, object], expected: str) -> None:
    player = CopyPlayer(env_id, options, "joint_delta", 1)
    simulation = player.core.simulation
    assert symmetry_of(simulation, simulation.model.body(player.task.moved_body).id) == expected


def _turn(angle_rad: float) -> np.ndarray:
    cos, sin = np.cos(angle_rad), np.sin(angle_rad)
    return np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])


def test_the_nearer_of_two_equal_ways_is_taken_unless_the_farther_is_asked_for() -> None:
    rotations = np.stack([_turn(3.0), _turn(0.2), _turn(1.4)])
    near = turned_alike("half turn", rotations, np.eye(3), np.array([False, False, False]))
    np.testing.assert_allclose(near, np.stack([_turn(3.0 - np.pi), _turn(0.2), _turn(1.4)]), atol=1e-12)
    far = turned_alike("half turn", rotations, np.eye(3), np.array([False, False, True]))
    np.testing.assert_allclose(far[2], _turn(1.4 - np.pi), atol=1e-12)
    np.testing.assert_array_equal(turned_alike("none", rotations, np.eye(3), np.ones(3, dtype=bool)), rotations)
    np.testing.assert_array_equal(
        turned_alike("round", rotations, np.eye(3), np.zeros(3, dtype=bool)), np.tile(np.eye(3), (3, 1, 1))
    )
