"""Torch point trackers: stand-ins for the packages follow a moving texture through windows; bad weights are refused.

The stand-ins search for a point's surroundings in the next picture. They check what they are given as strictly as the packages
would need it: ranges, shapes, the order of coordinates and where pixels are counted from.
"""

from __future__ import annotations

import os
import pickle
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np
import pytest
import torch

from demos.extract.config import ExtractConfig
from demos.extract.objects.masks import ObjectSeed
from demos.extract.objects.object_masks import SEEN, ObjectMasks
from demos.extract.objects.torch_tracker import open_tracker
from demos.extract.pipeline import extract
from demos.interaction import FloatArray
from demos.parts import PixelTracks
from demos.video import FrameCache
from dexvid_envs.errors import InputFileError, MissingExtraError, OptionError

WIDTH, HEIGHT, SIDE = 128, 96, 36
HIDDEN = range(40, 56)  # frames in which a bar passes before a part of the object

MATCHING = '''
import torch
import torch.nn.functional as F

def cut(picture, places, radius):
    """Grey surroundings (Q, n, n) of places (Q, 2), x and y counted from pixel centres."""
    steps = torch.arange(-radius, radius + 1).float()
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    at = places[:, None, None] + torch.stack([x, y], -1)
    size = torch.tensor([picture.shape[1] - 1.0, picture.shape[0] - 1.0])
    found = F.grid_sample(picture[None, None], (2 * at / size - 1).reshape(1, -1, 1, 2), align_corners=True)
    return found.reshape(len(places), 2 * radius + 1, 2 * radius + 1)

def follow(pictures, queries, gain, reach=3, radius=3):
    """pictures (F, h, w) in [0, 1], queries (Q, 3) picture, x, y -> places (F, Q, 2) and mean differences (F, Q)."""
    places, misses = torch.zeros(len(pictures), len(queries), 2), torch.zeros(len(pictures), len(queries))
    templates = torch.stack([cut(pictures[int(t)], xy[None], radius)[0] for t, *xy_ in queries for xy in [torch.stack(xy_)]])
    for q, (start, *_) in enumerate(queries):
        for order in (range(int(start), len(pictures)), range(int(start), -1, -1)):
            here = queries[q, 1:].clone()
            for f in order:
                around = cut(pictures[f], here[None], reach + radius)[0]
                side = 2 * radius + 1
                windows = around.unfold(0, side, 1).unfold(1, side, 1)
                cost = (windows - templates[q]).abs().mean(dim=(-1, -2))
                best = int(cost.argmin())
                moved = torch.tensor([best % cost.shape[1] - reach, best // cost.shape[1] - reach]).float()
                if cost.min() < 0.08:
                    here = here + gain * moved
                places[f, q], misses[f, q] = here, cost.min()
    return places, misses
'''

COTRACKER = """
import torch
from stand_in_matching import follow

BUILT = []

class Model(torch.nn.Module):
    def __init__(self, v2, window_len):
        super().__init__()
        self.register_buffer("time_emb", torch.zeros(1, window_len, 4))
        part = torch.nn.Linear(1, 1, bias=False)
        torch.nn.init.zeros_(part.weight)
        if v2:
            self.track_feat_updater = part
        else:
            self.corr_mlp = part
        self.part = [part]

class CoTrackerPredictor(torch.nn.Module):
    def __init__(self, checkpoint="./checkpoints/scaled_offline.pth", offline=True, v2=False, window_len=60):
        super().__init__()
        if checkpoint is not None:
            torch.load(checkpoint)
        BUILT.append({"offline": offline, "v2": v2, "window_len": window_len})
        self.model = Model(v2, window_len)

    def forward(self, video, queries=None, segm_mask=None, grid_size=0, grid_query_frame=0, backward_tracking=False):
        assert video.ndim == 5 and video.shape[2] == 3 and 20 < video.max() <= 255 and video.dtype == torch.float32
        assert queries.shape[0] == 1 and queries.shape[2] == 3 and backward_tracking
        assert 0 <= queries[..., 0].min() and queries[..., 0].max() < video.shape[1]
        gain = float(self.model.part[0].weight)
        tracks, misses = follow(video[0].mean(dim=1) / 255, queries[0], gain)
        return tracks[None], (misses < 0.08)[None]
"""

