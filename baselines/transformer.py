"""The causal transformer actor: tokens of the robot and of the object in, mean actions out, 16 control steps of context.

After HOP (Singh et al., "Hand-Object Interaction Pretraining from Videos"): a GPT-2-like stack over interleaved tokens of
proprioception and object points, with an action read from the last token of every step. Three things differ, for the sake of
two cores and of exact updates. Attention is banded: in each layer a step sees itself and the 15 before it, so that keys and
values of past steps can be kept. Positions are learned biases of the distance in time (as in T5, Raffel et al. 2020), which
stay true while the band moves on. And rollout and update are one function: a rollout calls it with one step and what it
remembers, an update with a sequence and what was remembered before it.

    parts (B, T, ...) -> tokens (B, T, K, W) -> [banded attention, MLP] x layers -> last token (B, T, W) -> actions (B, T, A)
                                                      ^ memory: keys and values of the 15 steps before
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from baselines.tokens import ObservationTokens, Parts, as_parts, check_shapes
from dexvid_envs.errors import OptionError

#: Settings of `TransformerConfig` by size: `hop` as published (1.87 M parameters), `small` trains on two cores.
SIZES: dict[str, dict[str, int]] = {
    "small": {"width": 64, "layers": 2, "heads": 4, "num_points": 32},
    "hop": {"width": 192, "layers": 4, "heads": 4, "num_points": 100},
}
_LARGEST = 4096  # of any size in a config; keeps a hostile one from asking for all memory


@dataclasses.dataclass(frozen=True)
class TransformerConfig:
    """Shape of the actor; `SIZES` holds the two that are used.

    Attributes:
        observation: shape of every part of an observation that it reads, by key (see `baselines.tokens`).
        action_size: A.
        width: W of a token.
        layers: blocks of attention and MLP.
        heads: of the attention; they share the width.
        num_points: object points looked at.
        context_steps: C, control steps that attention reaches over, the present one among them.
        input_clip: normalised observations are clipped to this distance from 0, standard deviations.
    """

    observation: Mapping[str, tuple[int, ...]]
    action_size: int
    width: int = 64
    layers: int = 2
    heads: int = 4
    num_points: int = 32
    context_steps: int = 16
    input_clip: float = 8.0

    def __post_init__(self) -> None:
        check_shapes(self.observation)
        sizes = (self.action_size, self.width, self.layers, self.heads, self.num_points, self.context_steps)
        if not all(isinstance(size, int) and 1 <= size <= _LARGEST for size in sizes) or not self.input_clip > 0:
            raise OptionError(f"the sizes of the network have to be whole numbers from 1 to {_LARGEST}, got {self}")
        if self.width % self.heads:
            raise OptionError(f"width={self.width} has to be a multiple of heads={self.heads}")


class Memory(NamedTuple):
    """What is kept of the past steps of B sequences; never written to, so that an old one stays good.

    Attributes:
        keys_values: (layers, B, C - 1, K, 2 W) of the tokens of the last steps, oldest first.
        valid: (B, C - 1) bool, whether the step belongs to the episode that goes on.
    """

    keys_values: Tensor
    valid: Tensor

    def rows(self, rows: Tensor) -> Memory:
        """Of the sequences `rows` (R,)."""
        return Memory(self.keys_values[:, rows], self.valid[rows])


class TransformerActor(nn.Module):
    """Observations of sequences to mean actions; linear at the end, the environment clips to [-1, 1]."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        self.tokens = ObservationTokens(config.observation, config.width, config.num_points, config.input_clip)
        self.blocks = nn.ModuleList(
            Block(config.width, config.heads, self.tokens.count, config.context_steps, config.layers)
            for _ in range(config.layers)
        )
        self.norm = nn.LayerNorm(config.width)
        self.head = nn.Linear(config.width, config.action_size)
        nn.init.normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)

    @property
    def feature_size(self) -> int:
        """Size of what `features` gives."""
        return self.config.width

    def initial_memory(self, count: int) -> Memory:
        """Of `count` sequences that have not begun."""
        config, steps = self.config, self.config.context_steps - 1
        like = self.head.weight
        shape = (config.layers, count, steps, self.tokens.count, 2 * config.width)
        return Memory(like.new_zeros(shape), like.new_zeros((count, steps), dtype=torch.bool))

    def features(self, parts: Parts, starts: Tensor, memory: Memory | None = None) -> tuple[Tensor, Memory]:
        """What the action is read from, and the memory after the last step.

        Args:
            parts: observations (B, T, ...) by key.
            starts: (B, T) bool, true where a step is the first of an episode; nothing before it is seen from there on.
            memory: of the steps before; None where there are none.

        Returns:
            (B, T, W), and the memory for the steps that follow.
        """
        memory = memory or self.initial_memory(len(starts))
        band = Band(starts, memory.valid, self.config.context_steps, self.tokens.count)
        stream = self.tokens(parts)  # (B, T, K, W)
        kept = []
        for block, past in zip(self.blocks, memory.keys_values, strict=True):
            stream, latest = block(stream, past, band)
            kept.append(latest)
        return self.norm(stream[..., -1, :]), Memory(torch.stack(kept), band.still_valid)

    def act(self, parts: Parts, starts: Tensor, memory: Memory | None = None) -> tuple[Tensor, Memory]:
        """Mean actions (B, T, A) and the memory after the last step; arguments as for `features`."""
        features, memory = self.features(parts, starts, memory)
        return self.head(features), memory

    def fit(self, parts: Parts, std_floor: float) -> None:
        """Takes the normalisation from data (M, ...)."""
        self.tokens.fit(parts, std_floor)

    def deviations(self) -> dict[str, Tensor]:
        """Standard deviations of the parts in the training data."""
        return self.tokens.deviations()

    def policy(self) -> TransformerPolicy:
        """For rollouts outside of training."""
        return TransformerPolicy(self)


