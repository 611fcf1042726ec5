"""Checks of the values that options have, by type; what each option means stands with the option."""

from __future__ import annotations

import copy
import dataclasses
import enum
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium.envs.registration import EnvSpec

from dexvid_envs.errors import OptionError


def is_number(value: object) -> bool:
    """Whether a value is a finite real number, and no bool."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        return False
    return abs(value) < 2**63 if isinstance(value, int) else math.isfinite(value)


def is_count(value: object) -> bool:
    """Whether a value is a whole number, 1 or more, and no bool."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and bool(1 <= value < 2**31)


def numbers(value: object) -> tuple[float, ...] | None:
    """A sequence of finite numbers as a tuple, or None where it is something else."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, str) or not isinstance(value, Sequence) or not all(is_number(one) for one in value):
        return None
    return tuple(float(one) for one in value)


def plain(value: Any) -> Any:
    """A value as JSON knows it: arrays as lists, numpy's numbers as Python's, members of enumerations by name."""
    if isinstance(value, Mapping):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value] if isinstance(value, list) else tuple(plain(one) for one in value)
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return value.name if isinstance(value, enum.Enum) else value


class PlainSpec:
    """An environment whose `spec` holds plain values, so that it survives JSON whatever the options were given as.

    Gymnasium assigns `spec` from outside once the environment is made; only a property, where it has an attribute, sees that.
    """

    _spec: EnvSpec | None = None

    @property
    def spec(self) -> EnvSpec | None:
        """How Gymnasium made the environment."""
        return self._spec

    @spec.setter
    def spec(self, spec: EnvSpec | None) -> None:
        self._spec = copy.copy(spec)
        if self._spec is not None:
            self._spec.kwargs = plain(self._spec.kwargs)


def check_fields(config: Any) -> None:
    """Checks the fields of a config, a frozen dataclass with defaults, by the types of those; tuples and weights are completed.

    Counts have to be 1 or more, other numbers finite and not below 0, and tuples of numbers as long as the default. Mappings
    may hold the default's keys only, and keep its values elsewhere; a number below 0 has to have such a default, as the weight
    of a penalty. Tuples of names are the owner's business.

    Raises:
        OptionError: a field has a wrong value.
    """
    for field in dataclasses.fields(config):
        factory = field.default_factory
        default = field.default if factory is dataclasses.MISSING else factory()
        value = getattr(config, field.name)
        if isinstance(default, bool):
            _expect(isinstance(value, bool), field.name, value, "True or False")
        elif isinstance(default, int):
            _expect(is_count(value), field.name, value, "a whole number, 1 or more")
        elif isinstance(default, float):
            _expect(is_number(value) and value >= 0, field.name, value, "a finite number, 0 or more")
        elif isinstance(default, str):
            if not isinstance(value, str):
                raise OptionError(f"unknown {field.name} {value!r}: expected a name such as {default!r}")
        elif isinstance(default, tuple) and default and is_number(default[0]):
            given = numbers(value)
            _expect(given is not None and len(given) == len(default), field.name, value, f"{len(default)} finite numbers")
            object.__setattr__(config, field.name, given)
        elif isinstance(default, Mapping):
            penalties = [key for key in default if default[key] < 0]  # any other weight below 0 would pay for the opposite
            right = isinstance(value, Mapping) and all(
                key in default and is_number(number) and (number >= 0 or key in penalties) for key, number in value.items()
            )
            but = f" (any for {', '.join(penalties)})" if penalties else ""
            _expect(right, field.name, value, f"a mapping of {', '.join(default)} to finite numbers, 0 or more{but}")
            object.__setattr__(config, field.name, {**default, **value})


def _expect(right: bool, name: str, value: object, expected: str) -> None:
    if not right:
        raise OptionError(f"{name}={value!r}: expected {expected}")
