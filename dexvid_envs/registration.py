"""Registration of the environments with Gymnasium, by strings, so that specs survive JSON and pickling."""

from __future__ import annotations

import dataclasses

import gymnasium


@dataclasses.dataclass(frozen=True)
class Registration:
    """One environment: its id, the task's `"module:Class"`, the time limit and a line for overviews."""

    id: str
    task: str
    max_episode_steps: int
    summary: str


REGISTRATIONS: tuple[Registration, ...] = (
    Registration(
        "DexVid-GraspLift-v0",
        "dexvid_envs.tasks.grasp_lift:GraspLift",
        200,
        "lift an everyday object to a goal in the air and hold it",
    ),
    Registration(
        "DexVid-BottlePickPlace-v0",
        "dexvid_envs.tasks.bottle_pick_place:BottlePickPlace",
        200,
        "place a standing bottle upright on a target and let go",
    ),
    Registration(
        "DexVid-OpenCabinet-v0",
        "dexvid_envs.tasks.open_cabinet:OpenCabinet",
        200,
        "pull a drawer open by its bar handle",
    ),
    Registration(
        "DexVid-LiftThrow-v0",
        "dexvid_envs.tasks.lift_throw:LiftThrow",
        200,
        "throw an everyday object into a bucket out of reach",
    ),
)


def register_environments() -> None:
    """Makes `gym.make` and `gym.make_vec` know the environments; calling it again changes nothing."""
    for entry in REGISTRATIONS:
        if entry.id not in gymnasium.registry:
            gymnasium.register(
                id=entry.id,
                entry_point="dexvid_envs.env:DexVidEnv",
                vector_entry_point="dexvid_envs.vector_env:DexVidVectorEnv",
                max_episode_steps=entry.max_episode_steps,
                kwargs={"task": entry.task},
                disable_env_checker=True,  # the tests run it on every mode; in a loop it costs a tenth of a step
            )
