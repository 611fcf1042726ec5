"""A page of documentation for every registered environment, made from the code itself.

    python -m dexvid_envs.document --out docs/environments [--pictures]

A test compares the pages in the repository with what this makes: change the code, then make the pages again.
"""

from __future__ import annotations

import dataclasses
import inspect
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import tyro
from gymnasium import spaces

from dexvid_envs import control, core
from dexvid_envs.docstrings import description, entries, inherited_entries, method_description, sentence
from dexvid_envs.env import DexVidEnv
from dexvid_envs.registration import REGISTRATIONS, Registration

MARK = "<!-- made by `python -m dexvid_envs.document --out docs/environments`; change the code, not this page -->"
PICTURE_SIZE = (640, 480)  # px
#: Beginnings of the names of arguments that say how an episode starts.
_DRAWN = ("home_", "start_", "goal_", "target_", "object", "bottle", "drawer", "bucket")
_INFO = {
    "success": "whether the task's criterion holds now",
    "is_success": "the same, under the name that stable-baselines3 reads",
    "unstable": "whether the simulation has become not finite, which ends the episode with reward 0",
}


@dataclasses.dataclass(frozen=True)
class DocumentArguments:
    """Where the pages go."""

    out: Path = Path("docs/environments")
    """folder of the pages"""
    pictures: bool = False
    """make the pictures too, which needs an off-screen OpenGL library"""


def main() -> None:
    """Writes all pages."""
    arguments = tyro.cli(DocumentArguments)
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (arguments.out / name).write_text(text, encoding="utf-8")
        print(f"wrote {arguments.out / name}")
    if arguments.pictures:
        for entry in REGISTRATIONS:
            path = arguments.out / picture_name(entry.id)
            path.parent.mkdir(parents=True, exist_ok=True)
            _take_picture(entry.id, path)
            print(f"wrote {path}")


def pages() -> dict[str, str]:
    """Text of every page by file name, the overview among them."""
    found = {f"{short_name(entry.id)}.md": page(entry) for entry in REGISTRATIONS}
    rows = [
        (f"[{entry.id}]({short_name(entry.id)}.md)", entry.summary, str(entry.max_episode_steps)) for entry in REGISTRATIONS
    ]
    overview = ["# Environments", MARK, table(("environment", "task", "longest episode, steps"), rows)]
    return {"README.md": "\n\n".join(overview) + "\n", **found}


def page(entry: Registration) -> str:
    """The page of one environment."""
    env = gymnasium.make(entry.id)
    inner: Any = env.unwrapped
    _, info = env.reset(seed=0)
    parts = [
        f"# {entry.id}",
        MARK,
        f"![{entry.summary}]({picture_name(entry.id)})",
        description(type(inner.task)),
        _overview(entry, env),
        *_actions(inner),
        *_observations(entry, inner),
        *_rewards(inner.task),
        *_episode(entry, inner.task),
        *_info_keys(info, inner.task),
        *_arguments(inner.task),
        *_history(inner.task),
    ]
    env.close()
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def short_name(environment_id: str) -> str:
    """ "DexVid-GraspLift-v0" to "GraspLift-v0"."""
    return environment_id.removeprefix("DexVid-")


def picture_name(environment_id: str) -> str:
    """Path of an environment's picture from its page."""
    return f"images/{short_name(environment_id)}.png"


# ---- sections ------------------------------------------------------------------------------------------------------------


def _overview(entry: Registration, env: gymnasium.Env[Any, Any]) -> str:
    rate = float(env.unwrapped.metadata["render_fps"])
    rows = [
        ("Make it", f'`gymnasium.make("{entry.id}")` after `import dexvid_envs`; `gymnasium.make_vec` for many'),
        ("Success", sentence(type(env.unwrapped.task).success)),  # type: ignore[attr-defined]
        ("Action space", f"`{_short(env.action_space)}`"),
        ("Observation space", f"`{_short(env.observation_space)}`"),
        ("Rate", f"{rate:g} control steps a second"),
        ("Longest episode", f"{entry.max_episode_steps} steps, {entry.max_episode_steps / rate:g} s"),
    ]
    return table(("", ""), rows)


