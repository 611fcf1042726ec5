"""The `cotracker` and `tapir` backends: points on one object followed by the user's own copy of a torch point tracker.

Neither the packages nor their weights come with this project, and nothing is downloaded: the weights are read from a local
file as plain tensors, without an unpickler. A video passes in windows that overlap, so its length does not matter for memory;
a point that is seen in the overlap is asked for again in the next window and stays the same point.
Coordinates are pixels of the kept pictures.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from demos.extract.objects.contact import runs
from demos.extract.objects.masks import ObjectSeed, inside_mask
from demos.extract.objects.object_masks import ObjectMasks
from demos.importers.torch_files import fetch, read_torch
from demos.parts import PixelTracks
from demos.video import FrameCache
from dexvid_envs.errors import InputFileError, MissingExtraError, OptionError

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
Pictures = NDArray[np.uint8]

_WINDOW = 60  # pictures at a time; CoTracker 3 has learnt on no more
_OVERLAP = 12  # pictures that two windows share
_LIVE_POINTS = 100  # asked for in a window
_ROUNDS = 4  # in which a window's points are asked for; the later ones for pictures in which few are seen
_MIN_SIGHTINGS = 3  # of a track
_PART = 12  # pictures, in which tracks are counted; more where a video has
_MAX_PARTS = 200  # of these
_LEAST_CONFIDENCE = 1e-3  # of a point that is seen
_RIM_PX = 2  # new points keep away from the mask's edge
_FAR_SIZES, _FAR_PX = 0.1, 4.0  # a point this far off the mask is not on the object
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


def open_tracker(kind: str, weights: Path) -> TorchTracker:
    """The tracker with local weights, on the GPU where torch finds one.

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
    return TorchTracker(CoTracker(state, weights) if kind == "cotracker" else Tapir(state, weights))


