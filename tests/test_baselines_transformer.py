"""The transformer actor: one function in rollout and update, the band, episode bounds, every kind of observation."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

from baselines.tokens import part_shapes
from baselines.transformer import SIZES, Band, BandedAttention, TransformerActor, TransformerConfig, TransformerPolicy
from dexvid_envs.errors import OptionError

STATE = {"state": (7,)}
POINTS = {"goal": (3,), "points": (10, 3), "proprioception": (5,)}
KEYPOINTS = {"goal": (3,), "keypoints": (6, 3), "proprioception": (5,)}
PICTURES = {"depth_front": (32, 48, 1), "goal": (3,), "proprioception": (5,), "rgb_front": (32, 48, 3)}
OBSERVATIONS = {"state": STATE, "points": POINTS, "keypoints": KEYPOINTS, "pictures": PICTURES}


def make_actor(shapes=STATE, context_steps: int = 4, **changes) -> TransformerActor:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        config = TransformerConfig(
            shapes, 3, **{"width": 16, "heads": 2, "num_points": 6} | changes, context_steps=context_steps
        )
        actor = TransformerActor(config)
        with torch.no_grad():
            for name, parameter in actor.named_parameters():
                if name.endswith("bias"):  # zero at first, the biases of the band among them
                    parameter.normal_(std=0.3)
            actor.head.weight.normal_(std=0.1)
    return actor


def make_parts(shapes, count: int, steps: int, seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    parts = {name: torch.randn((count, steps, *shape), generator=generator) for name, shape in shapes.items()}
    return {
        name: (part * 50 + 128).clamp(0, 255).to(torch.uint8) if name.startswith("rgb") else part
        for name, part in parts.items()
    }


def some_steps(parts, begin: int, end: int):
    return {name: part[:, begin:end] for name, part in parts.items()}


@settings(max_examples=40, deadline=None)
@given(
    kind=st.sampled_from(["state", "points"]),
    count=st.integers(1, 3),
    pieces=st.lists(st.integers(1, 11), min_size=1, max_size=5),
    context=st.integers(1, 5),
    share=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    seed=st.integers(0, 100),
)
def test_pieces_with_memory_equal_the_whole_sequence(kind, count, pieces, context, share, seed):
    actor, shapes, steps = make_actor(OBSERVATIONS[kind], context), OBSERVATIONS[kind], sum(pieces)
    parts = make_parts(shapes, count, steps, seed)
    starts = torch.rand((count, steps), generator=torch.Generator().manual_seed(seed)) < share
    with torch.no_grad():
        whole, last = actor.act(parts, starts)
        for cuts in (pieces, [1] * steps):
            memory, outputs, begin = None, [], 0
            for length in cuts:
                end = begin + length
                actions, memory = actor.act(some_steps(parts, begin, end), starts[:, begin:end], memory)
                outputs.append(actions)
                begin = end
            torch.testing.assert_close(torch.cat(outputs, dim=1), whole, rtol=0, atol=1e-5)
            assert memory is not None
            assert torch.equal(memory.valid, last.valid)
        row = seed % count  # alone in the batch
        alone, _ = actor.act({name: part[row : row + 1] for name, part in parts.items()}, starts[row : row + 1])
        torch.testing.assert_close(alone[0], whole[row], rtol=0, atol=1e-5)


@settings(max_examples=30, deadline=None)
@given(begin=st.integers(0, 12), seed=st.integers(0, 100))
def test_nothing_passes_an_episode_bound_or_comes_from_the_future(begin, seed):
    actor, steps = make_actor(POINTS), 13
    parts, starts = make_parts(POINTS, 1, steps, seed), torch.zeros((1, steps), dtype=torch.bool)
    starts[0, begin] = True
    with torch.no_grad():
        whole, _ = actor.act(parts, starts)
        alone, _ = actor.act(some_steps(parts, begin, steps), starts[:, begin:])
        torch.testing.assert_close(whole[:, begin:], alone, rtol=0, atol=1e-5)
        before, _ = actor.act(some_steps(parts, 0, begin + 1), starts[:, : begin + 1])
        torch.testing.assert_close(whole[:, : begin + 1], before, rtol=0, atol=1e-5)


@pytest.mark.parametrize("layers", [1, 2])
def test_attention_reaches_over_the_context_in_every_layer(layers):
    actor, context = make_actor(context_steps=4, layers=layers), 4
    reach = layers * (context - 1)
    parts, starts = make_parts(STATE, 1, 20), torch.zeros((1, 20), dtype=torch.bool)
    state = parts["state"].requires_grad_(True)
    actor.act({"state": state}, starts)[0][0, 15].sum().backward()
    assert state.grad is not None
    seen = state.grad[0].abs().sum(dim=-1) > 0
    assert seen.nonzero().flatten().tolist() == list(range(15 - reach, 16))


def test_banded_attention_is_attention_with_a_mask():
    context, tokens, heads, width, steps = 3, 2, 2, 8, 8
    torch.manual_seed(0)
    attention = BandedAttention(width, heads, tokens, context)
    torch.nn.init.normal_(attention.bias)
    inputs, starts = torch.randn(2, steps, tokens, width), torch.zeros((2, steps), dtype=torch.bool)
    starts[1, 4] = True
    past, valid = torch.zeros(2, context - 1, tokens, 2 * width), torch.zeros((2, context - 1), dtype=torch.bool)
    banded, _ = attention(inputs, past, Band(starts, valid, context, tokens))

    flat = inputs.flatten(1, 2)  # (B, T K, W), token by token, by the book
    query, (key, value) = attention.query(flat), attention.key_value(flat).chunk(2, dim=-1)
    outputs = []
    for row in range(2):
        episode = starts[row].cumsum(0)
        for q in range(steps * tokens):
            now, kind = divmod(q, tokens)
            heard = []
            for head in range(heads):
                part = slice(head * width // heads, (head + 1) * width // heads)
                scores, values = [], []
                for k in range(q + 1):
                    then, other = divmod(k, tokens)
                    if now - then < context and episode[now] == episode[then]:
                        product = query[row, q, part] @ key[row, k, part] / math.sqrt(width / heads)
                        scores.append(product + attention.bias[now - then, head, kind, other])
                        values.append(value[row, k, part])
                heard.append(torch.stack(scores).softmax(0) @ torch.stack(values))
            outputs.append(attention.output(torch.cat(heard)))
    torch.testing.assert_close(banded, torch.stack(outputs).view(2, steps, tokens, width), rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", list(OBSERVATIONS))
def test_every_part_of_an_observation_moves_the_action(kind):
    shapes = OBSERVATIONS[kind]
    actor, parts, starts = make_actor(shapes), make_parts(shapes, 2, 3), torch.zeros((2, 3), dtype=torch.bool)
    actor.fit({name: part.flatten(0, 1) for name, part in parts.items()}, 0.01)
    with torch.no_grad():
        actions, _ = actor.act(parts, starts)
        assert actions.shape == (2, 3, 3)
        for name, part in parts.items():
            changed = parts | {name: 255 - part if part.dtype == torch.uint8 else part + 1.0}
            assert (actor.act(changed, starts)[0] - actions).abs().min() > 0, name


def test_order_of_object_points_does_not_matter():
    actor, parts, starts = make_actor(POINTS, num_points=10), make_parts(POINTS, 2, 3), torch.zeros((2, 3), dtype=torch.bool)
    shuffled = parts | {"points": parts["points"][:, :, torch.randperm(10)]}
    with torch.no_grad():
        torch.testing.assert_close(actor.act(parts, starts)[0], actor.act(shuffled, starts)[0], rtol=0, atol=1e-6)


def test_sizes():
    shapes = {"proprioception": (90,), "goal": (2,), "points": (100, 3)}
    counts = {
        size: sum(one.numel() for one in TransformerActor(TransformerConfig(shapes, 23, **settings)).parameters())
        for size, settings in SIZES.items()
    }
    assert counts["hop"] == pytest.approx(1.87e6, rel=0.01)  # as published
    assert counts["small"] < 150_000


def test_policy_forgets_the_rows_that_start_anew_and_treats_rows_apart():
    actor = make_actor()
    observations = np.random.default_rng(0).normal(size=(10, 5, 7)).astype(np.float32)  # (T, N, D)
    together = TransformerPolicy(actor)
    together.reset(np.ones(5, dtype=bool))
    actions = []
    for step in range(10):
        together.reset(np.arange(5) == step)  # row i starts anew at step i
        actions.append(together.act(observations[step]))
    for row in range(5):
        alone = TransformerPolicy(actor)
        late = [alone.act(observations[step, row : row + 1]) for step in range(row, 10)]
        np.testing.assert_array_equal(np.stack(actions)[row:, row], np.concatenate(late))
    first = TransformerPolicy(actor).act(observations[0])
    assert np.abs(together.act(observations[0]) - first).max() > 1e-3  # it remembers


def test_observations_by_space():
    box = spaces.Box(-1, 1, (4,))
    assert part_shapes(box) == {"state": (4,)}
    cloud = {"proprioception": box, "points": spaces.Box(-1, 1, (9, 3)), "visible": spaces.MultiBinary(9), "privileged": box}
    assert part_shapes(spaces.Dict(cloud)) == {"points": (9, 3), "proprioception": (4,)}
    with pytest.raises(OptionError, match="cannot read the observation 'sound' of shape"):
        part_shapes(spaces.Dict({"proprioception": box, "sound": box}))
    with pytest.raises(OptionError, match="expected a vector"):
        part_shapes(spaces.Dict({"points": spaces.Box(-1, 1, (9, 3))}))


@pytest.mark.parametrize("change", [{"width": 15}, {"layers": 0}, {"width": 10**9}, {"heads": 2.0}, {"input_clip": 0.0}])
def test_impossible_settings(change):
    with pytest.raises(OptionError, match=r"width|sizes"):
        TransformerConfig(STATE, 3, **{"heads": 2, "width": 16} | change)
