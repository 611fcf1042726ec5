"""The peers of the retargeting benchmark behind one interface; their packages are imported when one is made."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from demos.retargeting.robot_hand import RobotHand

FloatArray = NDArray[np.float64]
_SETTLING = 30  # times that the first frame is given before the clock starts


class DexRetargeting:
    """dex-retargeting, position type on a free wrist, without its low-pass filter.

    Its own configuration for offline use also follows four middle links; `own_links` adds them.
    """

    name = "dex-retargeting"
    arm = False
    _TIPS = ("link_3.0_tip", "link_7.0_tip", "link_11.0_tip", "link_15.0_tip")  # index, middle, ring, thumb
    _MIDDLES = ("link_2.0", "link_6.0", "link_10.0", "link_14.0")
    _MIDDLE_KEYPOINTS = (6, 10, 14, 2)

    def __init__(self, urdf_folder: Path, *, own_links: bool = False) -> None:
        config_type = importlib.import_module("dex_retargeting.retargeting_config").RetargetingConfig
        importlib.import_module("torch").set_num_threads(1)
        config_type.set_default_urdf_dir(str(urdf_folder))
        self.own_links = own_links
        links = [*self._TIPS, *(self._MIDDLES if own_links else ())]
        self._retargeting: Any = config_type.from_dict(
            {
                "type": "position",
                "urdf_path": "allegro_hand/allegro_hand_right.urdf",
                "target_link_names": links,
                "target_link_human_indices": list(range(len(links))),
                "add_dummy_free_joint": True,
                "low_pass_alpha": 1,
            }
        ).build()
        self._robot: Any = self._retargeting.optimizer.robot

    def _wanted(self, keypoints: FloatArray, fingertips: FloatArray) -> FloatArray:
        if not self.own_links:
            return fingertips
        return np.concatenate([fingertips, keypoints[:, list(self._MIDDLE_KEYPOINTS)]], axis=1)

    def start(self, keypoints: FloatArray, fingertips: FloatArray) -> None:
        """See `Solver`: repeats the first frame."""
        self._retargeting.reset()
        for _ in range(_SETTLING):
            self._retargeting.retarget(self._wanted(keypoints[:1], fingertips[:1])[0])

    def run(self, keypoints: FloatArray, fingertips: FloatArray) -> FloatArray:
        """See `Solver`: frame by frame, from its last result."""
        return np.stack([self._retargeting.retarget(frame) for frame in self._wanted(keypoints, fingertips)])

    def reached(self, qpos: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """See `Solver`: by its own kinematics."""
        ids = [self._robot.get_link_index(name) for name in self._TIPS]
        palm = self._robot.get_link_index("base_link")
        names = list(self._robot.dof_joint_names)
        order = [names.index(f"joint_{joint}.0") for joint in range(16)]
        tips, palms = [], []
        for row in qpos:
            self._robot.compute_forward_kinematics(row)
            tips.append([self._robot.get_link_pose(link)[:3, 3] for link in ids])
            palms.append(self._robot.get_link_pose(palm)[:3, 3])
        return np.array(tips), np.asarray(qpos[:, order]), np.array(palms)


class Mink:
    """mink on our own model, with the costs and damping of its examples with dexterous hands.

    Its examples take one step of differential inverse kinematics a frame; with more, a frame ends where the motion ends.
    """

    name = "mink"

    def __init__(self, hand: RobotHand, *, arm: bool, steps: int = 1, solver: str = "daqp", fps: float = 30.0) -> None:
        self._mink: Any = importlib.import_module("mink")
        importlib.import_module(solver)
        self.arm, self._hand, self._steps, self._solver, self._dt = arm, hand, steps, solver, 1.0 / fps
        self._tasks: list[Any] = [
            self._mink.FrameTask(site, "site", position_cost=1.0, orientation_cost=0.0, lm_damping=1.0)
            for site, _ in hand.keypoint_map.fingertips
        ]
        posture = self._mink.PostureTask(hand.model, cost=1e-2)
        posture.set_target(hand.home_qpos)
        self._every_task = [*self._tasks, posture]
        self._limits = [self._mink.ConfigurationLimit(hand.model)]

    def start(self, keypoints: FloatArray, fingertips: FloatArray) -> None:
        """See `Solver`: repeats the first frame from home."""
        self._configuration = self._mink.Configuration(self._hand.model, q=self._hand.home_qpos.copy())
        for _ in range(200):
            self._frame(fingertips[0], 1)

    def run(self, keypoints: FloatArray, fingertips: FloatArray) -> FloatArray:
        """See `Solver`: frame by frame."""
        return np.stack([self._frame(frame, self._steps) for frame in fingertips])

    def reached(self, qpos: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """See `Solver`: by MuJoCo's kinematics."""
        data = mujoco.MjData(self._hand.model)
        tips, palms = [], []
        for row in qpos:
            data.qpos[:] = row
            mujoco.mj_kinematics(self._hand.model, data)
            tips.append(data.site_xpos[self._hand.fingertip_ids].copy())
            palms.append(data.xpos[self._hand.palm_id].copy())
        return np.stack(tips), qpos[:, -16:], np.stack(palms)

    def _frame(self, fingertips: FloatArray, steps: int) -> FloatArray:
        for task, tip in zip(self._tasks, fingertips, strict=True):
            task.set_target(self._mink.SE3.from_translation(tip))
        for _ in range(steps):
            velocity = self._mink.solve_ik(
                self._configuration, self._every_task, self._dt, self._solver, damping=1e-5, limits=self._limits
            )
            self._configuration.integrate_inplace(velocity, self._dt)
            if np.abs(velocity).max() * self._dt < 1e-4:
                break
        return self._configuration.q.copy()
