"""The stages of a robot's motion that a story can show: retargeted, played open loop, found by the search in physics."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from demos.align import mirror, transformed
from demos.demonstration import Demonstration
from demos.interaction import Interaction
from demos.recorded_path import path_error, rigid_placement
from demos.refinement.placement import fill_recording
from demos.replay import Player
from demos.replay_plot import measure_forces
from demos.retarget import FINGERTIP_KEYPOINTS, RetargetConfig, RobotMotion, retarget
from demos.retargeting.robot_hand import arm_hand
from dexvid_envs.errors import DexVidError, InputFileError

FloatArray = NDArray[np.float64]
RETARGETED, OPEN_LOOP, PHYSICS = "retargeted motion", "open loop, before the search", "in physics"
KINEMATIC = "kinematic, the object put on its path"


@dataclasses.dataclass(frozen=True)
class Curve:
    """Something over time.

    Attributes:
        name: with its unit.
        values: (S,) one for each step of the story; NaN where it is not known.
    """

    name: str
    values: FloatArray


@dataclasses.dataclass(frozen=True)
class Stage:
    """What the robot does in one stage; after its last step it stands still.

    Attributes:
        name: of the stage.
        qpos: (S, 23) rad of a robot without a simulated object; None where there are states.
        states: (S, N) states of the simulation; None for a robot alone.
    """

    name: str
    qpos: FloatArray | None = None
    states: FloatArray | None = None

    @property
    def num_steps(self) -> int:
        """S."""
        values = self.qpos if self.states is None else self.states
        return 0 if values is None else len(values)


def simulated_stage(name: str, demonstration: Demonstration) -> Stage:
    """The states that a demonstration passed through."""
    return Stage(name, states=demonstration.states)


def simulated_curves(before: str, demonstration: Demonstration, placed: Interaction | None) -> list[Curve]:
    """Distance from the video's path, where there is one, and grip; their names begin with `before`."""
    curves = []
    if placed is not None:
        curves.append(Curve(f"{before}object to the video's path, mm", 1000.0 * path_error(placed, demonstration)))
    player = Player(demonstration.env_id, demonstration.env_options, demonstration.control_mode)
    try:
        grip = measure_forces(player, demonstration).total_n  # a single 0 where the robot never touches it
        curves.append(Curve(f"{before}grip on the object, N", np.broadcast_to(grip, demonstration.num_steps + 1)))
    finally:
        player.close()
    return curves


def retargeted_stage(placed: Interaction, frame: NDArray[np.int64], settings: Mapping[str, Any]) -> tuple[Stage, Curve] | None:
    """The robot's fingertips on those of the person who is shown, frame by frame; None where that cannot be done.

    Args:
        placed: the recording in the robot's world.
        frame: (S,) its row behind each step, -1 where there is none: there the robot stands in the nearest one.
        settings: of the retargeting behind the demonstration, as its provenance has them.
    """
    fields = {field.name for field in dataclasses.fields(RetargetConfig)}
    known = np.flatnonzero(frame >= 0)
    try:
        motion = retarget(fill_recording(placed), RetargetConfig(**{name: settings[name] for name in fields & settings.keys()}))
    except (DexVidError, TypeError):  # the hand is not known throughout, or the settings are of another version
        return None
    steps = np.arange(len(frame))
    nearest = known[np.abs(steps[:, None] - known).argmin(axis=1)]
    error = np.where(frame >= 0, 1000.0 * motion.error_m.mean(axis=1)[np.maximum(frame, 0)], np.nan)
    stage = Stage(RETARGETED, qpos=motion.qpos[frame[nearest]])
    return stage, Curve("retargeted fingertips to the person's, mm", error)


def place_on_motion(interaction: Interaction, motion: RobotMotion) -> tuple[Interaction, NDArray[np.int64]]:
    """A recording turned and shifted so that the person's fingertips are nearest to a motion's, and its row at each step.

    Raises:
        InputFileError: the motion has no frame of this recording in which the hand is known.
    """
    recording = mirror(interaction) if interaction.hand_side == "left" else interaction
    rows = {int(number): row for row, number in enumerate(recording.frame_index)}
    frame = np.array([rows.get(int(number), -1) for number in motion.source_frame])
    tips = recording.hand_keypoints_world[:, list(FINGERTIP_KEYPOINTS)]
    usable = np.flatnonzero((frame >= 0) & np.isfinite(tips[frame]).all(axis=(1, 2)))
    if len(usable) < 2:
        raise InputFileError(
            f"the motion has {len(usable)} frames of this recording in which the hand is known, expected two or more; give the "
            "extraction that it was retargeted from"
        )
    made = np.stack([fingertips(motion.qpos[step]) for step in usable])
    T_made_recorded = rigid_placement(tips[frame[usable]].reshape(-1, 3), made.reshape(-1, 3))
    return transformed(recording, T_made_recorded), frame


def fingertips(qpos: FloatArray) -> FloatArray:
    """(4, 3) m the robot's fingertips (index, middle, ring, thumb) at a configuration (23,) rad."""
    hand = arm_hand()
    data = mujoco.MjData(hand.model)
    data.qpos[:] = qpos
    mujoco.mj_kinematics(hand.model, data)
    return data.site_xpos[hand.fingertip_ids].copy()