class TorchTracker:
    """Follows an object's points through a video of any length by a network that sees a window of it at a time."""

    def __init__(self, network: PointNetwork, window: int = _WINDOW, overlap: int = _OVERLAP) -> None:
        if not 0 < 2 * overlap <= window:
            raise ValueError(f"windows of {window} pictures cannot share {overlap}")
        self._network, self._window, self._overlap = network, window, overlap

    def follow(self, pictures: FrameCache, seed: ObjectSeed, masks: ObjectMasks, max_points: int) -> PixelTracks:
        """Points on the object in all T pictures.

        Points are taken up in the mask of the seed's picture, at the beginning of each further window and where few are left.
        A sighting far off the mask is none, and a point that is mostly off it is given up.

        Args:
            pictures: T pictures.
            seed: the object in one of them.
            masks: the object in all of them.
            max_points: at most so many tracks are kept; all of the video keeps some.
        """
        tracks = _Tracks(len(pictures))
        live = min(max_points, _LIVE_POINTS)
        for window in self._windows(len(pictures), seed.frame):
            images = np.stack([pictures.rgb(frame) for frame in range(window.start, window.stop)])
            shown = np.array([masks[frame].any() for frame in range(window.start, window.stop)])
            rows, queries = tracks.last_seen(window, live)
            frame = window.nearest_to_entry(shown)
            for _ in range(_ROUNDS):
                if frame is not None:
                    new = _new_points(masks[frame], tracks.seen_at(frame), live)
                    rows = np.concatenate([rows, tracks.add(len(new))])
                    queries = np.concatenate([queries, np.insert(new, 0, frame, axis=1)])
                if len(rows):
                    local = queries - (window.start, 0.0, 0.0)
                    tracks.write(window, rows, queries, _on_object(self._ask(images, local), masks, window))
                frame = tracks.barest(window, shown, live // 4)
                if frame is None:
                    break
                rows, queries = rows[:0], queries[:0]
        return tracks.result(max_points)

    def _ask(self, images: Pictures, queries: FloatArray) -> Answer:
        if len(images) > 1:
            return self._network.track(images, queries)
        seen = np.ones((1, len(queries)))
        return Answer(queries[None, :, 1:], seen > 0, seen)

    def _windows(self, frames: int, seed: int) -> Iterator[_Window]:
        """The seed's window, those after it in order, and those before it in reverse order."""
        start = max(0, min(seed - self._overlap, frames - self._window))
        stop = min(start + self._window, frames)
        yield _Window(start, stop, seed, 0)
        while stop < frames:
            begin = stop - self._overlap
            stop = min(begin + self._window, frames)
            yield _Window(begin, stop, begin + self._overlap // 2, 1)
        while start > 0:
            end = start + self._overlap
            start = max(end - self._window, 0)
            yield _Window(start, end, end - self._overlap // 2, -1)


@dataclasses.dataclass(frozen=True)
class _Window:
    """Pictures `start` to `stop`; `entry` is the one where it is taken up, going on in `direction` (0: in both)."""

    start: int
    stop: int
    entry: int
    direction: int

    def nearest_to_entry(self, shown: BoolArray) -> int | None:
        """The picture nearest to the entry of those (F,) in which the object is to be seen."""
        frames = self.start + np.flatnonzero(shown)
        return int(frames[np.abs(frames - self.entry).argmin()]) if len(frames) else None

    def further(self, frame: FloatArray) -> BoolArray:
        """(F, Q) the window's pictures that lie in its direction from pictures (Q,), these included."""
        here = np.arange(self.start, self.stop)[:, None]
        return (here - frame) * self.direction >= 0


@dataclasses.dataclass(frozen=True)
class _Block:
    """What one answer says of Q points in F pictures.

    Attributes:
        start: the first picture.
        rows: (Q,) the points.
        taken: (F, Q) bool, where the answer counts.
        pixels: (F, Q, 2) px, float32; NaN where a point is not seen.
        confidence: (F, Q), float32; 0 where it is not seen.
    """

    start: int
    rows: NDArray[np.int64]
    taken: BoolArray
    pixels: NDArray[np.float32]
    confidence: NDArray[np.float32]

    @property
    def stop(self) -> int:
        """Behind the last picture."""
        return self.start + len(self.taken)

    def sightings(self) -> BoolArray:
        """(F, Q)"""
        return self.taken & (self.confidence > 0.0)


class _Tracks:
    """What is known of all points so far, as blocks of which the later ones count; a row stays the same point."""

    def __init__(self, frames: int) -> None:
        self._frames, self._rows = frames, 0
        self._blocks: list[_Block] = []

    def last_seen(self, window: _Window, most: int) -> tuple[NDArray[np.int64], FloatArray]:
        """Rows (Q,) of the points that earlier windows have seen in this one, and queries (Q, 3): picture, x, y.

        Each is asked for where both windows know most of its past and future: as near to the entry as it is seen.
        """
        rows, pixels = self._between(window.start, window.stop)
        seen = np.isfinite(pixels[..., 0])
        often = np.argsort(-seen.sum(axis=0), kind="stable")[:most]
        often = often[seen[:, often].any(axis=0)]
        away = np.abs(np.arange(window.start, window.stop) - window.entry)[:, None]
        at = np.where(seen[:, often], away, self._frames).argmin(axis=0)
        return rows[often], np.column_stack([window.start + at, pixels[at, often]]).reshape(-1, 3)

    def seen_at(self, frame: int) -> FloatArray:
        """Places (M, 2) px of the points that are seen in a picture."""
        _, pixels = self._between(frame, frame + 1)
        return pixels[0, np.isfinite(pixels[0, :, 0])]

    def barest(self, window: _Window, shown: BoolArray, few: int) -> int | None:
        """The middle of the longest run of pictures in which the object shows (F,), but less than a few points are seen."""
        _, pixels = self._between(window.start, window.stop)
        bare = runs(shown & (np.isfinite(pixels[..., 0]).sum(axis=1) < few))
        longest = max(bare, key=lambda run: run[1] - run[0], default=None)
        return None if longest is None else window.start + sum(longest) // 2

    def add(self, count: int) -> NDArray[np.int64]:
        """Rows (count,) for new points."""
        self._rows += count
        return np.arange(self._rows - count, self._rows)

    def write(self, window: _Window, rows: NDArray[np.int64], queries: FloatArray, answer: Answer) -> None:
        """Takes over an answer: for known points from the query on in the window's direction, for new ones everywhere."""
        known, _ = self._between(window.start, window.stop)
        taken = window.further(queries[:, 0]) | ~np.isin(rows, known)
        pixels = np.where(answer.visible[..., None], answer.pixels, np.nan).astype(np.float32)
        confidence = np.where(answer.visible, np.clip(answer.confidence, _LEAST_CONFIDENCE, 1.0), 0.0).astype(np.float32)
        self._blocks.append(_Block(window.start, rows, taken, pixels, confidence))

    def result(self, most: int) -> PixelTracks:
        """At most so many tracks: long ones, and such that every part of the video keeps some."""
        length = max(_PART, -(-self._frames // _MAX_PARTS))
        parts = np.zeros((-(-self._frames // length), self._rows))  # sightings in each part of the video
        for block in self._blocks:
            of_part = np.arange(block.start, block.stop) // length
            for part in np.unique(of_part):
                parts[part, block.rows] += block.sightings()[of_part == part].sum(axis=0)
        kept = np.flatnonzero(parts.sum(axis=0) >= min(_MIN_SIGHTINGS, self._frames))
        if len(kept) > most:
            parts = parts[:, kept] / length
            points = np.zeros(len(parts))  # chosen so far, in each part
            chosen: list[int] = []
            for _ in range(most):
                worth = (1.0 / (1.0 + points)) @ parts
                worth[chosen] = -1.0
                chosen.append(int(worth.argmax()))
                points += parts[:, chosen[-1]]
            kept = np.sort(kept[chosen])
        pixels, confidence = np.full((self._frames, len(kept), 2), np.nan), np.zeros((self._frames, len(kept)))
        for block in self._blocks:
            _put(block, kept, 0, pixels, confidence)
        return PixelTracks(pixels, np.isfinite(pixels[..., 0]), confidence)

    def _between(self, start: int, stop: int) -> tuple[NDArray[np.int64], FloatArray]:
        """The points (R,) of which anything is known in some pictures, and their places (F, R, 2) px there."""
        blocks = [block for block in self._blocks if block.start < stop and start < block.stop]
        rows = np.unique(np.concatenate([np.zeros(0, np.int64), *(block.rows for block in blocks)]))
        pixels, confidence = np.full((stop - start, len(rows), 2), np.nan), np.zeros((stop - start, len(rows)))
        for block in blocks:
            _put(block, rows, start, pixels, confidence)
        return rows, pixels


def _put(block: _Block, rows: NDArray[np.int64], start: int, pixels: FloatArray, confidence: FloatArray) -> None:
    """Writes what a block says of rows (R,), in order, into arrays (F, R, ...) that begin with a picture."""
    first, last = max(block.start, start), min(block.stop, start + len(pixels))
    wanted = np.isin(block.rows, rows)
    if first >= last or not wanted.any():
        return
    to = np.ix_(np.arange(first, last) - start, np.searchsorted(rows, block.rows[wanted]))
    of = slice(first - block.start, last - block.start)
    taken = block.taken[of][:, wanted]
    pixels[to] = np.where(taken[..., None], block.pixels[of][:, wanted], pixels[to])
    confidence[to] = np.where(taken, block.confidence[of][:, wanted], confidence[to])


def _new_points(mask: BoolArray, known: FloatArray, wanted: int) -> FloatArray:
    """Points (N, 2) px evenly spread over a mask (h, w), away from known ones (M, 2) px, so many as are wanted with these."""
    import cv2

    count = wanted - len(known)
    if count <= 0:
        return np.zeros((0, 2))
    inner = cv2.erode(mask.astype(np.uint8), np.ones((2 * _RIM_PX + 1, 2 * _RIM_PX + 1), np.uint8)) > 0
    free = inner if inner.any() else mask
    apart = max(2.0, float(np.sqrt(free.sum() / wanted)))
    rows, columns = np.nonzero(free)
    x = np.arange(columns.min(), columns.max() + 1, apart)
    y = np.arange(rows.min(), rows.max() + 1, apart)
    grid = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    grid = grid[inside_mask((free * 255).astype(np.uint8), grid)]
    if len(known):
        grid = grid[np.linalg.norm(grid[:, None] - known, axis=-1).min(axis=1) > 0.7 * apart]
    return grid[np.unique(np.linspace(0, len(grid) - 1, min(count, len(grid))).round().astype(int))]


def _on_object(answer: Answer, masks: ObjectMasks, window: _Window) -> Answer:
    """Without the sightings far off the mask; a point of which most are is not seen at all."""
    import cv2

    near = np.zeros_like(answer.visible)
    for number, frame in enumerate(range(window.start, window.stop)):
        mask = masks[frame]
        if mask.any():
            off = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 3)
            close = off <= max(_FAR_PX, _FAR_SIZES * float(np.sqrt(mask.sum())))
            near[number] = inside_mask((close * 255).astype(np.uint8), answer.pixels[number])
    inside = (answer.pixels >= -0.5) & (answer.pixels < np.array(masks.shape[::-1]) - 0.5)  # NaN is not
    visible = answer.visible & inside.all(axis=-1)
    astray = (visible & near).sum(axis=0) < 0.5 * visible.sum(axis=0)
    return answer._replace(visible=visible & near & ~astray)


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