def _actions(inner: Any) -> list[str]:
    parts = ["## Actions", sentence(control)]
    robot, config = inner.task.robot, inner.core.control_config
    for name, mode_type in control.CONTROL_MODES.items():
        mode = control.make_control_mode(name, robot, config)
        parts += [f'### `control_mode="{name}"`' + (" (default)" if name == inner.core.control.name else "")]
        parts += [
            description(mode_type),
            table(("index", "joint", "what it sets", "at -1", "at +1", "unit"), _action_rows(mode)),
        ]
    limits = [
        (f"`{name}`", f"{low:.3f}", f"{high:.3f}", f"{speed:.2f}", f"{torque:g}")
        for name, low, high, speed, torque in zip(
            robot.joint_names,
            robot.lower_rad,
            robot.upper_rad,
            robot.speed_limit_rad_per_s,
            [inner.model.actuator(name).forcerange[1] for name in robot.joint_names],
            strict=True,
        )
    ]
    scales = entries(type(config), "Attributes")
    rows = [(f"`{field.name}`", _plain(getattr(config, field.name)), scales.get(field.name, "")) for field in _fields(config)]
    parts += ["### Scales of the control modes", table(("name", "value", "meaning"), rows)]
    parts += ["### Limits of the joints", "Targets never leave the range nor go faster; the servos never push harder."]
    return [*parts, table(("joint", "lower, rad", "upper, rad", "speed, rad/s", "torque, N m"), limits)]


def _action_rows(mode: Any) -> list[tuple[str, ...]]:
    """Index, joint, meaning, values at both ends and unit of every action; from the mode's own table where it has one."""
    if hasattr(mode, "action_table"):
        return [tuple(str(cell) for cell in row) for row in mode.action_table()]
    names = [f"`{name}`" for name in mode.robot.joint_names]
    if hasattr(mode, "scale_rad"):
        ends, meaning = (-mode.scale_rad, mode.scale_rad), "change of the servo's target"
    else:
        ends = (mode.centre_rad - mode.half_range_rad, mode.centre_rad + mode.half_range_rad)
        meaning = "the servo's target"
    return [
        (str(index), name, meaning, f"{low:.3f}", f"{high:.3f}", "rad")
        for index, (name, low, high) in enumerate(zip(names, *ends, strict=True))
    ]


def _observations(entry: Registration, inner: Any) -> list[str]:
    parts = ["## Observations"]
    default = inspect.signature(DexVidEnv.__init__).parameters["observation_mode"].default
    for mode in core.OBSERVATION_MODES:
        env = inner if mode == default else gymnasium.make(entry.id, observation_mode=mode).unwrapped
        parts += [f'### `observation_mode="{mode}"`' + (" (default)" if mode == default else "")]
        parts += [f"`{_short(env.observation_space)}`", _observation_table(env)]
    return parts


def _observation_table(env: Any) -> str:
    """One row for every field of a flat observation, or for every key of a dict."""
    space = env.observation_space
    if isinstance(space, spaces.Dict):
        meanings: Mapping[str, str] = getattr(env.core, "observation_meanings", {})
        rows = [
            (f"`{key}`", str(part.shape), str(part.dtype), _range(part.low, part.high), meanings.get(key, ""))
            for key, part in space.spaces.items()
            if isinstance(part, spaces.Box)
        ]
        return table(("key", "shape", "type", "range", "meaning"), rows)
    rows, start = [], 0
    for field in env.core.fields:
        end = start + field.size
        index = str(start) if field.size == 1 else f"{start}-{end - 1}"
        rows.append((index, f"`{field.name}`", str(field.size), f"{field.low:g} to {field.high:g}", field.meaning))
        start = end
    return table(("index", "field", "size", "range", "meaning"), rows)


def _rewards(task: Any) -> list[str]:
    parts = ["## Rewards", f"{method_description(type(task), 'reward_terms')} The reward is the sum of the terms."]
    weights: Mapping[str, float] = getattr(task.config, "weights", {})
    meanings = entries(type(task).reward_terms, "Returns")
    rows = [(f"`{name}`", f"{weight:g}", f"`reward/{name}`", meanings.get(name, "")) for name, weight in weights.items()]
    header = ("term", "weight", "in `info`", "meaning")
    if not meanings:
        header, rows = header[:3], [row[:3] for row in rows]
    parts += [table(header, rows), "As it is computed:", _code(type(task).reward_terms)]
    return [*parts, 'With `reward_mode="sparse"` the reward is 1 in every step in which `info["success"]` holds, else 0.']