TAPIR = """
import torch
from torch import nn
from stand_in_matching import follow

BUILT = []

class TAPIR(nn.Module):
    def __init__(self, bilinear_interp_with_depthwise_conv=False, num_pips_iter=4, pyramid_level=1, extra_convs=True,
                 use_casual_conv=False):
        super().__init__()
        BUILT.append({"pyramid_level": pyramid_level, "extra_convs": extra_convs, "use_casual_conv": use_casual_conv})
        self.torch_pips_mixer = nn.Module()
        self.torch_pips_mixer.linear = nn.Linear(4 + 128 + 256 + (pyramid_level + 2) * 49, 2)
        self.extra_convs = nn.Linear(1, 1) if extra_convs else None
        nn.init.zeros_(self.torch_pips_mixer.linear.bias)

    def forward(self, video, query_points, is_training=False, query_chunk_size=64):
        assert video.ndim == 5 and video.shape[4] == 3 and -1 <= video.min() < 0 < video.max() <= 1
        assert video.shape[2] % 8 == 0 and video.shape[3] % 8 == 0
        gain = float(self.torch_pips_mixer.linear.bias[0])
        tyx = query_points[0]
        queries = torch.stack([tyx[:, 0], tyx[:, 2] - 0.5, tyx[:, 1] - 0.5], dim=-1)
        tracks, misses = follow(video[0].mean(dim=-1) / 2 + 0.5, queries, gain)
        logits = ((misses - 0.08) * 200).T[None]
        return {"tracks": (tracks + 0.5).swapaxes(0, 1)[None], "occlusion": logits, "expected_dist": logits - 5.0}
"""


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Stand-ins for the two packages, as if they were installed."""
    folder = tmp_path / "packages"
    (folder / "cotracker").mkdir(parents=True)
    (folder / "tapnet" / "torch").mkdir(parents=True)
    for name in ("cotracker", "tapnet", "tapnet/torch"):
        (folder / name / "__init__.py").touch()
    (folder / "stand_in_matching.py").write_text(MATCHING)
    (folder / "cotracker" / "predictor.py").write_text(COTRACKER)
    (folder / "tapnet" / "torch" / "tapir_model.py").write_text(TAPIR)
    monkeypatch.syspath_prepend(str(folder))
    yield folder
    for name in [name for name in sys.modules if name.split(".")[0] in ("cotracker", "tapnet", "stand_in_matching")]:
        del sys.modules[name]


def cotracker_weights(path: Path, window: int = 60, part: str = "corr_mlp") -> Path:
    torch.save({"model": {"time_emb": torch.zeros(1, window, 4), f"{part}.weight": torch.ones(1, 1)}}, path)
    return path


def tapir_weights(path: Path, level: int = 1, extra: bool = True) -> Path:
    state = {
        "torch_pips_mixer.linear.weight": torch.zeros(2, 388 + (level + 2) * 49),
        "torch_pips_mixer.linear.bias": torch.ones(2),
    }
    state |= {"extra_convs.weight": torch.ones(1, 1), "extra_convs.bias": torch.ones(1)} if extra else {}
    torch.save(state, path)
    return path


def corner(frame: int) -> tuple[int, int]:
    """Upper left pixel (x, y) of the object."""
    return 20 + round(30 * np.sin(frame / 20.0)) + 12, 20 + round(15 * np.sin(frame / 31.0)) + 8


def make_scene(frames: int) -> tuple[FrameCache, ObjectMasks]:
    """A textured square that moves before a textured wall; a bar hides a part of it for a while."""
    rng = np.random.default_rng(0)
    wall = np.kron(rng.integers(0, 90, (HEIGHT // 4, WIDTH // 4)), np.ones((4, 4)))
    thing = np.kron(rng.integers(60, 250, (SIDE // 3, SIDE // 3)), np.ones((3, 3)))
    cache, masks = FrameCache(), ObjectMasks((HEIGHT, WIDTH), frames)
    for frame in range(frames):
        picture, mask = wall.copy(), np.zeros((HEIGHT, WIDTH), bool)
        x, y = corner(frame)
        picture[y : y + SIDE, x : x + SIDE] = thing
        mask[y : y + SIDE, x : x + SIDE] = True
        if frame in HIDDEN:
            picture[:, x : x + 12], mask[:, x : x + 12] = 20.0, False
        cache.append(np.repeat(picture[..., None], 3, axis=-1).astype(np.uint8))
        masks.put(frame, mask, SEEN)
    return cache, masks


def seed_at(frame: int) -> ObjectSeed:
    x, y = corner(frame)
    outline = np.array([(x, y), (x + SIDE, y), (x + SIDE, y + SIDE), (x, y + SIDE)], float)
    return ObjectSeed(frame, outline, np.zeros((0, 2)), "mask")


def in_object(tracks: PixelTracks) -> FloatArray:
    """The tracks (T, N, 2) px from the object's corner, where they must rest."""
    corners = np.array([corner(frame) for frame in range(len(tracks.pixels))], float)
    return tracks.pixels - corners[:, None]


