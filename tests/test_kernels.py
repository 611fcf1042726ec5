"""The compiled loops compute what numpy computes, and rows do not know of each other."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.transform import Rotation

from dexvid_envs import kernels
from dexvid_envs.core import EnvironmentCore
from dexvid_envs.simulation import SingleSimulation
from dexvid_envs.tasks.bottle_pick_place import BottlePickPlace

_ROWS = st.integers(1, 5)
_NUMBERS = st.floats(-10.0, 10.0)


@given(st.integers(0, 2**32 - 1), _ROWS)
def test_box_distances(seed: int, rows: int) -> None:
    rng = np.random.default_rng(seed)
    sites, ids = rng.normal(size=(rows, 9, 3)), np.array([2, 0, 8, 5, 7])
    centre, axes, half = rng.normal(size=(rows, 3)), Rotation.random(rows, rng).as_matrix(), rng.uniform(0, 1, (rows, 5, 3))
    half[0, 1] = 0.0  # a point
    along = (sites[:, ids] - centre[:, None]) @ axes
    expected = np.linalg.norm(np.maximum(np.abs(along) - half, 0.0), axis=-1)
    found = kernels.box_distances(sites, ids, centre, axes, half)
    assert np.allclose(found, expected, rtol=0, atol=1e-12)
    for row in range(rows):  # alone, a row rounds as among others
        alone = slice(row, row + 1)
        assert np.array_equal(kernels.box_distances(sites[alone], ids, centre[alone], axes[alone], half[alone]), found[alone])


def test_the_inside_of_a_box_is_at_no_distance() -> None:
    half, axes = np.full((1, 1, 3), 0.1), np.eye(3)[None]
    for place, distance in ((0.0, 0.0), (0.09, 0.0), (0.13, 0.03)):
        site = np.array([[[place, 0.0, 0.0]]])
        assert kernels.box_distances(site, np.array([0]), np.zeros((1, 3)), axes, half)[0, 0] == pytest.approx(distance)


@given(arrays(np.float64, st.tuples(_ROWS, st.just(6)), elements=_NUMBERS))
def test_gather_equals_indexing(values: np.ndarray) -> None:
    plus, minus = np.array([0, 3, 3, 5]), np.array([1, 2, 5, 5])
    low, high = np.array([-1.0, -2.0, -20.0, 0.0]), np.array([1.0, 2.0, 20.0, 0.0])
    expected = np.clip(values[:, plus] - values[:, minus], low, high).astype(np.float32)
    found = kernels.gather(values, plus, minus, low, high)
    assert found.dtype == np.float32
    assert np.array_equal(found, expected)


@given(arrays(st.sampled_from([np.float32, np.float64]), st.tuples(_ROWS, st.just(3)), elements=st.floats(width=32)))
def test_only_finite_actions_pass(actions: np.ndarray) -> None:
    clipped = np.empty(actions.shape)
    finite = kernels.clip_finite(actions, clipped)
    assert finite == np.isfinite(actions).all()
    if finite:
        assert np.array_equal(clipped, np.clip(actions.astype(np.float64), -1.0, 1.0))


@given(arrays(np.float64, st.tuples(_ROWS, st.just(3)), elements=st.floats()))
def test_instability_is_seen_wherever_it_is(values: np.ndarray) -> None:
    assert kernels.all_smaller(values, 1e10) == bool((np.abs(values) < 1e10).all())


@given(arrays(np.float64, st.tuples(_ROWS, st.just(3)), elements=_NUMBERS))
def test_all_within(points: np.ndarray) -> None:
    low, high = np.array([-8.0, -np.inf, -9.5]), np.array([8.0, 9.0, np.inf])
    assert kernels.all_within(points, low, high) == bool(((points >= low) & (points <= high)).all())


@given(arrays(np.float64, st.tuples(_ROWS, st.just(4)), elements=_NUMBERS))
def test_shifted_within(start: np.ndarray) -> None:
    scale, low, high = np.array([0.1, 0.2, 1.0, 0.0]), np.full(4, -3.0), np.full(4, 5.0)
    shift = start[:, ::-1].copy()
    assert np.allclose(kernels.shifted_within(start, shift, scale, low, high), np.clip(start + scale * shift, low, high))


def test_counters_grow_or_begin_anew() -> None:
    before = np.array([0, 4, 4])
    assert kernels.counted(before, np.array([True, True, False])).tolist() == [1, 5, 0]
    assert before.tolist() == [0, 4, 4]


def test_weighted_terms_sum_to_the_reward() -> None:
    terms = np.array([[0.5, 1.0], [0.25, 0.0]])
    assert kernels.weigh(terms, np.array([2.0, 4.0])).tolist() == [2.0, 2.0]
    assert terms.tolist() == [[1.0, 2.0], [1.0, 0.0]]


def test_where_nothing_can_be_kept_functions_are_compiled_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    original = numba.njit

    def nowhere(**options: Any) -> Any:
        if options.get("cache"):
            raise RuntimeError("cannot cache function: no locator available")
        return original(**options)

    monkeypatch.setattr(kernels.numba, "njit", nowhere)
    assert kernels.compiled(lambda x: x + 1.0)(1.0) == 2.0


def test_a_task_with_too_few_reward_terms_is_told() -> None:
    class Forgetful(BottlePickPlace):
        def reward_terms(self) -> np.ndarray:
            return super().reward_terms()[:-1]

    task = Forgetful()
    core = EnvironmentCore(task, SingleSimulation(task.make_model()))
    core.reset(np.zeros(1, dtype=np.int64), [np.random.default_rng(0)], {})
    with pytest.raises(ValueError, match=r"Forgetful.reward_terms\(\) has shape \(5, 1\), expected \(6, 1\)"):
        core.step(np.zeros((1, 23)))
