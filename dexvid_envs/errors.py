"""The exception family of the project: every message says what was given, what was expected and what to do."""

from __future__ import annotations


class DexVidError(ValueError):
    """Root of all errors that a user can cause and mend; the command line prints it without a traceback."""


class InputFileError(DexVidError):
    """A file or folder from outside is missing, empty, truncated or of the wrong kind."""


class NoHandFoundError(DexVidError):
    """A video was read, but no human hand was found in it."""


class OptionError(DexVidError):
    """An option of an environment, a config or a command has a value that is not known."""


class ActionError(DexVidError):
    """An action has the wrong shape or is not finite."""


class RenderingUnavailableError(DexVidError):
    """No off-screen OpenGL library was found; everything but rendering still works."""


class MissingExtraError(DexVidError):
    """A feature needs an optional dependency that is not installed."""