@pytest.mark.parametrize("kind", ["cotracker", "tapir"])
@pytest.mark.parametrize("seed", [0, 50])
def test_points_keep_to_the_object_from_window_to_window(packages: Path, tmp_path: Path, kind: str, seed: int) -> None:
    weights = cotracker_weights(tmp_path / "w.pth") if kind == "cotracker" else tapir_weights(tmp_path / "w.pt")
    cache, masks = make_scene(100)
    tracks = open_tracker(kind, weights).follow(cache, seed_at(seed), masks, 16)
    assert tracks.pixels.shape[1] <= 16
    np.testing.assert_array_equal(tracks.visible, np.isfinite(tracks.pixels[..., 0]))
    np.testing.assert_array_equal(tracks.visible, tracks.confidence > 0.0)
    place = in_object(tracks)
    assert np.nanmax(np.abs(place - np.nanmedian(place, axis=0))) < 1.5
    assert tracks.visible.sum(axis=1).min() >= 4  # always something to go by
    spans = [np.ptp(np.flatnonzero(row)) for row in tracks.visible.T]
    assert sum(span > 90 for span in spans) >= 4  # the same points in all windows
    behind = place[48, :, 0] < 10.0  # in the middle of the time with the bar; NaN is not
    assert not behind.any()


def test_what_kind_of_weights_they_are_is_read_from_them(packages: Path, tmp_path: Path) -> None:
    open_tracker("cotracker", cotracker_weights(tmp_path / "a.pth"))
    open_tracker("cotracker", cotracker_weights(tmp_path / "b.pth", 16))
    open_tracker("cotracker", cotracker_weights(tmp_path / "c.pth", 8, "track_feat_updater"))
    assert sys.modules["cotracker.predictor"].BUILT == [
        {"offline": True, "v2": False, "window_len": 60},
        {"offline": False, "v2": False, "window_len": 16},
        {"offline": False, "v2": True, "window_len": 8},
    ]
    open_tracker("tapir", tapir_weights(tmp_path / "bootstapir_checkpoint_v2.pt"))
    open_tracker("tapir", tapir_weights(tmp_path / "causal_bootstapir_checkpoint.pt"))
    open_tracker("tapir", tapir_weights(tmp_path / "tapir_checkpoint.pt", 0, False))
    assert sys.modules["tapnet.torch.tapir_model"].BUILT == [
        {"pyramid_level": 1, "extra_convs": True, "use_casual_conv": False},
        {"pyramid_level": 1, "extra_convs": True, "use_casual_conv": True},
        {"pyramid_level": 0, "extra_convs": False, "use_casual_conv": False},
    ]


