"""Demonstrations played again, disturbed: the same lift turned about the arm's base, from another posture, with noisy actions.

What is kept as the action to learn is the one that leads back to the demonstration from wherever robot and object have got
to (`Demonstration.intended_actions`; DART, Laskey et al. 2017). A clone of undisturbed demonstrations has never seen a robot
that is a little off its way, and loses it as soon as noise is added, as reinforcement learning does.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from demos.closed_loop import DemonstrationFollower
from demos.demonstration import Demonstration
from demos.provenance import first_provenance
from demos.replay import Player
from dexvid_envs.errors import OptionError
from dexvid_envs.tasks.object_task import ObjectTask

FloatArray = NDArray[np.float64]
#: Of a turned start from straight ahead, at most, rad: the sides of the box in which objects start.
HEADING_RAD = 0.28
_NOISE_LASTS = 0.8  # of the last step's noise
_MOST_NOISE = 0.15  # in actions; a grip bears less than an empty hand
_POSTURE_RAD = 0.02  # standard deviation of the first posture about the demonstration's


def disturbed(player: Player, demonstration: Demonstration, variant: int) -> Demonstration | None:
    """One disturbed repetition in physics.

    Args:
        player: of the demonstration's environment.
        demonstration: of the grasp-and-lift task.
        variant: number of the repetition; the same number gives the same one.

    Returns:
        The repetition, with the tier of the demonstration, or None where it did not end as the demonstration did.

    Raises:
        OptionError: the demonstration is of a task that cannot be turned about the arm's base.
    """
    if "goal" not in demonstration.memory or not isinstance(player.env.task, ObjectTask):
        raise OptionError(f"{demonstration.env_id} cannot be turned about the arm's base; expected demonstrations of a lift")
    source = str(first_provenance(demonstration.provenance).get("source_sha256", ""))
    rng = np.random.default_rng([variant, *source.encode()])
    x, y = demonstration.object_pos_world[0, :2]
    angle = HEADING_RAD * rng.uniform(-1.0, 1.0) - math.atan2(y, x)
    env, task = player.env, cast(ObjectTask, player.env.task)
    follower = DemonstrationFollower(env, demonstration, turn_rad=angle)
    begun = _turned_state(player, demonstration, angle, _POSTURE_RAD * rng.normal(size=len(task.joint_qposadr)))
    env.reset(options={"state": begun})
    noise = action_noise(rng, *demonstration.actions.shape, most=_MOST_NOISE)
    follower.reset(np.ones(1, dtype=bool))
    intended, actions, success = [], [], False
    for step in range(demonstration.num_steps):
        intended.append(follower.act(np.empty((1, 0), dtype=np.float32))[0])
        actions.append(np.clip(intended[-1] + noise[step], -1.0, 1.0).astype(np.float32))
        _, _, _, _, info = env.step(actions[-1])
        success = bool(info["success"])
        if info["unstable"]:
            return None
    if success != bool(demonstration.successes[-1]):
        return None
    made = player.record(
        np.stack(actions),
        reset_options={"state": begun},
        tier=demonstration.tier,
        source_frame=demonstration.source_frame,
        provenance={"parent": demonstration.provenance, "disturbed": {"variant": variant, "turn_rad": angle}},
    )
    return dataclasses.replace(made, intended_actions=np.stack(intended))


def action_noise(rng: np.random.Generator, steps: int, size: int, *, most: float) -> FloatArray:
    """(steps, size) in actions: of one strength an episode, up to `most`; half of its variance lasts for some steps."""
    strength = most * rng.uniform()
    fresh, lasting = rng.normal(size=(2, steps, size))
    for step in range(1, steps):
        lasting[step] = _NOISE_LASTS * lasting[step - 1] + math.sqrt(1.0 - _NOISE_LASTS**2) * lasting[step]
    return strength * math.sqrt(0.5) * (fresh + lasting)


def _turned_state(player: Player, demonstration: Demonstration, angle_rad: float, posture_rad: FloatArray) -> dict[str, Any]:
    """The demonstration's first state, turned about the vertical through the arm's base; the joints moved by (J,) rad."""
    env, task = player.env, cast(ObjectTask, player.env.task)
    env.reset(options=demonstration.reset_options(0))
    data, turn = env.data, Rotation.from_euler("z", angle_rad)
    moved = posture_rad.copy()
    moved[0] += angle_rad  # the first joint's axis is that vertical
    data.qpos[task.joint_qposadr] += moved
    data.ctrl[:] += moved
    at = task.object_qposadr
    data.qpos[at : at + 3] = turn.apply(data.qpos[at : at + 3])
    data.qpos[at + 3 : at + 7] = (turn * Rotation.from_quat(data.qpos[at + 3 : at + 7][[1, 2, 3, 0]])).as_quat()[[3, 0, 1, 2]]
    state = env.state()
    goal = np.asarray(state["memory"]["goal"])
    return {**state, "memory": {**state["memory"], "goal": turn.apply(goal).reshape(goal.shape)}}
