"""Damaged files of every foreign layout: whatever is wrong with the bytes, the answer is one of our errors, never a crash."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.foreign_examples import CASES
from demos.source import load_interaction
from dexvid_envs.errors import DexVidError


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One good example of each layout."""
    return {name: write(tmp_path_factory.mktemp(name)) for name, (write, _) in CASES.items()}


@pytest.mark.parametrize("name", [name for name in CASES if name != "spider-robot"])
def test_the_examples_are_good(name: str, examples: dict[str, Path]) -> None:
    CASES[name][1](examples[name])


@pytest.mark.filterwarnings("ignore")  # of numpy and Pillow about hostile headers and absurd numbers
@pytest.mark.parametrize("name", list(CASES))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_files_give_our_errors(name: str, examples: dict[str, Path], data: st.DataObject) -> None:
    path = examples[name]
    good = path.read_bytes()
    content = bytearray(good[: data.draw(st.integers(0, len(good)))] if data.draw(st.booleans()) else good)
    for _ in range(data.draw(st.integers(0, 6)) if content else 0):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        with contextlib.suppress(DexVidError):
            CASES[name][1](path)
    finally:
        path.write_bytes(good)


_SHAPES = st.lists(st.integers(0, 4), max_size=4).map(tuple)
_ARRAYS = st.builds(
    lambda shape, kind, value: np.full(shape, value).astype(kind),
    _SHAPES,
    st.sampled_from(["f8", "f4", "i8", "u1", "?"]),
    st.sampled_from([0.0, 1.0, -1.0, np.nan, np.inf, 1e300, 1e-300]),
)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "name", ["hamer", "cotracker", "spatialtracker-v2", "spatialtracker-v2-depth", "tapvid-3d", "spider", "spider-robot"]
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_arrays_of_any_shape_and_value_give_our_errors(name: str, tmp_path: Path, data: st.DataObject) -> None:
    """Well-formed files with absurd content: empty, of other shapes and kinds, NaN, huge, tiny."""
    path = CASES[name][0](tmp_path)
    with np.load(path, allow_pickle=True) as archive:
        content = {key: archive[key] for key in archive.files if archive[key].dtype != object}
    for key in data.draw(st.lists(st.sampled_from(sorted(content)), min_size=1, max_size=3)):
        if data.draw(st.booleans()):
            content[key] = data.draw(_ARRAYS)
        else:  # the right shape with absurd numbers
            content[key] = np.full(content[key].shape, data.draw(st.sampled_from([0.0, -1.0, np.nan, np.inf, 1e300, 1e-300])))
    np.savez(path, **content)
    with contextlib.suppress(DexVidError):
        CASES[name][1](path)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**20) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_descriptions_of_any_content_give_our_errors(examples: dict[str, Path], data: st.DataObject) -> None:
    path = examples["combined"]
    good = path.read_bytes()
    setting = json.loads(good)
    keys = [*setting, "mask", "depth", "first_frame", "num_frames", "camera_pitch_deg", "max_points", "scale"]
    for key in data.draw(st.lists(st.sampled_from(keys), min_size=1, max_size=2)):
        target = setting["object"] if key == "scale" and isinstance(setting.get("object"), dict) else setting
        target[key] = data.draw(_JSON)
    path.write_text(json.dumps(setting))
    try:
        with contextlib.suppress(DexVidError):
            load_interaction(path)
    finally:
        path.write_bytes(good)


@pytest.mark.parametrize("name", list(CASES))
@pytest.mark.parametrize("path", ["none/none", "empty", "empty/none"])
def test_missing_paths_give_our_errors(name: str, path: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DexVidError):
        CASES[name][1](tmp_path / path)
