"""Imports a hand of one system and an object of another: a folder with an `import.json` that says which.

    {
      "fps": 30, "image_size": [640, 360], "intrinsics": [600, 600, 320, 180],
      "hand": {"format": "hamer", "path": "hands"},
      "object": {"format": "cotracker", "path": "tracks.npz"},
      "depth": {"format": "rgbd", "path": "."},
      "mask": {"path": "masks", "object_id": 1, "frame": 0},
      "first_frame": 0, "num_frames": 120, "object_name": "bottle", "camera_pitch_deg": 25
    }

`depth` is needed by trackers that see pixels only (cotracker, tapir); `mask` keeps the points that lie on the object; `scale`
in `object` multiplies points of a system that knows no metres; a `T_world_camera` (4, 4) may stand in place of
`camera_pitch_deg`. `first_frame` (0) is the number that the clip's first picture has in the names of files. Paths stay inside
the folder.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from demos import parts
from demos.importers import arrays
from demos.importers.assemble import AssembleConfig, assemble
from demos.interaction import FloatArray, HandTrack, Interaction, ObjectTrack
from dexvid_envs.errors import InputFileError
from dexvid_envs.files import sha256_of_files

FILE_NAME = "import.json"
_MAX_JSON_BYTES = 1_000_000
_MAX_POINTS = 512
_MAX_FRAMES = 100_000
_KEYS = frozenset(
    [
        *("fps", "image_size", "intrinsics", "hand", "object", "depth", "mask", "first_frame", "num_frames", "object_name"),
        *("camera_pitch_deg", "T_world_camera", "max_points"),
    ]
)


class Setting:
    """The content of `import.json`, checked where it is asked for."""

    def __init__(self, file: Path, content: Mapping[str, Any]) -> None:
        self.file = file
        self.content = content
        self.image_size = self._image_size()
        self.K: FloatArray | None = None
        if "intrinsics" in content:
            self.K = arrays.intrinsics(content["intrinsics"], "intrinsics", file)
            if self.K.shape != (3, 3):
                raise InputFileError(f"{file}: intrinsics have shape {self.K.shape}, expected 3x3 or fx, fy, cx, cy")
        self.first_frame: int = self.number("first_frame", 0, whole=True)
        self.num_frames: int | None = self.number("num_frames", None, whole=True)
        if self.num_frames is not None and not 0 < self.num_frames <= _MAX_FRAMES:
            raise InputFileError(f"{file}: num_frames is {self.num_frames}, expected 1 to {_MAX_FRAMES}")

    def number(self, name: str, default: Any, whole: bool = False) -> Any:
        """A number, or the default where there is none."""
        value = self.content.get(name, default)
        right = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
        if name in self.content and not (right and np.isfinite(value) and abs(value) < 1e9):
            kind = "a whole number" if whole else "a number"
            raise InputFileError(f"{self.file}: {name} is {value!r}, expected {kind}")
        return value

    def part(self, name: str) -> Mapping[str, Any]:
        """The description of a part: a dict with a path."""
        value = self.content.get(name)
        if not isinstance(value, Mapping) or not isinstance(value.get("path"), str):
            raise InputFileError(f"{self.file}: {name} is {value!r}, expected an object with a path, and for most a format")
        return value

    def path(self, part: Mapping[str, Any], name: str = "path") -> Path:
        """A path of a part, inside the folder."""
        path = (self.file.parent / str(part[name])).resolve()
        if not path.is_relative_to(self.file.parent.resolve()):
            raise InputFileError(f"{self.file}: {part[name]!r} leads out of the folder; put everything beside {FILE_NAME}")
        return path

    def camera_matrix(self, why: str) -> FloatArray:
        """K (3, 3) px, which has to be given.

        Raises:
            InputFileError: it is not; `why` says what needs it.
        """
        if self.K is None:
            raise InputFileError(f"{self.file} lacks intrinsics (fx, fy, cx, cy px), needed by {why}")
        return self.K

    def size(self, why: str) -> tuple[int, int]:
        """(width, height) px, which has to be given.

        Raises:
            InputFileError: it is not; `why` says what needs it.
        """
        if self.image_size is None:
            raise InputFileError(f"{self.file} lacks image_size (width, height px), needed by {why}")
        return self.image_size

    def _image_size(self) -> tuple[int, int] | None:
        if "image_size" not in self.content:
            return None
        value = self.content["image_size"]
        if not isinstance(value, list) or len(value) != 2 or not all(type(n) is int and 0 < n < 100_000 for n in value):
            raise InputFileError(f"{self.file}: image_size is {value!r}, expected [width, height] in px")
        return value[0], value[1]


def load_combined(folder: Path) -> Interaction:
    """Imports what the folder's `import.json` names.

    Raises:
        InputFileError: the file is missing or wrong, or a part cannot be read.
    """
    file = folder / FILE_NAME if folder.is_dir() else folder
    setting = _read(file)
    target: ObjectTrack = _choose(setting, "object", OBJECT_READERS)
    if setting.num_frames is None:  # trackers cover the whole clip, hands are found in parts of it
        setting.num_frames = len(target.visible)
    target = _scaled(_fitted(target, setting.num_frames), setting)
    hand: HandTrack = _choose(setting, "hand", HAND_READERS)
    if "mask" in setting.content:
        target = _masked(target, setting)
    most = int(setting.number("max_points", _MAX_POINTS, whole=True))
    target = parts.pick_some(target, most) if target.visible.shape[1] > most else target
    pose = None
    if "T_world_camera" in setting.content:
        given = arrays.numbers(setting.content["T_world_camera"], (4, 4), "T_world_camera", file)
        pose = arrays.rigid(given, "T_world_camera", file)
    config = AssembleConfig(
        fps=float(setting.number("fps", 0.0)),
        object_name=str(setting.content.get("object_name", "object")),
        K=setting.K,
        T_world_camera=pose,
        camera_pitch_deg=float(setting.number("camera_pitch_deg", 25.0)),
    )
    return assemble(hand, target, config, setting.first_frame, _hash(setting))


def _read(file: Path) -> Setting:
    if not file.is_file():
        raise InputFileError(f"no file {file}: expected a description of the parts; demos/importers/combined.py shows one")
    if file.stat().st_size > _MAX_JSON_BYTES:
        raise InputFileError(f"{file} has {file.stat().st_size} bytes, expected a short description of the parts")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputFileError(f"{file} is no JSON ({error}); demos/importers/combined.py shows one") from error
    if not isinstance(content, dict):
        raise InputFileError(f"{file} holds a {type(content).__name__}, expected an object with fps, hand and object")
    missing = [name for name in ("fps", "hand", "object") if name not in content]
    unknown = sorted(set(content) - _KEYS)
    if missing or unknown:
        problem = f"lacks {', '.join(missing)}" if missing else f"has the unknown {', '.join(unknown)}"
        raise InputFileError(f"{file} {problem}; known are {', '.join(sorted(_KEYS))}")
    return Setting(file, content)


def _choose(setting: Setting, name: str, readers: Mapping[str, Callable[[Setting, Mapping[str, Any]], Any]]) -> Any:
    part = setting.part(name)
    reader = readers.get(str(part.get("format")))
    if reader is None:
        raise InputFileError(
            f"{setting.file}: {name} has the format {part.get('format')!r}, expected one of {', '.join(readers)}"
        )
    return reader(setting, part)


def _hamer(setting: Setting, part: Mapping[str, Any]) -> HandTrack:
    from demos.importers.hamer import read_hamer

    mano = setting.path(part, "mano") if "mano" in part else None
    side, size = str(part.get("side", "auto")), setting.size("hamer")
    return read_hamer(setting.path(part), size, setting.K, side, mano, setting.first_frame, setting.num_frames)


def _wilor(setting: Setting, part: Mapping[str, Any]) -> HandTrack:
    from demos.importers.wilor import read_wilor

    side, size = str(part.get("side", "auto")), setting.size("wilor")
    return read_wilor(setting.path(part), size, setting.K, side, setting.first_frame, setting.num_frames)


def _mcc_ho(setting: Setting, part: Mapping[str, Any]) -> ObjectTrack:
    from demos.importers.mcc_ho import read_mcc_ho

    sets = read_mcc_ho(setting.path(part), first_frame=setting.first_frame, num_frames=setting.num_frames)
    track = sets.sampled(_MAX_POINTS)
    if setting.K is None:
        return track
    pixels = parts.image_points(track.points_camera, setting.K)
    return ObjectTrack(track.points_camera, pixels, track.visible, track.pose_camera, track.residual_m)


def _shape_of_motion(setting: Setting, part: Mapping[str, Any]) -> ObjectTrack:
    from demos.importers.shape_of_motion import read_shape_of_motion

    norm = setting.path(part, "scene_norm") if "scene_norm" in part else None
    read = read_shape_of_motion(setting.path(part), norm)
    return _static(read.track, read.camera)


def _spatialtracker(setting: Setting, part: Mapping[str, Any]) -> ObjectTrack:
    from demos.importers.spatialtracker import read_spatialtracker

    scale = part.get("pixel_scale", 1.0)
    if not isinstance(scale, int | float) or not 0 < scale < 1000:
        raise InputFileError(f"{setting.file}: pixel_scale is {scale!r}, expected px of the video for one px of the tracks")
    return read_spatialtracker(setting.path(part), setting.camera_matrix("spatialtracker"), setting.image_size, float(scale))


def _spatialtracker_v2(setting: Setting, part: Mapping[str, Any]) -> ObjectTrack:
    from demos.importers.spatialtracker_v2 import read_spatialtracker_v2

    read = read_spatialtracker_v2(setting.path(part))
    return _static(read.track, read.camera)


def _tapvid3d(setting: Setting, part: Mapping[str, Any]) -> ObjectTrack:
    from demos.importers.tapvid3d import read_tapvid3d

    read = read_tapvid3d(setting.path(part))
    return _static(read.track, read.camera)


def _hold(setting: Setting, part: Mapping[str, Any]) -> ObjectTrack:
    from demos.importers.hold import read_hold_object

    return read_hold_object(setting.path(part))


def _cotracker(setting: Setting, part: Mapping[str, Any]) -> ObjectTrack:
    from demos.importers.cotracker import read_cotracker

    return _lifted(setting, read_cotracker(setting.path(part)))


def _tapir(setting: Setting, part: Mapping[str, Any]) -> ObjectTrack:
    from demos.importers.tapir import read_tapir

    query = part.get("query")
    return _lifted(setting, read_tapir(setting.path(part), None if query is None else str(query)))


def _lifted(setting: Setting, tracks: parts.PixelTracks) -> ObjectTrack:
    if "depth" not in setting.content:
        raise InputFileError(f"{setting.file} lacks depth: these tracks are pixels without depth; add depth pictures (rgbd)")
    depth = _choose(setting, "depth", DEPTH_READERS)
    return parts.lift_tracks(tracks, depth, setting.camera_matrix("tracks in pixels"), setting.image_size)


def _rgbd(setting: Setting, part: Mapping[str, Any]) -> parts.DepthFrames:
    from demos.importers.rgbd import read_rgbd

    recording = read_rgbd(setting.path(part))
    setting.K = recording.K if setting.K is None else setting.K
    return recording.depth


def _disparity(setting: Setting, part: Mapping[str, Any]) -> parts.DepthFrames:
    from demos.importers.tapir import read_disparity

    return read_disparity(setting.path(part))


def _v2_depth(setting: Setting, part: Mapping[str, Any]) -> parts.DepthFrames:
    from demos.importers.spatialtracker_v2 import read_spatialtracker_v2_depth

    return read_spatialtracker_v2_depth(setting.path(part))


HAND_READERS: dict[str, Callable[[Setting, Mapping[str, Any]], HandTrack]] = {"hamer": _hamer, "wilor": _wilor}
OBJECT_READERS: dict[str, Callable[[Setting, Mapping[str, Any]], ObjectTrack]] = {
    "mcc-ho": _mcc_ho,
    "shape-of-motion": _shape_of_motion,
    "tapir": _tapir,
    "cotracker": _cotracker,
    "spatialtracker": _spatialtracker,
    "spatialtracker-v2": _spatialtracker_v2,
    "tapvid-3d": _tapvid3d,
    "hold": _hold,
}
DEPTH_READERS: dict[str, Callable[[Setting, Mapping[str, Any]], parts.DepthFrames]] = {
    "rgbd": _rgbd,
    "disparity": _disparity,
    "spatialtracker-v2": _v2_depth,
}


def _static(track: ObjectTrack, camera: parts.CameraTrack) -> ObjectTrack:
    """The track in the frame of the first camera, which the hand's frames share only if the camera stands still."""
    if camera.moves_m() < 1e-6:
        return track
    points = parts.to_first_camera(track.points_camera, camera)
    return parts.object_track(points, track.visible, track.points_image)