def _episode(entry: Registration, task: Any) -> list[str]:
    meanings = inherited_entries(type(task.config), "Attributes")
    drawn = [
        (f"`{field.name}`", _plain(getattr(task.config, field.name)), meanings.get(field.name, ""))
        for field in _fields(task.config)
        if field.name.startswith(_DRAWN)
    ]
    texts = inherited_entries(type(task), "Reset options")
    options = [(f"`{name}`", texts.get(name, "sets what is otherwise drawn")) for name in task.reset_options]
    state = ("`state`", "what `env.unwrapped.state()` returned, to continue from there; it stands alone")
    return [
        "## Start of an episode",
        method_description(type(task), "reset_row"),
        "What the draws, which are uniform, depend on (arguments of `gymnasium.make`):",
        table(("argument", "default", "meaning"), drawn),
        "Options of `reset(options={...})`:",
        table(("option", "meaning"), [*options, state]),
        "## End of an episode",
        table(
            ("", "when"),
            [
                (
                    "terminated",
                    f"{description(type(task).failed)} Or the simulation has become unstable. Success ends nothing.",
                ),
                ("truncated", f"After {entry.max_episode_steps} steps (`max_episode_steps` of `gymnasium.make`)."),
            ],
        ),
    ]


def _info_keys(info: Mapping[str, Any], task: Any) -> list[str]:
    own = _INFO | entries(type(task).metrics, "Returns")
    others = method_description(type(task), "metrics")
    rows = [
        (f"`{key}`", type(value).__name__, own.get(key, "weighted reward term" if key.startswith("reward/") else others))
        for key, value in info.items()
    ]
    return ["## Info", "In `reset` and in every `step`:", table(("key", "type", "meaning"), rows)]


def _arguments(task: Any) -> list[str]:
    meanings = inherited_entries(type(task.config), "Attributes")
    rows = [
        (f"`{field.name}`", f"`{field.type}`", _plain(getattr(task.config, field.name)), meanings.get(field.name, ""))
        for field in _fields(task.config)
    ]
    general = inspect.signature(DexVidEnv.__init__).parameters
    texts = entries(DexVidEnv, "Args")
    shared = [
        (f"`{name}`", f"`{parameter.annotation}`", _plain(parameter.default), texts.get(name, ""))
        for name, parameter in general.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    ]
    header = ("argument", "type", "default", "meaning")
    return [
        "## Arguments",
        "Keyword arguments of `gymnasium.make`. Those of this task:",
        table(header, rows),
        "Those of every environment:",
        table(header, shared),
    ]


def _history(task: Any) -> list[str]:
    history: Sequence[str] = getattr(type(task), "history", ()) or ("v0: first version",)
    return ["## Versions", "\n".join(f"- {line}" for line in history)]


# ---- markdown ------------------------------------------------------------------------------------------------------------


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def _code(function: Any) -> str:
    """The body of a function without its docstring."""
    lines = textwrap.dedent(inspect.getsource(function)).splitlines()
    text = "\n".join(lines)
    quotes = [index for index, line in enumerate(lines) if '"""' in line]
    if quotes:
        end = quotes[0] if lines[quotes[0]].count('"""') == 2 else quotes[1]
        text = "\n".join(lines[end + 1 :])
    return f"```python\n{textwrap.dedent(text).strip()}\n```"


def _short(space: spaces.Space[Any]) -> str:
    """A space in one line, without the bounds of every element."""
    if isinstance(space, spaces.Dict):
        return "Dict(" + ", ".join(f"{key}: {_short(part)}" for key, part in space.spaces.items()) + ")"
    if isinstance(space, spaces.Box):
        return f"Box({_range(space.low, space.high)}, {space.shape}, {space.dtype})"
    return str(space)


def _range(low: np.ndarray, high: np.ndarray) -> str:
    return f"{float(low.min()):g} to {float(high.max()):g}"


def _plain(value: Any) -> str:
    """A default value for a table."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {number:g}" for key, number in value.items())
    if isinstance(value, tuple):
        return ", ".join(_plain(part) for part in value) if value else "none"
    if isinstance(value, float):
        return f"{value:g}"
    return f"`{value}`" if isinstance(value, str) else str(value)


def _fields(config: Any) -> tuple[dataclasses.Field[Any], ...]:
    return dataclasses.fields(config)


def _take_picture(environment_id: str, path: Path) -> None:
    """The start of an episode, as the `overview` camera sees it."""
    import imageio.v3 as imageio

    env = gymnasium.make(environment_id, render_mode="rgb_array", width=PICTURE_SIZE[0], height=PICTURE_SIZE[1])
    env.reset(seed=3)
    picture: Any = env.render()
    imageio.imwrite(path, picture)
    env.close()


if __name__ == "__main__":
    main()
