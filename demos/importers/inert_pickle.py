"""Unpickles foreign files into inert records: a name in a pickle becomes a stand-in that only notes what it was called with.

Nothing of the file is imported, called or built; what the records mean is left to `restricted_pickle` and `torch_files`.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from collections.abc import Callable
from typing import IO, Any

MAX_OPCODES = 200_000
#: Opcodes that can make or call anything but a builtin container or one of the expected names.
_FORBIDDEN_OPCODES = frozenset(["INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4", "NEXT_BUFFER", "READONLY_BUFFER"])
_PERSISTENT_OPCODES = frozenset(["PERSID", "BINPERSID"])

#: Tells whether (module, name) may stand in a pickle.
NameFilter = Callable[[str, str], bool]


class Refused(Exception):
    """The content asks for something that plain data never needs."""


class Record:
    """What an expected name was called with; `state` is set by the pickle's BUILD opcode."""

    __slots__ = ("arguments", "items", "module", "name", "state")

    def __init__(self, module: str, name: str, arguments: tuple[Any, ...]) -> None:
        self.module = module
        self.name = name
        self.arguments = arguments
        self.state: Any = None
        self.items: dict[Any, Any] = {}

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None:
        self.items[key] = value


class Name:
    """Stands for one expected name; calling it only writes down the arguments."""

    __slots__ = ("module", "name")

    def __init__(self, module: str, name: str) -> None:
        self.module = module
        self.name = name

    def __call__(self, *arguments: Any) -> Record:  # noqa: D102  (said by the class)
        return Record(self.module, self.name, arguments)

    def __setstate__(self, state: Any) -> None:
        raise Refused(f"an attempt to change {self.module}.{self.name}")


class _Unpickler(pickle.Unpickler):
    """Knows the expected names as inert stand-ins and nothing else."""

    def __init__(self, stream: IO[bytes], expected: NameFilter, persistent: Callable[[Any], Any] | None) -> None:
        super().__init__(stream)
        self._expected = expected
        self._persistent = persistent

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        """Returns the stand-in of an expected name and refuses every other."""
        if not self._expected(module_name, global_name):
            raise Refused(f"the name {module_name}.{global_name}")
        return Name(module_name, global_name)

    def persistent_load(self, pid: Any, /) -> Any:
        """Hands references to parts beside the pickle to the reader; without one they are refused."""
        if self._persistent is None:
            raise Refused("a reference to an object outside the file")
        return self._persistent(pid)


def load_inert(
    stream: io.BytesIO, expected: NameFilter, persistent: Callable[[Any], Any] | None = None, max_opcodes: int = MAX_OPCODES
) -> Any:
    """Reads one pickle from the stream, which then stands behind it.

    Args:
        stream: positioned at the pickle.
        expected: which names may occur; each becomes a `Name`.
        persistent: answers persistent ids; None refuses them.
        max_opcodes: longer pickles are refused.

    Raises:
        Refused: the pickle holds something unexpected.
        Exception: almost any builtin one, for damaged bytes.
    """
    start = stream.tell()
    _check_opcodes(stream, expected, persistent is not None, max_opcodes)
    stream.seek(start)
    return _Unpickler(stream, expected, persistent).load()


def _check_opcodes(stream: io.BytesIO, expected: NameFilter, persistent: bool, max_opcodes: int) -> None:
    """Refuses a pickle with forbidden opcodes, too many opcodes, or sizes and memo places that the file cannot fill."""
    for count, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
        if count > max_opcodes:
            raise Refused(f"more than {max_opcodes} pickle operations")
        if opcode.name in _FORBIDDEN_OPCODES or (opcode.name in _PERSISTENT_OPCODES and not persistent):
            raise Refused(f"the pickle operation {opcode.name}")
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and not 0 <= int(argument or 0) <= max_opcodes:
            raise Refused("a memo place far beyond its content")
        if opcode.name == "GLOBAL":
            module, _, name = str(argument).partition(" ")
            if not expected(module, name):
                raise Refused(f"the name {module}.{name}")