def _scaled(track: ObjectTrack, setting: Setting) -> ObjectTrack:
    scale = setting.part("object").get("scale", 1.0)
    if not isinstance(scale, int | float) or isinstance(scale, bool) or not 0 < scale < 1e6:
        raise InputFileError(f"{setting.file}: scale of the object is {scale!r}, expected a positive number")
    return track if scale == 1.0 else parts.object_track(track.points_camera * scale, track.visible, track.points_image)


def _fitted(track: ObjectTrack, frames: int) -> ObjectTrack:
    """The track with as many frames as the hand has: what is over is cut off, what is missing is unseen."""
    given = len(track.visible)
    if given >= frames:
        return ObjectTrack(
            track.points_camera[:frames],
            track.points_image[:frames],
            track.visible[:frames],
            track.pose_camera[:frames],
            track.residual_m[:frames],
        )

    def padded(values: np.ndarray, fill: Any) -> np.ndarray:
        return np.concatenate([values, np.full((frames - given, *values.shape[1:]), fill, values.dtype)])

    return ObjectTrack(
        padded(track.points_camera, np.nan),
        padded(track.points_image, np.nan),
        padded(track.visible, False),
        padded(track.pose_camera, np.nan),
        padded(track.residual_m, np.nan),
    )


def _masked(track: ObjectTrack, setting: Setting) -> ObjectTrack:
    from demos.importers.masks import read_masks

    part = setting.part("mask")
    object_id, frame = part.get("object_id"), part.get("frame", 0)
    if not (object_id is None or type(object_id) is int) or type(frame) is not int:
        raise InputFileError(f"{setting.file}: mask has object_id {object_id!r} and frame {frame!r}, expected whole numbers")
    masks = read_masks(setting.path(part), object_id)
    if not 0 <= frame < min(masks.count, len(track.visible)):
        raise InputFileError(f"{setting.file}: mask names frame {frame}, but there are {masks.count} masks, counted from 0")
    return parts.pick_in_mask(track, masks.read(frame), frame, setting.image_size)


def _hash(setting: Setting) -> str:
    """Over the description and every file of the named parts."""
    files = [setting.file]
    for name in ("hand", "object", "depth", "mask"):
        if name in setting.content:
            path = setting.path(setting.part(name))
            files += sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    return sha256_of_files(files)
