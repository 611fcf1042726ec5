"""What hand, object and goal are to each other, in frames that move with them.

The `state` vector gives everything in the world. Where an object stands in any yaw, a learner has to find out that one
and the same grasp looks different from every side; seen from the palm it looks alike.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from dexvid_envs.observations import ObservationField, SourceVector

FloatArray = NDArray[np.float64]
_FARTHEST_M = 3.0


@dataclasses.dataclass(frozen=True)
class RelativePart:
    """One named part.

    Attributes:
        name, size: its name and number of values.
        bound: values outside of -bound to bound are clipped.
        meaning: what it is, with unit and frame.
    """

    name: str
    size: int
    bound: float
    meaning: str
    role: ClassVar[str] = "relative"

    @property
    def low(self) -> float:
        """Least value."""
        return -self.bound

    @property
    def high(self) -> float:
        """Largest value."""
        return self.bound


class RelativeState:
    """Poses relative to palm and object as one float32 vector.

    Products are sums of elementwise ones, so that a row does not depend on how many others are computed beside it.

    Args:
        fields: of the `state` observation, among them `palm_position`, `palm_axes` and `fingertip_position`; a goal that is a
            point has the role "goal" and a name that ends in `_position`.
        sources: holds them and the object's pose.
        body_id: the object's body.

    Attributes:
        parts: in the order of the vector.
        space: of one environment.
    """

    def __init__(self, fields: Sequence[ObservationField], sources: SourceVector, body_id: int) -> None:
        named = {field.name: sources.places(field.of) for field in fields}
        self._palm, self._tips = named["palm_position"], named["fingertip_position"]
        self._palm_x, self._palm_z = named["palm_axes"][:3], named["palm_axes"][3:]
        self._position = sources.columns("xpos", 3 * body_id, 3)
        self._rotation = sources.columns("xmat", 9 * body_id, 9)
        goals = [field.name for field in fields if field.role == "goal" and field.name.endswith("_position")]
        self._goals = [named[name] for name in goals]
        tips = len(self._tips)
        self.parts = (
            RelativePart("object_in_palm", 3, _FARTHEST_M, "the object's origin in the palm's frame, m"),
            RelativePart("object_axes_in_palm", 6, 1.0, "the object's z and x axes in the palm's frame"),
            RelativePart("up_in_palm", 3, 1.0, "the world's z axis in the palm's frame"),
            RelativePart(
                "fingertips_in_palm", tips, _FARTHEST_M, "fingertips from the object's origin, in the palm's frame, m"
            ),
            RelativePart("fingertips_in_object", tips, _FARTHEST_M, "fingertips in the object's frame, m"),
            RelativePart(
                "object_line", 2, 1.0, "cosine and sine of twice the yaw of the object's x axis: alike after half a turn"
            ),
            *(
                RelativePart(
                    f"{name}_in_palm",
                    3,
                    _FARTHEST_M,
                    "from the object's origin, in the palm's frame, m; a goal on the table is taken at the object's height",
                )
                for name in goals
            ),
        )
        bounds = np.concatenate([np.full(part.size, part.bound) for part in self.parts])
        self._bounds = bounds
        self.space = spaces.Box((-bounds).astype(np.float32), bounds.astype(np.float32), dtype=np.float32)

    def __call__(self, values: FloatArray) -> NDArray[np.float32]:
        """(N, R) from source vectors (N, F)."""
        count = len(values)
        x, z = values[:, self._palm_x], values[:, self._palm_z]
        palm = np.stack([x, _cross(z, x), z], axis=1)  # (N, 3, 3), rows are the palm's axes
        axes = values[:, self._rotation].reshape(count, 3, 3).transpose(0, 2, 1)  # rows are the object's axes
        origin = values[:, self._position]
        tips = values[:, self._tips].reshape(count, -1, 3) - origin[:, None]
        line_x, line_y = axes[:, 0, 0], axes[:, 0, 1]
        parts = [
            _turned(palm, (origin - values[:, self._palm])[:, None]),
            _turned(palm, axes[:, [2, 0]]),
            palm[..., 2],
            _turned(palm, tips),
            _turned(axes, tips),
            np.stack([line_x * line_x - line_y * line_y, 2.0 * line_x * line_y], axis=-1),
        ]
        for places in self._goals:
            goal = origin.copy()
            goal[:, : len(places)] = values[:, places]
            parts.append(_turned(palm, (goal - origin)[:, None]))
        vector = np.concatenate([part.reshape(count, -1) for part in parts], axis=-1)
        return np.maximum(np.minimum(vector, self._bounds), -self._bounds).astype(np.float32)


def _turned(axes: FloatArray, vectors: FloatArray) -> FloatArray:
    """Vectors (N, K, 3) in a frame whose axes are the rows of (N, 3, 3)."""
    first, second, third = (vectors[..., None, axis] * axes[:, None, :, axis] for axis in range(3))
    return first + second + third


def _cross(first: FloatArray, second: FloatArray) -> FloatArray:
    """(N, 3) products of vectors (N, 3)."""
    a, b = first.T, second.T
    return np.stack([a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]], axis=-1)
