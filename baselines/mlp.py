"""The multilayer perceptron actor with its input normalisation, and its `Policy` for rollouts."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dexvid_envs.errors import OptionError
from dexvid_envs.machine import whole_cores


@dataclasses.dataclass(frozen=True)
class MlpConfig:
    """Shape of the actor.

    Attributes:
        observation_size: D of the flat state observation.
        action_size: A.
        hidden: widths of the hidden layers.
        input_clip: normalised observations are clipped to this distance from 0, standard deviations.
    """

    observation_size: int
    action_size: int
    hidden: tuple[int, ...] = (512, 512, 256)
    input_clip: float = 8.0

    def __post_init__(self) -> None:
        if min(self.observation_size, self.action_size, *self.hidden) < 1 or not self.input_clip > 0:
            raise OptionError(f"all sizes of the network and its input_clip have to be positive, got {self}")

    @property
    def observation(self) -> dict[str, tuple[int, ...]]:
        """Shape of what it reads, by key: the flat observation."""
        return {"state": (self.observation_size,)}


class Normalizer(nn.Module):
    """clip((observation - mean) / std), with the figures of the training data kept as buffers."""

    mean: Tensor
    std: Tensor

    def __init__(self, size: int, clip: float) -> None:
        super().__init__()
        self.clip = clip
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("std", torch.ones(size))

    def fit(self, observations: Tensor, std_floor: float) -> None:
        """Takes mean and standard deviation (at least `std_floor`, in the observation's own unit) from (M, D) data."""
        self.mean.copy_(observations.double().mean(dim=0))
        self.std.copy_(observations.double().std(dim=0, unbiased=False).clamp_min(std_floor))

    def forward(self, observation: Tensor) -> Tensor:
        """(..., D) to (..., D)."""
        return ((observation - self.mean) / self.std).clamp(-self.clip, self.clip)


def make_layers(sizes: Sequence[int]) -> nn.Sequential:
    """Linear layers of the given sizes with ELU between them."""
    layers: list[nn.Module] = []
    for index, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
        layers += [nn.ELU()] * (index > 0) + [nn.Linear(inputs, outputs)]
    return nn.Sequential(*layers)


class MlpActor(nn.Module):
    """Observation (N, D) to the mean action (N, A); linear at the end, the environment clips to [-1, 1]."""

    def __init__(self, config: MlpConfig) -> None:
        super().__init__()
        self.config = config
        self.normalizer = Normalizer(config.observation_size, config.input_clip)
        self.layers = make_layers((config.observation_size, *config.hidden, config.action_size))

    def forward(self, observation: Tensor) -> Tensor:
        """See the class."""
        return self.layers(self.normalizer(observation))

    # As an `Actor` (see `baselines.networks`); it has no memory, so that sequences are but batches.

    @property
    def feature_size(self) -> int:
        """Size of what `features` gives."""
        return self.config.observation_size

    def features(self, parts: Mapping[str, Tensor], starts: Tensor, memory: Any = None) -> tuple[Tensor, None]:
        """The normalised observations, of the shape (..., D) that `parts["state"]` has; `starts` does not matter."""
        return self.normalizer(parts["state"]), None

    def head(self, features: Tensor) -> Tensor:
        """Mean actions (..., A) from `features` (..., D)."""
        return self.layers(features)

    def act(self, parts: Mapping[str, Tensor], starts: Tensor, memory: Any = None) -> tuple[Tensor, None]:
        """Mean actions (..., A) of the observations `parts["state"]` (..., D)."""
        return self(parts["state"]), None

    def initial_memory(self, count: int) -> None:
        """Nothing is remembered."""

    def fit(self, parts: Mapping[str, Tensor], std_floor: float) -> None:
        """Takes the normalisation from data (M, D)."""
        self.normalizer.fit(parts["state"], std_floor)

    def deviations(self) -> dict[str, Tensor]:
        """Standard deviation (D,) of the observation in the training data, in its units."""
        return {"state": self.normalizer.std}

    def policy(self) -> MlpPolicy:
        """For rollouts outside of training."""
        return MlpPolicy(self)


class MlpPolicy:
    """Rollouts of an actor, memoryless.

    It computes in double precision and rounds the action to float32, so that an action does not depend on the size of the batch
    it was computed in (the roundings of a matrix product do): evaluations agree for any number of environments.
    """

    def __init__(self, actor: MlpActor) -> None:
        self._actor = copy.deepcopy(actor).double().eval().requires_grad_(False)

    def reset(self, mask: NDArray[np.bool_]) -> None:
        """Nothing to forget."""

    def act(self, observation: Any) -> NDArray[np.float32]:
        """See `Policy`; actions are clipped to [-1, 1]."""
        if isinstance(observation, Mapping):  # of an environment that adds the privileged vector
            observation = observation["state"]
        with torch.inference_mode():
            actions = self._actor(torch.from_numpy(np.asarray(observation, dtype=np.float64)))
        return actions.clamp(-1.0, 1.0).float().numpy()


def faster_thread_count(gradient_step: Callable[[], object]) -> int:
    """One thread or all cores, whichever does the step faster just now.

    On a busy machine several threads wait for each other and can be many times slower than one.

    Args:
        gradient_step: forward and backward pass of a training batch; called some ten times.
    """
    seconds: dict[int, float] = {}
    for count in {1, whole_cores()}:
        with torch_threads(count):
            times = []
            for _ in range(5):
                started = time.perf_counter()
                gradient_step()
                times.append(time.perf_counter() - started)
        seconds[count] = float(np.median(times))
    return min(seconds, key=lambda count: seconds[count])


@contextlib.contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Runs torch with `count` threads inside the block; one beside a busy physics pool, all cores for updates."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
