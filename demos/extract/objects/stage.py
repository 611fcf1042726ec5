"""Which objects are followed through the pictures, from what the user says of them, and by what tracker."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from demos.extract.config import ExtractConfig, NamedPlace
from demos.extract.objects.masks import ObjectSeed, seed_from_box
from demos.extract.objects.object_masks import ObjectMasks
from demos.extract.objects.scene import StaticScene, observe_scene
from demos.extract.objects.seeds import find_object, seed_at_click
from demos.extract.objects.tracks import ObjectInPicture, follow_object
from demos.extract.sight import Sight
from demos.extract.stage_store import StageStore
from demos.importers.masks import read_masks
from demos.interaction import FloatArray
from demos.parts import MaskFrames, PixelTracks
from demos.recording import Recording
from demos.video import FrameCache, VideoInfo
from dexvid_envs.errors import InputFileError, OptionError

_MISSING_PART_ALLOWED = 0.1  # of the masks, before the video is read: what a container announces is not exact
_LOOKS = 40  # masks that are looked at for the clearest
_MOVES_PART = 0.03  # of the picture's diagonal; what moves less stands still


class Clock(Protocol):
    """Takes note of stages and steps."""

    def begin(self, name: str, total: int) -> None:
        """A stage begins."""
        ...

    def step(self) -> None:
        """A step is done."""
        ...


class PointTracker(Protocol):
    """Follows points on one object through all pictures."""

    def follow(self, pictures: FrameCache, seed: ObjectSeed, masks: ObjectMasks, max_points: int) -> PixelTracks:
        """At most so many tracks, in px of the kept pictures."""
        ...


def open_point_tracker(config: ExtractConfig) -> PointTracker | None:
    """The torch tracker that is asked for; None where another backend is.

    Raises:
        InputFileError: its weights cannot be used.
        MissingExtraError: its package is not installed.
    """
    if config.tracks not in ("cotracker", "tapir") or config.weights is None:
        return None
    from demos.extract.objects.torch_tracker import open_tracker

    return open_tracker(config.tracks, config.weights)


@dataclasses.dataclass(frozen=True)
class FollowedObject:
    """An object in the pictures; pixels are those of the kept pictures.

    Attributes:
        seed: where it was first.
        seen: masks and tracks.
        picture_size: (2,) width and height of the kept pictures, px.
    """

    seed: ObjectSeed
    seen: ObjectInPicture
    picture_size: NDArray[np.int64]

    def moves(self) -> bool:
        """Whether it gets away from where it is first seen."""
        centre = self.seen.centre[np.isfinite(self.seen.centre[:, 0])]
        if len(centre) < 2:
            return False
        way = np.linalg.norm(centre - centre[0], axis=-1)
        return float(np.percentile(way, 95)) > _MOVES_PART * float(np.hypot(*self.picture_size))


def to_video_pixels(one: FollowedObject, recording: Recording) -> tuple[PixelTracks, list[FloatArray]]:
    """Tracks and outlines in px of the video."""
    scale = recording.info.width / float(one.picture_size[0])
    tracks = one.seen.tracks
    moved = PixelTracks((tracks.pixels + 0.5) * scale - 0.5, tracks.visible, tracks.confidence)
    return moved, [(polygon + 0.5) * scale - 0.5 for polygon in one.seen.outline]


def check_places(config: ExtractConfig, info: VideoInfo) -> None:
    """Refuses what lies outside the video before any work is done.

    Raises:
        OptionError: a point, a box or a frame lies outside, or a mask is named and there are none.
    """
    further = config.further_objects()
    pixels = [("the object point", config.object_point), *((f"the point of {one.name}", one.pixel) for one in further)]
    boxes = [("the object box", config.object_box), *((f"the box of {one.name}", one.box) for one in further)]
    for name, pixel in pixels:
        if pixel is not None and not (0 <= pixel[0] < info.width and 0 <= pixel[1] < info.height):
            raise OptionError(
                f"{name} {pixel[0]:g} {pixel[1]:g} lies outside the {info.width}x{info.height} frame, "
                "expected X Y in px from the upper left corner; read it off a frame in a picture viewer"
            )
    for name, box in boxes:
        if box is not None and not (0 <= box[0] < box[2] <= info.width and 0 <= box[1] < box[3] <= info.height):
            raise OptionError(
                f"{name} {box[0]:g} {box[1]:g} {box[2]:g} {box[3]:g} is not inside the {info.width}x{info.height} frame, "
                "expected X0 < X1 and Y0 < Y1 in px from the upper left corner"
            )
    for one in further:
        if one.mask_id is not None and config.masks is None:
            raise OptionError(f"--also {one.name}=#{one.mask_id} means a mask, but there are none; give them with --masks")
    if info.num_frames and config.object_frame >= info.num_frames:
        raise OptionError(
            f"--object-frame is {config.object_frame}, but the video has {info.num_frames} frames, counted from 0"
        )


def check_masks(config: ExtractConfig, info: VideoInfo) -> None:
    """Looks at the masks before any work is done.

    Raises:
        InputFileError: there are too few for the video, or none of them shows the object.
    """
    if config.masks is None:
        return
    masks = read_masks(config.masks, config.mask_id)
    if masks.count < (1.0 - _MISSING_PART_ALLOWED) * info.num_frames:
        raise _too_few_masks(config.masks, masks.count, info.num_frames)
    looked = np.unique(np.linspace(0, masks.count - 1, min(masks.count, _LOOKS)).round().astype(int))
    if not any(masks.read(int(frame)).any() for frame in looked):
        raise _no_mask_shows_it(len(looked))


def seed_from_mask(masks: MaskFrames, shape: tuple[int, int]) -> ObjectSeed:
    """The object in the first frame whose mask shows nearly as much of it as any.

    Args:
        masks: T frames.
        shape: (height, width) of the kept pictures.

    Raises:
        InputFileError: all masks are empty.
    """
    import cv2

    looked = np.unique(np.linspace(0, masks.count - 1, min(masks.count, _LOOKS)).round().astype(int))
    areas = np.array([masks.read_sized(int(frame), shape).sum() for frame in looked])
    if not areas.any():
        raise _no_mask_shows_it(len(looked))
    frame = int(looked[np.argmax(areas >= 0.8 * areas.max())])
    mask = masks.read_sized(frame, shape).astype(np.uint8)
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    outline = max(outlines, key=cv2.contourArea).reshape(-1, 2).astype(float)
    return ObjectSeed(frame, outline, np.zeros((0, 2)), "mask")


def find_objects(
    config: ExtractConfig,
    recording: Recording,
    pictures: FrameCache,
    sight: Sight,
    hand_known: NDArray[np.bool_],
    store: StageStore,
    depends_on: Mapping[str, Any],
    clock: Clock,
    tracker: PointTracker | None = None,
) -> dict[str, FollowedObject]:
    """Follows the moved object and those that `--also` names, by name, the moved one first; what is not found is left out.

    Args:
        config: what the user says of the objects.
        recording: the source.
        pictures: T kept pictures.
        sight: the hand in them.
        hand_known: (T,) where the hand was really seen.
        store: for the result of each object.
        depends_on: what the results depend on.
        clock: for the progress.
        tracker: follows the objects' points; by default optical flow does.

    Raises:
        InputFileError: masks are missing or too few.
        OptionError: a place lies outside the picture.
    """
    finder = _Finder(config, recording, pictures, sight, hand_known, tracker)
    places = (NamedPlace(config.object_name, config.object_point, config.object_box, config.mask_id), *config.further_objects())
    if recording.mirrored:
        places = tuple(place.mirrored(recording.info.width) for place in places)
    found: dict[str, FollowedObject] = {}
    for number, place in enumerate(places):

        def follow(place: NamedPlace = place, moved: bool = number == 0) -> _Found:
            clock.begin(f"following {place.name}", 2 * len(pictures))
            return _Found(finder.follow(place, moved, clock.step))

        one = store.run(f"object-{number}", _Found, {**depends_on, "number": number}, follow).followed
        if one is not None:
            found[place.name] = one
    return found


def _too_few_masks(folder: Path, masks: int, frames: int) -> InputFileError:
    return InputFileError(f"{folder} has {masks} masks, expected one for each of the video's {frames} frames")


def _no_mask_shows_it(looked_at: int) -> InputFileError:
    return InputFileError(f"the masks show no object in {looked_at} frames looked at; choose another --mask-id or other masks")


@dataclasses.dataclass(frozen=True)
class _Found:
    """The result of a stage; None where there is no such object."""

    followed: FollowedObject | None


class _Finder:
    """What the objects of a clip share."""

    def __init__(
        self,
        config: ExtractConfig,
        recording: Recording,
        pictures: FrameCache,
        sight: Sight,
        hand_known: NDArray[np.bool_],
        tracker: PointTracker | None,
    ) -> None:
        self._config, self._recording, self._pictures, self._tracker = config, recording, pictures, tracker
        self._sight, self._hand_known = sight, hand_known
        self._scale = recording.info.width / float(sight.picture_size[0])
        self._hand = (sight.raw.image + 0.5) / self._scale - 0.5
        self._scene: StaticScene | None = None

    def follow(self, place: NamedPlace, moved: bool, step: Any) -> FollowedObject | None:
        """The object at a place; without a place the one that moves with the hand."""
        config = self._config
        given = self._given_masks(place, moved)
        if self._scene is None:
            self._scene = observe_scene(self._pictures, self._hand)
        seed = self._seed(place, given, self._scene)
        if seed is None:
            return None
        seen = follow_object(
            self._pictures, seed, self._hand, self._recording.fps, config.max_object_points, step, given, self._scene
        )
        if self._tracker is not None:
            tracks = self._tracker.follow(self._pictures, seed, seen.masks, config.max_object_points)
            seen = dataclasses.replace(seen, tracks=tracks, pixels=tracks.pixels)
        return FollowedObject(seed, seen, self._sight.picture_size)

    def _given_masks(self, place: NamedPlace, moved: bool) -> MaskFrames | None:
        config = self._config
        if config.masks is None or not (moved or place.mask_id is not None):
            return None
        masks = read_masks(config.masks, place.mask_id)
        index = self._sight.source_index
        if masks.count <= int(index[-1]):
            raise _too_few_masks(config.masks, masks.count, int(index[-1]) + 1)
        mirrored = self._recording.mirrored
        return MaskFrames(len(index), lambda frame: masks.read(int(index[frame]))[:, :: -1 if mirrored else 1])

    def _seed(self, place: NamedPlace, given: MaskFrames | None, scene: StaticScene) -> ObjectSeed | None:
        pictures, size, fps = self._pictures, self._sight.picture_size, self._recording.fps
        if given is not None:
            return seed_from_mask(given, (int(size[1]), int(size[0])))
        number = int(np.argmin(np.abs(self._sight.source_index - self._config.object_frame)))
        if place.pixel is not None:
            click = (np.array(place.pixel) + 0.5) / self._scale - 0.5
            return seed_at_click(pictures, click, self._hand, fps, number, scene)
        if place.box is not None:
            box = np.minimum(np.array(place.box) / self._scale, np.tile(size, 2))
            return seed_from_box(box, number, (int(size[0]), int(size[1])))
        return find_object(pictures, self._hand, self._hand_known, fps, scene)
