"""All pages by file name: the overview, what all environments share, the objects, and one page for each environment."""

from __future__ import annotations

from typing import Any

import gymnasium

from dexvid_envs.document import sections, shared
from dexvid_envs.document.markdown import table
from dexvid_envs.document.names import MARK, SHARED_PAGE, page_name, picture_name
from dexvid_envs.registration import REGISTRATIONS, Registration
from dexvid_envs.tasks.grasp_lift import GraspLift


def pages() -> dict[str, str]:
    """Text of every page by file name."""
    return {
        "README.md": overview(),
        SHARED_PAGE: shared.shared_page(),
        **{page_name(entry.id): page(entry) for entry in REGISTRATIONS},
    }


def overview() -> str:
    """The first page."""
    rows = []
    for entry in REGISTRATIONS:
        env = gymnasium.make(entry.id)
        task: Any = env.unwrapped.task  # type: ignore[attr-defined]
        picture = f'[<img src="{picture_name(entry.id)}" width="240" alt="{entry.id}">]({page_name(entry.id)})'
        rows.append((picture, f"[{entry.id}]({page_name(entry.id)})", task.summary, sections.success_text(task)))
        env.close()
    parts = [
        "# Environments",
        MARK,
        "A 7-DoF arm with a 16-joint hand on a table. Every task has the same robot, control modes, observation modes and "
        f"options, which [the shared page]({SHARED_PAGE}) describes; its own page has the rest.",
        table(("", "environment", "task", "success"), rows),
        "## What is common",
        *shared.in_short(),
    ]
    return _joined(parts)


def page(entry: Registration) -> str:
    """The page of one environment."""
    env = gymnasium.make(entry.id)
    inner: Any = env.unwrapped
    _, info = env.reset(seed=0)
    parts = [
        f"# {entry.id}",
        MARK,
        f"![{entry.summary}]({picture_name(entry.id)})",
        inner.task.summary,
        sections.in_short(entry, env),
        *sections.actions(inner),
        *sections.observations(entry, inner),
        *sections.rewards(inner.task),
        *sections.episode(entry, inner.task),
        *sections.info_keys(info, inner.task),
        *sections.options(inner.task),
        *(shared.objects_section(inner.task.settings) if isinstance(inner.task, GraspLift) else []),
        *sections.versions(inner.task),
    ]
    env.close()
    return _joined(parts)


def _joined(parts: list[str]) -> str:
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"
