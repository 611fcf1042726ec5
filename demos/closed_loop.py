"""A closed-loop replay: follows a demonstration, but looks at where robot and object really are in every step.

The servo targets are led to those of the demonstration from wherever they stand now. Until the object is lifted, the palm is
shifted by as much as the object really lies off the demonstration's; on the way to the goal the shift fades.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from demos.align import find_carry
from demos.demonstration import Demonstration
from dexvid_envs.env import DexVidEnv
from dexvid_envs.errors import DexVidError
from robots.arm_kinematics import palm_pose, solve_palm_pose

FloatArray = NDArray[np.float64]
#: Objects that lie further off than this are not followed, in case they have been thrown over, m.
_FOLLOWED_M = 0.05
#: A rounding of the state is no displacement, m.
_NO_SHIFT_M = 1e-4
_IK_ITERATIONS = 12


class DemonstrationFollower:
    """A policy for `Player.replay`: one demonstration, closed loop.

    It reads servo targets and object from the environment that it was made for, as scripted policies do.

    Args:
        env: of the demonstration.
        demonstration: to follow.
        turn_rad: about the vertical through the arm's base, by which the whole demonstration is turned first.
    """

    def __init__(self, env: DexVidEnv, demonstration: Demonstration, turn_rad: float = 0.0) -> None:
        self._env = env
        self._object_path = Rotation.from_euler("z", turn_rad).apply(demonstration.object_pos_world)
        self._moved = env.model.body(env.task.moved_body).id
        self._arm = env.task.robot.arm_joints
        self._targets = servo_targets(env, demonstration)
        self._targets[:, 0] += turn_rad  # the first joint's axis is that vertical
        try:
            phases = find_carry(demonstration.object_pos_world)
            self._lift, self._progress = phases.lift, phases.progress
        except DexVidError:  # it never moves
            self._lift, self._progress = demonstration.num_steps, np.zeros(demonstration.num_steps + 1)
        self._step, self._shift_world = 0, np.zeros(3)

    def reset(self, mask: NDArray[np.bool_]) -> None:
        """See `ClosedLoopPolicy`."""
        self._step, self._shift_world = 0, np.zeros(3)

    def act(self, observation: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `ClosedLoopPolicy`; (1, A)."""
        step = min(self._step, len(self._targets) - 1)
        if step < self._lift:
            off = self._env.data.xpos[self._moved] - self._object_path[step]
            self._shift_world = off * (_NO_SHIFT_M < np.linalg.norm(off) < _FOLLOWED_M) * np.array([1.0, 1.0, 0.0])
        wanted = self._shifted(self._targets[step], self._shift_world * (1.0 - self._progress[step]))
        self._step += 1
        action = self._env.core.control.action_for(wanted[None], self._env.core.simulation.ctrl)
        return action.astype(np.float32)

    def _shifted(self, target: FloatArray, shift_world: FloatArray) -> FloatArray:
        """Servo targets (23,) rad with the palm moved by (3,) m."""
        if not shift_world.any():
            return target
        pose = palm_pose(target[None, : self._arm])
        pose[:, :3, 3] += shift_world
        arm, _ = solve_palm_pose(pose, target[None, : self._arm], _IK_ITERATIONS)
        return np.concatenate([arm[0], target[self._arm :]])


def servo_targets(env: DexVidEnv, demonstration: Demonstration) -> FloatArray:
    """(T, 23) rad servo target after each action, by the environment's control mode from the first state on."""
    env.reset(options=demonstration.reset_options(0))
    target = env.core.simulation.ctrl.copy()
    targets = []
    for action in demonstration.actions:
        target = env.core.control.next_target(action[None].astype(np.float64), target)
        targets.append(target[0].copy())
    return np.stack(targets)