class Trap:
    """Runs a command when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (f"touch {self.mark}",)


@pytest.mark.parametrize("kind", ["cotracker", "tapir"])
@pytest.mark.parametrize("write", ["torch", "legacy", "pickle"])
def test_a_hostile_file_is_refused_and_not_run(packages: Path, tmp_path: Path, kind: str, write: str) -> None:
    path, mark = tmp_path / "weights.pth", tmp_path / "mark"
    content = {"model": {"time_emb": torch.zeros(1, 60, 4), "trap": Trap(mark)}}
    if write == "pickle":
        path.write_bytes(pickle.dumps(content["model"]["trap"]))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=write == "torch")
    with pytest.raises(InputFileError, match="refused and nothing in it was run"):
        open_tracker(kind, path)
    assert not mark.exists()


@pytest.mark.parametrize("kind", ["cotracker", "tapir"])
def test_a_package_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setitem(sys.modules, "cotracker", None)
    monkeypatch.setitem(sys.modules, "tapnet", None)
    weights = cotracker_weights(tmp_path / "w.pth") if kind == "cotracker" else tapir_weights(tmp_path / "w.pt")
    with pytest.raises(MissingExtraError, match=r"needs the package (cotracker|tapnet) of .*install it"):
        open_tracker(kind, weights)


def test_a_missing_package_is_reported_before_the_video_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cotracker", None)
    video = tmp_path / "video.mp4"
    imageio.imwrite(video, np.zeros((4, HEIGHT, WIDTH, 3), np.uint8), fps=10)
    weights = cotracker_weights(tmp_path / "w.pth")
    stages: list[str] = []
    with pytest.raises(MissingExtraError, match="needs the package cotracker"):
        extract(
            ExtractConfig(video=video, out=tmp_path / "out", tracks="cotracker", weights=weights),
            lambda stage, done, total: stages.append(stage),
        )
    assert not stages


@pytest.mark.parametrize(
    "fetch",
    [
        "torch.hub.load('somebody/something', 'model')",
        "torch.hub.load_state_dict_from_url('http://127.0.0.1:9/w.pth')",
        "__import__('urllib.request').request.urlopen('http://127.0.0.1:9/w.pth')",
        "torch.load('w.pth', weights_only=False)",
    ],
)
def test_a_package_may_not_fetch_weights_by_itself(packages: Path, tmp_path: Path, fetch: str) -> None:
    (packages / "cotracker" / "predictor.py").write_text(
        f"import torch\nclass CoTrackerPredictor:\n    def __init__(self, **settings):\n        {fetch}\n"
    )
    before = torch.load, torch.hub.load, urllib.request.urlopen
    with pytest.raises(OptionError, match="wanted to fetch or unpickle"):
        open_tracker("cotracker", cotracker_weights(tmp_path / "w.pth"))
    assert (torch.load, torch.hub.load, urllib.request.urlopen) == before


def test_weights_of_another_network_are_named(packages: Path, tmp_path: Path) -> None:
    swapped = cotracker_weights(tmp_path / "a.pth"), tapir_weights(tmp_path / "b.pt")
    with pytest.raises(InputFileError, match="expected torch weights of TAPIR"):
        open_tracker("tapir", swapped[0])
    with pytest.raises(InputFileError, match="expected weights of CoTracker"):
        open_tracker("cotracker", swapped[1])
    with pytest.raises(InputFileError, match="no file"):
        open_tracker("cotracker", tmp_path / "none.pth")
    with pytest.raises(OptionError, match="unknown torch tracker 'raft'"):
        open_tracker("raft", swapped[0])
    torch.save({"model": {"time_emb": torch.zeros(1, 60, 4), "corr_mlp.other": torch.ones(1)}}, tmp_path / "c.pth")
    with pytest.raises(InputFileError, match=r"does not fit Model .*corr_mlp\.other"):
        open_tracker("cotracker", tmp_path / "c.pth")
    torch.save([torch.ones(1)], tmp_path / "d.pth")
    with pytest.raises(InputFileError, match="holds a list, expected a state dict"):
        open_tracker("cotracker", tmp_path / "d.pth")


def test_a_package_of_another_version_is_named(packages: Path, tmp_path: Path) -> None:
    (packages / "cotracker" / "predictor.py").write_text("class CoTrackerPredictor:\n    def __init__(self, checkpoint): ...\n")
    with pytest.raises(OptionError, match="cotracker is of another version"):
        open_tracker("cotracker", cotracker_weights(tmp_path / "w.pth"))