class Block(nn.Module):
    """Attention and MLP, each added to the stream from a normalised copy of it, as in GPT-2."""

    def __init__(self, width: int, heads: int, tokens: int, context_steps: int, layers: int) -> None:
        super().__init__()
        self.attention_norm, self.mlp_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = BandedAttention(width, heads, tokens, context_steps)
        back = nn.Linear(4 * width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(approximate="tanh"), back)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.5 / math.sqrt(width))
                nn.init.zeros_(module.bias)
        for into_stream in (self.attention.output, back):  # so that the stream's size does not grow with depth
            nn.init.normal_(into_stream.weight, std=0.5 / math.sqrt(2 * layers * width))

    def forward(self, stream: Tensor, past: Tensor, band: Band) -> tuple[Tensor, Tensor]:
        """Stream (B, T, K, W) to the same, and the keys and values to keep; `past` (B, C - 1, K, 2 W)."""
        attended, kept = self.attention(self.attention_norm(stream), past, band)
        stream = stream + attended
        return stream + self.mlp(self.mlp_norm(stream)), kept


class Band:
    """Which steps see which, for all layers: those of the same episode, up to C - 1 steps back.

    Sequences are cut into blocks of at most C steps, and a block attends to itself and to the C - 1 steps before it: for one
    step this is the cached rollout, for long sequences the cost grows with their length and not with its square.

    Attributes:
        blocks, block_steps: the T steps are padded at the end to blocks * block_steps.
        lag: (block_steps, C - 1 + block_steps) how many steps a block's key lies before its query; clamped to 0 .. C - 1.
        visible: (B, blocks, 1, block_steps * K, (C - 1 + block_steps) * K) bool.
        still_valid: (B, C - 1) bool, which of the last steps belong to the episode that goes on after the sequence.
    """

    def __init__(self, starts: Tensor, valid: Tensor, context: int, tokens: int) -> None:
        count, steps = starts.shape
        self.block_steps = min(steps, context)
        self.blocks = -(-steps // self.block_steps)
        self.padding = self.blocks * self.block_steps - steps
        episode = starts.cumsum(dim=1)  # (B, T)
        past_episode = torch.where(valid, 0, -1)
        all_episodes = torch.cat([past_episode, episode], dim=1)  # (B, C - 1 + T)
        self.still_valid = all_episodes[:, steps:] == episode[:, -1:]
        query = nn.functional.pad(episode, (0, self.padding)).view(count, self.blocks, self.block_steps, 1, 1, 1)
        key = self.windows(nn.functional.pad(all_episodes, (0, self.padding)))[:, :, None, None, :, None]
        place = torch.arange(context - 1 + self.block_steps)
        lag = torch.arange(context - 1, context - 1 + self.block_steps)[:, None] - place  # (b, C - 1 + b)
        order = torch.arange(tokens)
        earlier = (lag[:, None, :, None] > 0) | (order[:, None, None] >= order)  # (b, K, C - 1 + b, K), within a step in order
        in_band = ((lag >= 0) & (lag < context))[:, None, :, None] & earlier
        visible = (query == key) & in_band  # (B, blocks, b, K, C - 1 + b, K)
        self.visible = visible.flatten(4, 5).flatten(2, 3)[:, :, None]
        self.lag = lag.clamp(0, context - 1)

    def windows(self, padded: Tensor) -> Tensor:
        """(B, C - 1 + blocks * b, ...) to the (overlapping) stretch of every block, (B, blocks, C - 1 + b, ...)."""
        stretch = padded.shape[1] - (self.blocks - 1) * self.block_steps
        begins = [index * self.block_steps for index in range(self.blocks)]
        return torch.stack([padded[:, begin : begin + stretch] for begin in begins], dim=1)


class BandedAttention(nn.Module):
    """Multi-head attention within a `Band`, with a learned bias for every distance in time and pair of token kinds."""

    def __init__(self, width: int, heads: int, tokens: int, context_steps: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key_value = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.output = nn.Linear(width, width)
        self.bias = nn.Parameter(torch.empty(context_steps, heads, tokens, tokens))
        if not self.bias.is_meta:  # at first every head fades with distance, at a pace of its own (ALiBi, Press et al. 2022)
            fading = -torch.arange(context_steps)[:, None] * 0.5 ** torch.arange(heads)  # (C, heads)
            nn.init.zeros_(self.bias).data += fading[..., None, None]

    def forward(self, inputs: Tensor, past: Tensor, band: Band) -> tuple[Tensor, Tensor]:
        """Inputs (B, T, K, W) to outputs of that shape, and the last C - 1 steps of [past, keys and values]."""
        count, steps, tokens, width = inputs.shape
        keys_values = torch.cat([past, self.key_value(inputs)], dim=1)  # (B, C - 1 + T, K, 2 W)
        kept = keys_values[:, steps:]
        pad = (0, 0, 0, 0, 0, band.padding)
        stretches = band.windows(nn.functional.pad(keys_values, pad))  # (B, blocks, C - 1 + b, K, 2 W)
        stretches = stretches.unflatten(-1, (2, self.heads, -1)).flatten(2, 3)  # (B, blocks, keys, 2, heads, D)
        key, value = stretches.permute(3, 0, 1, 4, 2, 5)  # (B, blocks, heads, keys, D) each
        query = nn.functional.pad(self.query(inputs), pad).view(count, band.blocks, -1, self.heads, width // self.heads)
        query = query.transpose(2, 3)  # (B, blocks, heads, b K, D)
        scores = query @ key.transpose(-1, -2) / math.sqrt(width // self.heads)
        bias = self.bias[band.lag].permute(2, 0, 3, 1, 4)  # (heads, b, K, C - 1 + b, K)
        scores = scores + bias.flatten(3, 4).flatten(1, 2)
        attended = scores.masked_fill(~band.visible, -torch.inf).softmax(dim=-1) @ value
        attended = attended.transpose(2, 3).reshape(count, -1, tokens, width)[:, :steps]
        return self.output(attended), kept


class TransformerPolicy:
    """Rollouts of an actor, which remembers the last steps of each row.

    It computes in double precision, as `baselines.mlp.MlpPolicy` does and for the same reason.
    """

    def __init__(self, actor: Any) -> None:
        self._actor = copy.deepcopy(actor).double().eval().requires_grad_(False)
        self._shapes = actor.config.observation
        self._memory: Any = None
        self._starts = np.zeros(0, dtype=bool)

    def reset(self, mask: NDArray[np.bool_]) -> None:
        """See `Policy`."""
        known = len(mask) == len(self._starts)
        self._starts = np.logical_or(self._starts, mask) if known else np.array(mask, dtype=bool)
        self._memory = self._memory if known else None

    def parts(self, observation: Any) -> dict[str, Tensor]:
        """What the actor reads of it, one step (N, 1, ...) in double precision."""
        parts = as_parts(observation, self._shapes)
        return {name: (part if part.dtype == torch.uint8 else part.double())[:, None] for name, part in parts.items()}

    def act(self, observation: Any) -> NDArray[np.float32]:
        """See `Policy`; the observation is an array (N, D) or a mapping of such by key; actions are clipped to [-1, 1]."""
        parts = self.parts(observation)
        count = len(next(iter(parts.values())))
        if count != len(self._starts):
            self.reset(np.ones(count, dtype=bool))
        with torch.inference_mode():
            actions, self._memory = self._actor.act(parts, torch.from_numpy(self._starts)[:, None], self._memory)
        self._starts = np.zeros(count, dtype=bool)
        return actions[:, 0].clamp(-1.0, 1.0).float().numpy()
