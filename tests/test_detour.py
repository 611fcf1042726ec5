"""A hand that would pass through the object on its free way is led over it, and only then."""

from __future__ import annotations

import numpy as np

from demos.multiplication.detour import clearance, with_detours
from robots.arm_hand import ARM_HAND
from robots.arm_kinematics import palm_pose, solve_palm_pose

EXTENTS = np.array([[0.06, 0.09, 0.19]])
HOME = ARM_HAND.home_rad[: ARM_HAND.arm_joints]


def _way(steps: int = 28) -> np.ndarray:
    """(1, S, 7) rad from home to a place beside the robot, level with a bottle on the table."""
    end = palm_pose(HOME[None])
    end[:, :3, 3] += (0.05, -0.5, -0.26)
    arm, error = solve_palm_pose(end, HOME[None], iterations=60)
    assert error[0] < 1e-3
    share = np.linspace(0.0, 1.0, steps)[:, None]
    return ((1 - share) * HOME + share * arm[0])[None]


def _object_at(xy: np.ndarray) -> np.ndarray:
    pose = np.eye(4)[None].copy()
    pose[0, :2, 3], pose[0, 2, 3] = xy, EXTENTS[0, 2] / 2
    return pose


def test_a_free_way_stays_as_it_is() -> None:
    way, far = _way(), _object_at(np.array([0.9, 0.6]))
    assert clearance(way, far, EXTENTS)[0] > 0.1
    assert np.array_equal(with_detours(way, far, EXTENTS, usual_m=0.02), way)


def test_a_blocked_way_goes_over_the_object_and_ends_where_it_ended() -> None:
    way = _way()
    passed = palm_pose(way[0, 16:17])[0, :2, 3]
    standing = _object_at(passed)
    before = clearance(way, standing, EXTENTS)[0]
    assert before < 0.01
    led = with_detours(way, standing, EXTENTS, usual_m=0.02)
    assert clearance(led, standing, EXTENTS)[0] > before + 0.002
    assert np.allclose(led[:, 0], way[:, 0])
    assert np.allclose(led[:, -1], way[:, -1])
    palm = palm_pose(led[0])[:, :3, 3]
    above = palm[round(0.65 * 27)] - palm[-1]
    assert np.linalg.norm(above[:2]) < 0.02  # it comes down beside the object, from above
    assert above[2] > 0.1


def test_clearance_is_that_of_the_object_as_it_is_turned() -> None:
    way = _way()
    beside = palm_pose(way[0, -1:])[0, :2, 3] + np.array([0.25, 0.0])
    straight, turned = _object_at(beside), _object_at(beside)
    turned[0, :2, :2] = [[0.0, -1.0], [1.0, 0.0]]  # its long side towards the hand
    assert clearance(way, turned, EXTENTS)[0] < clearance(way, straight, EXTENTS)[0]
