"""Environment ids as people type them: without the prefix or the version, in any case, with a slip."""

from __future__ import annotations

import difflib
import re

import gymnasium

from dexvid_envs.errors import OptionError

PREFIX = "DexVid-"


def find_environment_id(name: str) -> str:
    """The registered id that `name` means: "GraspLift", "grasplift-v0" and "DexVid-GraspLift-v0" are the same.

    Without a version the newest is taken. Any other id that Gymnasium knows is returned as it is, and so is "module:ID", for
    which Gymnasium imports the module first.

    Raises:
        OptionError: nothing is registered under that name; the message names the closest.
    """
    import dexvid_envs  # noqa: F401 (registers the environments)

    if name in gymnasium.registry or ":" in name:
        return name
    ids = sorted((key for key in gymnasium.registry if key.startswith(PREFIX)), key=_version)
    by_short_name: dict[str, str] = {}
    for key in ids:  # from the oldest version to the newest
        by_short_name[_without_version(key).removeprefix(PREFIX).lower()] = key
        by_short_name[key.removeprefix(PREFIX).lower()] = key
    wanted = name.strip().lower().removeprefix(PREFIX.lower())
    if wanted in by_short_name:
        return by_short_name[wanted]
    close = difflib.get_close_matches(wanted, by_short_name, n=1, cutoff=0.5)
    hint = f"; did you mean {by_short_name[close[0]]!r}?" if close else ""
    raise OptionError(f"no environment {name!r}: expected one of {', '.join(sorted(ids))}{hint}")


def _without_version(key: str) -> str:
    return re.sub(r"-v\d+$", "", key)


def _version(key: str) -> tuple[int, str]:
    found = re.search(r"-v(\d+)$", key)
    return (int(found.group(1)) if found else -1, key)
