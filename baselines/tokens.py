"""From one environment's observation to the tokens of one control step: vectors, object points, key points or pictures.

The keys of the observation alone decide what tokens there are. The critic's
`privileged` vector and the mask `visible` (unseen points repeat seen ones, which a maximum does not notice) are never read.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from baselines.mlp import Normalizer
from dexvid_envs.errors import OptionError

#: Of the actor's observation by key, batched (B, T, ...); a flat `state` observation stands under its own name.
Parts = Mapping[str, Tensor]

VECTOR_KEYS = ("state", "proprioception", "goal")
UNREAD_KEYS = ("privileged", "visible")
_FAR_M = 2.0  # a depth that becomes about 1 for the network, m


def part_shapes(space: spaces.Space[Any]) -> dict[str, tuple[int, ...]]:
    """Shape of every part that an actor reads, by key, of one environment's observation space.

    Raises:
        OptionError: the space is no flat Box and no Dict of known parts.
    """
    parts = space.spaces if isinstance(space, spaces.Dict) else {"state": space}
    shapes = {name: tuple(part.shape or ()) for name, part in sorted(parts.items()) if name not in UNREAD_KEYS}
    check_shapes(shapes)
    return shapes


def check_shapes(shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Refuses an observation that no tokens are known for.

    Raises:
        OptionError: a key or the rank of a part is not known, or there is no vector.
    """
    for name, shape in shapes.items():
        rank = 1 if name in VECTOR_KEYS else 2 if name in ("points", "keypoints") else 3
        known = rank < 3 or name.startswith(("rgb_", "depth_"))
        if not known or len(shape) != rank or min(shape) < 1 or math.prod(shape) > 1 << 24:
            raise OptionError(
                f"cannot read the observation {name!r} of shape {shape}; expected a flat vector, or a Dict of proprioception, "
                "goal, points (P, 3), keypoints (K, 3), rgb_<camera> and depth_<camera> (H, W, C)"
            )
    if not any(name in VECTOR_KEYS for name in shapes):
        raise OptionError(f"the observation holds {sorted(shapes)}; expected a vector (state or proprioception) among them")


def as_parts(observation: Any, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """The parts that an actor reads, as tensors that share the arrays' memory where they can."""
    if not isinstance(observation, Mapping):
        observation = {"state": observation}
    return {name: torch.as_tensor(np.asarray(observation[name])) for name in shapes}


class ObservationTokens(nn.Module):
    """Tokens (B, T, K, width) of observations: first all vectors as one, then object points, key points, one for each camera.

    Args:
        shapes: of the parts of one observation, by key.
        width: of a token.
        num_points: object points looked at, evenly chosen from all; points are encoded on their own (3-width-width-width, ELU)
            and pooled by their maximum.
        clip: normalised numbers are clipped to this distance from 0.
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], width: int, num_points: int, clip: float) -> None:
        super().__init__()
        self.vector_keys = [name for name in VECTOR_KEYS if name in shapes]
        self.cameras = sorted(name.removeprefix("rgb_") for name in shapes if name.startswith("rgb_"))
        self.sizes = {name: shapes[name][0] for name in self.vector_keys}
        vector_size = sum(self.sizes.values())
        self.vector_norm = Normalizer(vector_size, clip)
        self.vector_token = nn.Linear(vector_size, width)
        self.points = self.keypoints = None
        if "points" in shapes:
            available = shapes["points"][0]
            chosen = np.linspace(0, available - 1, min(num_points, available)).round()
            self.chosen_points = chosen.astype(int).tolist()
            self.points_norm = Normalizer(3, clip)
            self.points = nn.Sequential(
                nn.Linear(3, width), nn.ELU(), nn.Linear(width, width), nn.ELU(), nn.Linear(width, width)
            )
        if "keypoints" in shapes:
            size = math.prod(shapes["keypoints"])
            self.keypoints_norm = Normalizer(size, clip)
            self.keypoints = nn.Linear(size, width)
        self.pictures = nn.ModuleDict({name: PictureEncoder(width) for name in self.cameras})
        self.count = 1 + (self.points is not None) + (self.keypoints is not None) + len(self.cameras)
        self.kind = nn.Parameter(nn.init.normal_(torch.empty(self.count, width), std=0.02))  # tells the tokens of a step apart

    def forward(self, parts: Parts) -> Tensor:
        """See the class."""
        tokens = [self.vector_token(self.vector_norm(self._vector(parts)))]
        if self.points is not None:
            points = self.points_norm(parts["points"][..., self.chosen_points, :])  # (B, T, P, 3)
            tokens.append(self.points(points).amax(dim=-2))
        if self.keypoints is not None:
            tokens.append(self.keypoints(self.keypoints_norm(parts["keypoints"].flatten(-2))))
        for name in self.cameras:
            tokens.append(self.pictures[name](parts[f"rgb_{name}"], parts[f"depth_{name}"]))
        return torch.stack(tokens, dim=-2) + self.kind

    def fit(self, parts: Parts, std_floor: float) -> None:
        """Takes the normalisation from data (M, ...); `std_floor` in the parts' own units (m, rad, m/s, rad/s)."""
        self.vector_norm.fit(self._vector(parts), std_floor)
        if self.points is not None:
            self.points_norm.fit(parts["points"].flatten(0, -2), std_floor)
        if self.keypoints is not None:
            self.keypoints_norm.fit(parts["keypoints"].flatten(-2), std_floor)

    def deviations(self) -> dict[str, Tensor]:
        """Standard deviation in the training data of every part but the pictures, in a shape that broadcasts with the part."""
        sizes = [self.sizes[name] for name in self.vector_keys]
        deviations = dict(zip(self.vector_keys, self.vector_norm.std.split(sizes), strict=True))
        if self.points is not None:
            deviations["points"] = self.points_norm.std
        if self.keypoints is not None:
            deviations["keypoints"] = self.keypoints_norm.std.view(-1, 3)
        return deviations

    def _vector(self, parts: Parts) -> Tensor:
        return torch.cat([parts[name] for name in self.vector_keys], dim=-1)


class PictureEncoder(nn.Module):
    """One camera's colours (..., H, W, 3) uint8 and depth (..., H, W, 1) m to a token (..., width), by three convolutions."""

    _GRID = 3  # the last feature map is averaged to so many cells a side

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(4, 16, kernel_size=8, stride=4, padding=2),
            nn.ELU(),
            nn.Conv2d(16, 32, kernel_size=4, stride=2, padding=1),
            nn.ELU(),
            nn.Conv2d(32, 32, kernel_size=3, stride=2, padding=1),
            nn.ELU(),
            nn.AdaptiveAvgPool2d(self._GRID),
            nn.Flatten(),
            nn.Linear(32 * self._GRID**2, width),
        )

    def forward(self, colours: Tensor, depth_m: Tensor) -> Tensor:
        """See the class."""
        near = depth_m / _FAR_M - 0.5
        picture = torch.cat([colours.to(near.dtype) / 255.0 - 0.5, near], dim=-1)
        flat = picture.flatten(0, -4).movedim(-1, 1)  # (M, 4, H, W)
        return self.layers(flat).unflatten(0, picture.shape[:-3])
