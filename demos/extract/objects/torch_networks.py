"""The torch point trackers of the `cotracker` and `tapir` backends: the user's own package with weights from a local file.

Neither the packages nor their weights come with this project, and nothing is downloaded: the weights are read as plain
tensors, without an unpickler.
"""

from __future__ import annotations

import contextlib
import importlib
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from demos.importers.torch_files import fetch, read_torch
from dexvid_envs.errors import InputFileError, MissingExtraError, OptionError

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
Pictures = NDArray[np.uint8]

_TAPIR_SIDE = 512  # px; longer pictures are made smaller for it
_TAPIR_CELL = 8  # its pictures' sides are multiples of this
_TAPIR_FEATURES, _TAPIR_WINDOW = 388, 49  # inputs of its mixer beside and per level of its pyramid
_ONLINE_WINDOW = 16  # pictures; CoTracker 3's offline weights have longer windows


class Answer(NamedTuple):
    """What a network says of Q points in F pictures.

    Attributes:
        pixels: (F, Q, 2) px.
        visible: (F, Q) bool.
        confidence: (F, Q) in [0, 1].
    """

    pixels: FloatArray
    visible: BoolArray
    confidence: FloatArray


class PointNetwork(Protocol):
    """A point tracker that looks at a few pictures together."""

    def track(self, pictures: Pictures, queries: FloatArray) -> Answer:
        """Follows points through pictures (F, h, w, 3), from queries (Q, 3): picture, x, y."""
        ...


def open_network(kind: str, weights: Path) -> PointNetwork:
    """The network with local weights, on the GPU where torch finds one.

    Args:
        kind: "cotracker" (weights of CoTracker 2 or 3) or "tapir" (of TAPIR or BootsTAPIR; a file with causal weights must
            have "causal" in its name, as its authors' has, for nothing else tells).
        weights: file written by torch.save.

    Raises:
        InputFileError: the file is missing, damaged, holds anything but tensors, or weights of another network.
        MissingExtraError: the tracker's package is not installed.
        OptionError: the kind is not known, or the package is of another version.
    """
    if kind not in ("cotracker", "tapir"):
        raise OptionError(f"unknown torch tracker {kind!r}, expected one of: cotracker, tapir")
    state = _read_state(weights)
    return CoTracker(state, weights) if kind == "cotracker" else Tapir(state, weights)


class CoTracker:
    """CoTracker 2 or 3, by the `CoTrackerPredictor` of its authors' package (version 3).

    The predictor says only whether it sees a point, so the confidence is 1 or 0.
    """

    def __init__(self, state: dict[str, NDArray], weights: Path) -> None:
        if "time_emb" not in state or state["time_emb"].ndim != 3:
            raise InputFileError(f"{weights} has no entry time_emb, expected weights of CoTracker 2 or 3")
        length = state["time_emb"].shape[1]
        second = not any(name.startswith("corr_mlp.") for name in state)
        with _nothing_fetched("cotracker"):
            module = _import("cotracker", "cotracker.predictor", "facebookresearch/co-tracker")
            self._predictor = _build(
                "cotracker",
                lambda: module.CoTrackerPredictor(
                    checkpoint=None, offline=not second and length > _ONLINE_WINDOW, v2=second, window_len=length
                ),
            )
        _load(self._predictor.model, state, weights)
        self._device = _device()
        self._predictor = self._predictor.to(self._device).eval()

    def track(self, pictures: Pictures, queries: FloatArray) -> Answer:
        """Follows points both ways in time."""
        import torch

        video = torch.from_numpy(pictures).permute(0, 3, 1, 2)[None].float().to(self._device)  # (1, F, 3, h, w), 0 to 255
        asked = torch.from_numpy(queries).float()[None].to(self._device)  # (1, Q, 3): picture, x, y
        with torch.inference_mode():
            pixels, visible = self._predictor(video, queries=asked, backward_tracking=True)
        seen = visible[0].reshape(len(pictures), -1).cpu().numpy() > 0
        return Answer(pixels[0].double().cpu().numpy(), seen, seen.astype(np.float64))


