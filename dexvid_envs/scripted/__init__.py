"""Scripted policies: privileged, hand-written solutions of the tasks, for demonstrations, sanity checks and comparison.

policy = make_scripted_policy(env)  # a DexVidEnv (also wrapped) or a DexVidVectorEnv, after its reset
policy.reset()
actions = policy.act()  # (N, A); for a single environment take actions[0]
"""

from __future__ import annotations

from typing import Any

from dexvid_envs.core import EnvironmentCore
from dexvid_envs.errors import OptionError
from dexvid_envs.scripted.bottle_pick_place import ScriptedBottlePickPlace
from dexvid_envs.scripted.grasp_lift import ScriptedGraspLift
from dexvid_envs.scripted.lift_throw import ScriptedLiftThrow
from dexvid_envs.scripted.open_cabinet import ScriptedOpenCabinet
from dexvid_envs.scripted.scripted import ScriptedPolicy
from dexvid_envs.tasks.bottle_pick_place import BottlePickPlace
from dexvid_envs.tasks.grasp_lift import GraspLift
from dexvid_envs.tasks.lift_throw import LiftThrow
from dexvid_envs.tasks.open_cabinet import OpenCabinet
from dexvid_envs.tasks.task import Task

__all__ = ["SCRIPTED_POLICIES", "ScriptedPolicy", "make_scripted_policy"]

SCRIPTED_POLICIES: dict[type[Task], type[ScriptedPolicy[Any]]] = {
    BottlePickPlace: ScriptedBottlePickPlace,
    GraspLift: ScriptedGraspLift,
    LiftThrow: ScriptedLiftThrow,
    OpenCabinet: ScriptedOpenCabinet,
}


def make_scripted_policy(env: Any) -> ScriptedPolicy[Any]:
    """The scripted policy of a single or vector environment that has been reset; call `reset` on it at every episode's start.

    Raises:
        OptionError: the environment's task has no scripted policy.
    """
    core = getattr(env.unwrapped, "core", None)
    if not isinstance(core, EnvironmentCore):
        raise OptionError(f"{type(env.unwrapped).__name__} has no scripted policy; expected one of this project's environments")
    for task_type, policy_type in SCRIPTED_POLICIES.items():
        if isinstance(core.task, task_type):
            return policy_type(core)
    known = ", ".join(task_type.__name__ for task_type in SCRIPTED_POLICIES)
    raise OptionError(f"{type(core.task).__name__} has no scripted policy; expected one of {known}")
