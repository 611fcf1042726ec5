"""What all environments share: options, randomisation, scales and limits of control, and the everyday objects."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping
from typing import Any

import gymnasium

from dexvid_envs.control import ControlConfig
from dexvid_envs.document.docstrings import description, entries, sentence
from dexvid_envs.document.markdown import plain, table
from dexvid_envs.document.names import MARK, OBJECTS_PICTURE, SHARED_PAGE
from dexvid_envs.env import DexVidEnv
from dexvid_envs.options import EnvironmentOptions
from dexvid_envs.randomization import PRESETS, Randomization
from dexvid_envs.registration import REGISTRATIONS
from dexvid_envs.tasks.grasp_lift import GraspLiftConfig
from dexvid_envs.vector_env import DexVidVectorEnv
from robots.arm_hand import ARM_HAND
from robots.everyday import EVERYDAY_OBJECTS, HELD_OUT_OBJECTS, EverydayObject

_OPTION_HEADER = ("option", "type", "default", "meaning")


def in_short() -> list[str]:
    """The common ground, for the overview."""
    return [
        "```python\nimport gymnasium as gym\nimport dexvid_envs\n\n"
        f'env = gym.make("{REGISTRATIONS[0].id}", observation_mode="pointcloud", control_mode="wrist_delta")\n'
        "observation, info = env.reset(seed=0)\n"
        "observation, reward, terminated, truncated, info = env.step(env.action_space.sample())\n\n"
        f'envs = gym.make_vec("{REGISTRATIONS[0].id}", num_envs=64)  # the same episodes, on all cores\n```',
        "\n".join(
            (
                "- World: the robot's base, z up, x forward, the table's top at z = 0. Metres, radians, seconds, newtons.",
                "- Physics every 5 ms, a control step every 50 ms. Observation, reward and success tell of the state after it.",
                "- Success ends no episode: `terminated` means that it can no longer succeed, `truncated` that its time is up.",
                '- `info["success"]` and each weighted reward term `info["reward/<term>"]` are there in `reset` and in every '
                "`step`; the terms sum to the reward. In a vector environment, a row that has just started anew has "
                "those of its new episode; those of the ended one are in `final_info`.",
                '- `env.unwrapped.state()` and `reset(options={"state": state})` save and restore everything, and the future '
                "is the same, step for step.",
                "- Nothing is randomised but starts and goals, unless `randomization=` says so: "
                f"[presets and fields]({SHARED_PAGE}#randomization).",
            )
        ),
    ]


def shared_page() -> str:
    """The page of what all environments share."""
    parts = [
        "# What all environments share",
        MARK,
        "## Options",
        "Keyword arguments of `gymnasium.make` and `gymnasium.make_vec` for every task:",
        _fields(EnvironmentOptions),
        "Of `gymnasium.make` alone:",
        _parameters(DexVidEnv),
        "Of `gymnasium.make_vec` alone, beside `num_envs`:",
        _parameters(DexVidVectorEnv),
        description(DexVidVectorEnv).split("\n\n", 1)[1],
        *_randomization(),
        *_control(),
    ]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def _fields(config_type: type[Any]) -> str:
    """A table of a config's fields."""
    meanings, default = entries(config_type, "Attributes"), config_type()
    rows = [
        (f"`{field.name}`", f"`{field.type}`", plain(getattr(default, field.name)), meanings[field.name])
        for field in dataclasses.fields(config_type)
    ]
    return table(_OPTION_HEADER, rows)


def _parameters(environment: type[Any]) -> str:
    """A table of a constructor's keyword arguments."""
    meanings = entries(environment, "Args")
    rows = [
        (f"`{name}`", f"`{parameter.annotation}`", _default(parameter.default), meanings[name])
        for name, parameter in inspect.signature(environment.__init__).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    ]
    return table(_OPTION_HEADER, rows)


def _default(value: Any) -> str:
    return f"`{value.name}`" if hasattr(value, "name") else plain(value)


def _randomization() -> list[str]:
    meanings = entries(Randomization, "Attributes")
    rows = []
    for field in dataclasses.fields(Randomization):
        values = [getattr(preset, field.name) for preset in PRESETS.values()]
        shown = [
            "" if value == field.default and name != "none" else plain(value)
            for name, value in zip(PRESETS, values, strict=True)
        ]
        rows.append((f"`{field.name}`", meanings[field.name], *shown))
    header = ("field", "meaning", *(f'`"{name}"`' for name in PRESETS))
    return [
        "## Randomization",
        sentence(inspect.getmodule(Randomization)),
        description(Randomization),
        '`randomization=` takes a preset by name, a mapping of fields such as `{"mass": (0.5, 1.5), "force_m_per_s2": 2.0}`, '
        'or a `Randomization`. An empty cell stands for the value of `"none"`.',
        table(header, rows),
    ]


def _control() -> list[str]:
    config, meanings = ControlConfig(), entries(ControlConfig, "Attributes")
    scales = [
        (f"`{field.name}`", plain(getattr(config, field.name)), meanings[field.name]) for field in dataclasses.fields(config)
    ]
    env = gymnasium.make(REGISTRATIONS[0].id)
    model = env.unwrapped.model  # type: ignore[attr-defined]
    torques = [model.actuator(name).forcerange[1] for name in ARM_HAND.joint_names]
    env.close()
    limits = [
        (f"`{name}`", f"{low:.3f}", f"{high:.3f}", f"{home:.3f}", f"{speed:.2f}", f"{torque:g}")
        for name, low, high, home, speed, torque in zip(
            ARM_HAND.joint_names,
            ARM_HAND.lower_rad,
            ARM_HAND.upper_rad,
            ARM_HAND.home_rad,
            ARM_HAND.speed_limit_rad_per_s,
            torques,
            strict=True,
        )
    ]
    return [
        "## Scales of the control modes",
        table(("name", "value", "meaning"), scales),
        "## Limits of the joints",
        "Targets never leave the range nor go faster; the servos never push harder. The joints themselves follow each new "
        "target in less than a control step, and so are faster than that for a moment. Their stops are soft and act on what "
        "has passed them: a servo alone hardly gets beyond, a finger that the whole arm rams into the table does, by its speed "
        "times a physics step, and is back by the next control step ([how far](../../benchmarks/results/actuators.md)).",
        table(("joint", "lower, rad", "upper, rad", "home, rad", "speed, rad/s", "torque, N m"), limits),
    ]


def objects_section(config: GraspLiftConfig) -> list[str]:
    """The everyday objects, those to learn with and those held out."""
    header = ("object", "x, mm", "y, mm", "z, mm", "mass, g")
    return [
        "## Objects",
        "Full extents of the box around the object as it rests on the table, unturned; sizes and masses are those of the YCB "
        "set. Every object consists of convex parts. `objects=` chooses by name.",
        f"![all objects]({OBJECTS_PICTURE})",
        "### To learn with (the default)" if config.objects == tuple(EVERYDAY_OBJECTS) else "### To learn with",
        table(header, _object_rows(EVERYDAY_OBJECTS)),
        "### Held out for generalisation",
        "`objects=tuple(robots.everyday.HELD_OUT_OBJECTS)`; no policy is to see them before it is tested.",
        table(header, _object_rows(HELD_OUT_OBJECTS)),
    ]


def _object_rows(objects: Mapping[str, EverydayObject]) -> list[tuple[str, ...]]:
    return [
        (f"`{name}`", *(f"{1000 * extent:.0f}" for extent in one.extents_m), f"{1000 * one.mass_kg:.0f}")
        for name, one in objects.items()
    ]