class Tapir:
    """TAPIR or BootsTAPIR, by the `TAPIR` module of its authors' package; its variant is read from the weights."""

    def __init__(self, state: dict[str, NDArray], weights: Path) -> None:
        mixer = state.get("torch_pips_mixer.linear.weight", np.zeros((0, 0)))
        level, rest = divmod(mixer.shape[1] - _TAPIR_FEATURES, _TAPIR_WINDOW)
        if mixer.ndim != 2 or rest or level < 2:
            raise InputFileError(
                f"{weights} has no fitting entry torch_pips_mixer.linear.weight, expected torch weights of TAPIR or BootsTAPIR"
            )
        with _nothing_fetched("tapnet"):
            module = _import("tapir", "tapnet.torch.tapir_model", "google-deepmind/tapnet")
            self._model = _build(
                "tapnet",
                lambda: module.TAPIR(
                    pyramid_level=level - 2,
                    extra_convs=any(name.startswith("extra_convs.") for name in state),
                    use_casual_conv="causal" in weights.name.lower(),
                ),
            )
        _load(self._model, state, weights)
        self._device = _device()
        self._model = self._model.to(self._device).eval()

    def track(self, pictures: Pictures, queries: FloatArray) -> Answer:
        """Follows points both ways in time."""
        import cv2
        import torch

        height, width = pictures.shape[1:3]
        shrink = min(1.0, _TAPIR_SIDE / max(height, width))
        size = [max(1, round(shrink * side / _TAPIR_CELL)) * _TAPIR_CELL for side in (width, height)]
        scale = np.array(size) / (width, height)
        small = np.stack([cv2.resize(picture, size, interpolation=cv2.INTER_AREA) for picture in pictures])
        video = torch.from_numpy(small)[None].float().to(self._device) / 127.5 - 1.0  # (1, F, h, w, 3), -1 to 1
        places = (queries[:, 1:] + 0.5) * scale  # counted from the picture's corner
        asked = torch.from_numpy(np.column_stack([queries[:, 0], places[:, 1], places[:, 0]])).float()[None]
        with torch.inference_mode():
            found = self._model(video, asked.to(self._device))  # queries (1, Q, 3): picture, y, x
            sure = (1.0 - torch.sigmoid(found["occlusion"])) * (1.0 - torch.sigmoid(found["expected_dist"]))
        pixels = found["tracks"][0].double().cpu().numpy().swapaxes(0, 1) / scale - 0.5  # (F, Q, 2)
        confidence = sure[0].double().cpu().numpy().T
        return Answer(pixels, confidence > 0.5, confidence)


def _read_state(weights: Path) -> dict[str, NDArray]:
    """The tensors of a state dict by name, whether it stands alone or under "model"."""
    content = read_torch(weights)
    state = content.get("model", content) if isinstance(content, dict) else None
    if not isinstance(state, dict) or not state:
        raise InputFileError(f"{weights} holds a {type(content).__name__}, expected a state dict: tensors by name")
    return {str(name): fetch(tensor, weights, str(name)) for name, tensor in state.items()}


def _load(module: Any, state: dict[str, NDArray], weights: Path) -> None:
    """Fills the module with the weights, all of them and no others."""
    import torch

    try:
        module.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in state.items()})
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise InputFileError(
            f"{weights} does not fit {type(module).__name__} of the installed package ({reason[:300]}); "
            "expected the weights that its authors give for this version"
        ) from error


def _import(kind: str, name: str, repository: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingExtraError(
            f"--tracks {kind} needs the package {name.split('.')[0]} of {repository} ({error}); it does not come with this "
            "project: install it and what it needs into this Python environment as its README says, or use another --tracks"
        ) from error


def _build(package: str, make: Any) -> Any:
    try:
        return make()
    except (TypeError, AttributeError) as error:
        raise OptionError(
            f"the installed package {package} is of another version than expected ({error}); install its present version"
        ) from error


@contextlib.contextmanager
def _nothing_fetched(package: str) -> Iterator[None]:
    """While it lasts, whatever would download or unpickle is refused: packages may do so when they are imported or built."""
    import torch

    def refuse(*arguments: Any, **named: Any) -> Any:
        raise OptionError(f"the package {package} wanted to fetch or unpickle weights by itself; only --weights is read")

    hub: Any = torch.hub
    places: list[tuple[Any, str]] = [(hub, name) for name in ("load", "load_state_dict_from_url", "download_url_to_file")]
    places += [(torch, "load"), (urllib.request, "urlopen")]
    before = [getattr(owner, name) for owner, name in places]
    for owner, name in places:
        setattr(owner, name, refuse)
    try:
        yield
    finally:
        for (owner, name), own in zip(places, before, strict=True):
            setattr(owner, name, own)


def _device() -> Any:
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
