"""The sections of one environment's page."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import gymnasium
from gymnasium import spaces

from dexvid_envs.control import CONTROL_MODES, make_control_mode
from dexvid_envs.document.docstrings import description, inherited_entries, listed, sentence
from dexvid_envs.document.markdown import capital, plain, range_text, space_text, table
from dexvid_envs.document.names import SHARED_PAGE
from dexvid_envs.options import EnvironmentOptions
from dexvid_envs.registration import Registration
from dexvid_envs.tasks.task import Task

#: What every environment reports.
_INFO = {
    "success": "whether the criterion has held for `hold_steps` consecutive steps",
    "is_success": "the same, under the name that stable-baselines3 reads",
    "unstable": "whether the simulation has become not finite, which ends the episode with reward 0",
}
#: The modes of observation in the order of the page, as options of `gymnasium.make`.
_OBSERVATIONS: tuple[dict[str, Any], ...] = (
    {"observation_mode": "state"},
    {"relative": True},
    {"observation_mode": "pointcloud"},
    {"observation_mode": "pointcloud", "points": "partial"},
    {"observation_mode": "keypoints"},
    {"observation_mode": "rgbd"},
    {"privileged": True},
)


def in_short(entry: Registration, env: gymnasium.Env[Any, Any]) -> str:
    """A table of the essentials."""
    inner: Any = env.unwrapped
    rate = float(inner.metadata["render_fps"])
    rows = [
        ("Make it", f'`gymnasium.make("{entry.id}")` after `import dexvid_envs`; `gymnasium.make_vec` for many'),
        ("Success", success_text(inner.task)),
        ("Action space", f"`{space_text(env.action_space)}`"),
        ("Observation space", f"`{space_text(env.observation_space)}`"),
        ("Rate", f"{rate:g} control steps a second"),
        ("Longest episode", f"{entry.max_episode_steps} steps, {entry.max_episode_steps / rate:g} s"),
    ]
    return table(("", ""), rows)


def success_text(task: Task) -> str:
    """The criterion, and how long it has to hold."""
    criterion = sentence(type(task).holds).removesuffix(".")
    steps = task.config.hold_steps
    return f"{criterion}; held for {steps} consecutive steps ({steps / 20:g} s)."


def actions(inner: Any) -> list[str]:
    """What each number of an action does, in each control mode."""
    parts = [
        "## Actions",
        "Actions outside [-1, 1] are clipped. They set targets of position servos; targets never leave the joints' ranges nor "
        f"outrun their speed limits, which stand on [the shared page]({SHARED_PAGE}#limits-of-the-joints).",
    ]
    for name, mode_type in CONTROL_MODES.items():
        mode = make_control_mode(name, inner.task.robot, inner.core.control_config)
        rows = [
            (str(index), f"`{one.name}`", one.meaning, f"{one.low:.3f}", f"{one.high:.3f}", one.unit)
            for index, one in enumerate(mode.action_meanings())
        ]
        default = " (default)" if name == inner.core.control.name else ""
        parts += [f'### `control_mode="{name}"`{default}', description(mode_type)]
        parts += [table(("index", "name", "what it sets", "at -1", "at +1", "unit"), rows)]
    return parts


def observations(entry: Registration, inner: Any) -> list[str]:
    """Fields of the vector, and keys of the other modes, from environments made in each of them."""
    parts = ["## Observations"]
    default = EnvironmentOptions()
    for choice in _OBSERVATIONS:
        is_default = all(getattr(default, name) == value for name, value in choice.items())
        env: Any = inner if is_default else gymnasium.make(entry.id, **choice).unwrapped
        title = ", ".join(f"{name}={value!r}" for name, value in choice.items()).replace("'", '"')
        parts += [f"### `{title}`" + (" (default)" if is_default else ""), _observation_notes(choice)]
        parts += [f"`{space_text(env.observation_space)}`", _observation_table(env)]
        if env is not inner:
            env.close()
    return [part for part in parts if part]


def _observation_notes(choice: Mapping[str, Any]) -> str:
    if "privileged" in choice:
        return "Adds the key `privileged` to any mode; here to `state`, which becomes a Dict by it."
    if "relative" in choice:
        return "The vector of `state` goes on with poses in frames that move, in which a grasp looks alike from every side:"
    if choice["observation_mode"] == "rgbd":
        return "With the default `cameras` and `image_width`, `image_height`."
    if choice["observation_mode"] == "pointcloud":
        return "The number of points is `num_points`."
    return ""


def _observation_table(env: Any) -> str:
    """One row for every field of a flat observation, or for every key of a dict."""
    space = env.observation_space
    if isinstance(space, spaces.Dict):
        meanings = env.core.observer.meanings
        rows = [
            (f"`{key}`", str(part.shape), str(part.dtype), _bounds(part), meanings[key]) for key, part in space.spaces.items()
        ]
        return table(("key", "shape", "type", "range", "meaning"), rows)
    rows, start = [], 0
    for field in env.core.fields:
        end = start + field.size
        index = str(start) if field.size == 1 else f"{start}-{end - 1}"
        bounds = f"{field.low:g} to {field.high:g}"
        if env.core.observer.relative is None or field.role == "relative":  # the others stand in the table before
            rows.append((index, f"`{field.name}`", str(field.size), bounds, field.role, field.meaning))
        start = end
    return table(("index", "field", "size", "range", "about", "meaning"), rows)


def _bounds(space: spaces.Space[Any]) -> str:
    return range_text(space.low, space.high) if isinstance(space, spaces.Box) else "0 or 1"


def rewards(task: Task) -> list[str]:
    """The terms, their weights and their texts."""
    weights, meanings = task.config.weights, listed(type(task).reward_terms)
    rows = [(f"`{name}`", f"{weight:g}", meanings[name]) for name, weight in weights.items()]
    return [
        "## Rewards",
        sentence(type(task).reward_terms),
        f"The reward is the sum of the terms, each from 0 to 1 times its weight: at most {sum(weights.values()):g} a step. "
        '`info["reward/<term>"]` holds each weighted term. "Within a, falling over b" means 1 up to the bound a, then a smooth '
        "fall that has come down to 0.1 at the distance b beyond it (`dexvid_envs.rewards`).",
        table(("term", "weight", "meaning"), rows),
        'With `reward_mode="sparse"` the reward is 1 in every step in which `info["success"]` holds, else 0.',
    ]


def episode(entry: Registration, task: Task) -> list[str]:
    """Start, reset options, termination and truncation."""
    texts = inherited_entries(type(task), "Reset options")
    choices = [(f"`{name}`", texts[name]) for name in task.reset_options]
    state = ("`state`", "what `env.unwrapped.state()` returned, to continue from there; it stands alone")
    unstable = "the simulation has become unstable."
    failed = capital(unstable) if task.end == "Never." else f"{task.end} Or {unstable}"
    return [
        "## Start of an episode",
        task.start,
        "Options of `reset(options={...})` replace what is otherwise drawn; the other draws stay what they were with the seed:",
        table(("option", "meaning"), [*choices, state]),
        "## End of an episode",
        "Success ends nothing, so that it pays to keep it.",
        table(
            ("", "when"),
            [
                ("`terminated`", failed),
                ("`truncated`", f"After {entry.max_episode_steps} steps (`max_episode_steps` of `gymnasium.make`)."),
            ],
        ),
    ]


def info_keys(info: Mapping[str, Any], task: Task) -> list[str]:
    """Keys of `info`, from a real one."""
    meanings = _INFO | listed(type(task).metrics)
    rows = [
        (f"`{key}`", type(value).__name__, "weighted reward term" if key.startswith("reward/") else meanings[key])
        for key, value in info.items()
    ]
    return ["## Info", "In `reset` and in every `step`:", table(("key", "type", "meaning"), rows)]


def options(task: Task) -> list[str]:
    """The task's own keyword arguments."""
    config = task.config
    meanings = inherited_entries(type(config), "Attributes")
    rows = [
        (f"`{field.name}`", f"`{field.type}`", plain(getattr(config, field.name)), meanings[field.name])
        for field in dataclasses.fields(config)
    ]
    return [
        "## Options",
        f"Keyword arguments of `gymnasium.make` for this task; those of all tasks are on [the shared page]({SHARED_PAGE}).",
        table(("option", "type", "default", "meaning"), rows),
    ]


def versions(task: Task) -> list[str]:
    """The history of the environment."""
    return ["## Versions", "\n".join(f"- {line}" for line in type(task).versions)]
