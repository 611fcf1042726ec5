"""`dexvid completion`: a script with which the shell completes commands and their options on the Tab key.

The script knows all options by itself, so that pressing Tab starts no Python. They are read from each command's own help, which
is made from the typed configs; printing the script again brings it up to date.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import io
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import tyro

from dexvid_envs.cli import Command, find_commands, parse_config
from dexvid_envs.commands import COMPLETION

Shell = Literal["bash", "zsh"]
_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9.-]*")
_SUBCOMMANDS = re.compile(r"^usage: [^\n]*\{([a-z0-9,-]+)\}", re.MULTILINE)

_SCRIPT = """\
# Completion of dexvid on the Tab key; made by `dexvid completion`.
_dexvid_words() {
    case "$1" in
%(cases)s
    esac
}
_dexvid() {
    local current="${COMP_WORDS[COMP_CWORD]}" words
    COMPREPLY=()
    if [ "$COMP_CWORD" -eq 1 ]; then
        words="$(_dexvid_words '')"
    else
        words="$(_dexvid_words "${COMP_WORDS[1]}")"
        if [ "$COMP_CWORD" -gt 2 ]; then
            local inner
            inner="$(_dexvid_words "${COMP_WORDS[1]} ${COMP_WORDS[2]}")"
            words="${inner:-$words}"
        fi
        case "$current" in -*) ;; *)
            [ "$COMP_CWORD" -eq 2 ] || return 0  # a value: the shell's own completion of file names
        esac
    fi
    COMPREPLY=( $(compgen -W "$words" -- "$current") )
}
complete -o default -F _dexvid dexvid
"""


@dataclasses.dataclass(frozen=True)
class CompletionArguments:
    """Arguments of `dexvid completion`."""

    shell: Annotated[Shell, tyro.conf.Positional] = "bash"
    """whose script to print"""


def main(arguments: Sequence[str]) -> int:
    """Prints the script; returns the exit code."""
    config = parse_config(CompletionArguments, COMPLETION, arguments)
    print(completion_script(words_by_command(find_commands()), config.shell), end="")
    return 0


def completion_script(words: Mapping[str, Sequence[str]], shell: Shell = "bash") -> str:
    """The script for a shell.

    Args:
        words: what may follow "" (the commands), a command, or a command and its subcommand.
        shell: bash, or zsh with its support for bash's completions.
    """
    cases = "\n".join(f"        {shlex.quote(name)}) echo {shlex.quote(' '.join(after))} ;;" for name, after in words.items())
    before = "autoload -Uz bashcompinit && bashcompinit\n" if shell == "zsh" else ""
    return before + _SCRIPT % {"cases": cases}


def words_by_command(commands: Mapping[str, Command]) -> dict[str, list[str]]:
    """What may follow "", each command, and each command with its subcommand."""
    words = {"": sorted(commands)}
    for name, command in sorted(commands.items()):
        text = _help(command)
        found = _SUBCOMMANDS.search(text)
        subcommands = found.group(1).split(",") if found and " subcommands " in text else []
        words[name] = [*subcommands, *_options(text)]
        for inner in subcommands:
            words[f"{name} {inner}"] = _options(_help(command, inner))
    return words


def _options(text: str) -> list[str]:
    listed = text.partition(" options ")[2]  # the examples above name other commands' options too
    return sorted(set(_OPTION.findall(listed)))


def _help(command: Command, *subcommand: str) -> str:
    """The text that `--help` prints."""
    module_name, function_name = command.target.split(":")
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        getattr(importlib.import_module(module_name), function_name)([*subcommand, "--help"])
    return out.getvalue()
