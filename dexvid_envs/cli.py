"""The `dexvid` command: finds its subcommands through the entry-point group `dexvid.commands` and loads only the chosen one."""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import sys
from collections.abc import Sequence
from importlib.metadata import entry_points
from typing import Any, TypeVar

from dexvid_envs.errors import DexVidError, OptionError, RenderingUnavailableError
from dexvid_envs.files import explain_os_error

ConfigT = TypeVar("ConfigT")


@dataclasses.dataclass(frozen=True)
class Command:
    """What the overview needs to know of a subcommand, without importing what does the work.

    Attributes:
        name: the word after `dexvid`.
        summary: one line for the overview.
        target: `"module:function"`; the function takes the remaining arguments and returns the exit code.
        examples: commands that work as they stand, shown below the help.
    """

    name: str
    summary: str
    target: str
    examples: tuple[str, ...] = ()


def find_commands() -> dict[str, Command]:
    """All installed subcommands by name, the project's own and those of other packages."""
    found: dict[str, Command] = {}
    for entry_point in entry_points(group="dexvid.commands"):
        try:
            command = entry_point.load()
        except Exception as error:  # a package that is broken, or of another version, must not take the others with it
            why = f"{type(error).__name__}: {error}"
            print(f"warning: no command {entry_point.name!r}, its package is broken ({why}); install it again", file=sys.stderr)
        else:
            found[command.name] = command
    return found


def parse_config(config_type: type[ConfigT], command: Command, arguments: Sequence[str]) -> ConfigT:
    """Makes a typed config from the command line (tyro); `--help` shows the command's examples.

    An option `json: Path | None` may be given without a file, see `dexvid_envs.json_output`.
    """
    import tyro

    from dexvid_envs.json_output import with_json_target

    description = command.summary + "".join(f"\n\n  {example}" for example in command.examples)
    return tyro.cli(config_type, prog=f"dexvid {command.name}", description=description, args=with_json_target(arguments))


def parse_env_options(pairs: Sequence[str]) -> dict[str, Any]:
    """Environment options from NAME=VALUE pairs; a value is read as JSON where it is JSON, else taken as text.

    Raises:
        OptionError: a pair has no "=".
    """
    options: dict[str, Any] = {}
    for pair in pairs:
        name, sign, text = pair.partition("=")
        if not (name and sign):
            raise OptionError(f"environment option {pair!r}: expected NAME=VALUE, such as bottle=mustard")
        try:
            options[name] = json.loads(text)
        except (ValueError, RecursionError):
            options[name] = text
    return options


def overview(commands: dict[str, Command]) -> str:
    """The text of `dexvid --help`."""
    width = max((len(name) for name in commands), default=0)
    lines = [f"  {name.ljust(width)}  {commands[name].summary}" for name in sorted(commands)]
    title = (
        "usage: dexvid COMMAND [OPTIONS]",
        "",
        "From one video of a human hand to a dexterous robot policy.",
        "",
        "commands:",
    )
    below = (
        "",
        "Start with:   dexvid quickstart",
        "Help of one:  dexvid COMMAND --help",
        "Exit codes:   0 done, 1 done but the answer is no, 2 wrong input, 130 interrupted (docs/commands.md)",
    )
    return "\n".join([*title, *lines, *below])


def _check_graphics_setting() -> None:
    """Explains a `MUJOCO_GL` with which mujoco itself cannot even be imported.

    Raises:
        RenderingUnavailableError: its value is unknown, or the library that it names does not load.
    """
    setting = os.environ.get("MUJOCO_GL")
    if not setting:
        return
    try:
        importlib.import_module("mujoco")
    except Exception as error:  # whatever the OpenGL binding raises
        raise RenderingUnavailableError(
            f"mujoco cannot be loaded with MUJOCO_GL={setting!r} ({type(error).__name__}); expected egl or osmesa with its "
            "library installed; unset it to have the renderer chosen"
        ) from error


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one subcommand.

    Args:
        arguments: after `dexvid`; by default those of this process.

    Returns:
        The exit code (`docs/commands.md` has the table): 0 when it is done; 1 when it is done and the answer is no, as of a
        check that finds something wrong, a search without success or many sources of which some failed; 2 for wrong input,
        with one line that begins with "error:"; 130 when interrupted; 141 when whoever reads a pipe has gone.

    Raises:
        SystemExit: of the parser: 0 after `--help`, 2 for an option or a value that there is not.
        Exception: a mistake of the project's, or of a policy or package that it was given.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        try:
            return _run(arguments)
        finally:
            sys.stdout.flush()  # here, where a pipe that nobody reads is noticed without a message
    except DexVidError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader of a pipe, such as `head`, has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except OSError as error:
        if (told := explain_os_error(error)) is None:
            raise
        print(f"error: {told}", file=sys.stderr)
        return 2


def _run(arguments: Sequence[str]) -> int:
    commands = find_commands()
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(overview(commands), flush=True)
        return 0
    if arguments[0] in ("-V", "--version"):
        from importlib.metadata import version

        print(f"dexvid-envs {version('dexvid-envs')}")
        return 0
    command = commands.get(arguments[0])
    if command is None:
        raise OptionError(f"no command {arguments[0]!r}; expected one of {', '.join(sorted(commands))}")
    module_name, function_name = command.target.split(":")
    try:
        run = getattr(importlib.import_module(module_name), function_name)
        return run(arguments[1:]) or 0
    except Exception:
        _check_graphics_setting()  # not before: it loads mujoco, which `--help` and others do without
        raise


if __name__ == "__main__":
    sys.exit(main())
