"""Settings of the extraction; the command line of `dexvid extract` is made from them."""

from __future__ import annotations

import dataclasses
import math
import re
from pathlib import Path

import tyro

from dexvid_envs.errors import OptionError

HAND_BACKENDS = ("mediapipe",)
TRACK_BACKENDS = ("optical-flow", "silhouette-shape", "cotracker", "tapir")
KEYPOINT_BACKENDS = ("motion", "vlm")


@dataclasses.dataclass(frozen=True)
class ExtractConfig:
    """What to extract and how.

    Attributes:
        video: the video, a folder of videos, or a folder of an RGB-D camera (rgb/, depth/, cam_K.txt); with --importer the file
            or folder that another extractor wrote.
        out: folder for interaction.npz, tracks.npz, quality.json, overlay.mp4 and report.html; replaced as a whole. Of several
            videos each gets such a folder in it.
        object_point: a pixel (x y) on the object; without it and without a box the object is what moves with the hand.
        object_box: a box (x0 y0 x1 y1) in px around the object.
        object_frame: source frame in which points and boxes are given.
        object_name: name of the moved object in the result.
        also: further objects by name and pixel or box or mask number, such as mug=420,180 or drawer=100,80,400,300 or rack=#2.
        masks: folder of PNG masks of another system (Track-Anything, SAM 2), one for each source frame.
        mask_id: number of the moved object's pixels in the masks; without it everything but the background.
        hands: hand backend; known: mediapipe.
        tracks: backend of the object's points; known: optical-flow, silhouette-shape (a shape from each frame's mask alone),
            and with --weights cotracker and tapir.
        weights: local weights of a torch tracker; nothing is downloaded.
        keypoints: who picks the task-relevant points: motion, or vlm (asks the endpoint at --vlm-url).
        vlm_url: an OpenAI-compatible endpoint, such as http://127.0.0.1:8000/v1; some pictures of the video are sent to it.
        vlm_model: name of the model there.
        vlm_key_env: name of the environment variable that holds the key of the endpoint, where it needs one.
        task: what is done, in words; helps the vlm.
        importer: read another extractor's output instead of a video: dexmv, interaction, combined, hold or spider.
        side: which hand to follow: auto (the one that moves most), right or left.
        mirrored: the picture is mirrored, as selfie cameras show it; it is put right first, so that the overlay and all pixels
            of the result are those of the picture put right. Points and boxes are given as the video shows them.
        fps_limit: frames a second that are looked at.
        picture_fps: frames a second of a folder of pictures.
        min_confidence: threshold of the hand detector; low, because a hand that holds something is often missed.
        max_gap_s: a hand that is lost for longer is not tracked through, only interpolated and flagged.
        hand_length_m: wrist to base of the middle finger; sets the scale where nothing else does.
        object_length_m: the moved object's largest extent, where it is known.
        rigid: whether the object keeps its shape: auto (as its points move), yes or no.
        camera_matrix: text file with the nine numbers of the camera matrix, px of the full picture.
        camera_pose: text file with the sixteen numbers of T_world_camera (z up, table at 0, metres).
        depth: folder of 16-bit PNG depth pictures in millimetres, one for each frame of the video.
        fov_deg: field of view across the longer image side, degrees; a guess for cameras that nobody calibrated.
        camera_pitch_deg: how far the camera looks down from the horizontal, degrees, where nothing in the film tells.
        control_hz: rate of the result.
        max_object_points: at most so many points of an object are kept.
        overlay: draw the overlay video.
        report: write the report.
        keep_work: folder for the results of the single stages; they are used again when the command is repeated with other
            options. Without it they are kept beside --out only until the extraction is complete.
    """

    video: tyro.conf.Positional[Path]
    out: Path
    object_point: tuple[float, float] | None = None
    object_box: tuple[float, float, float, float] | None = None
    object_frame: int = 0
    object_name: str = "object"
    also: tuple[str, ...] = ()
    masks: Path | None = None
    mask_id: int | None = None
    hands: str = "mediapipe"
    tracks: str = "optical-flow"
    weights: Path | None = None
    keypoints: str = "motion"
    vlm_url: str | None = None
    vlm_model: str | None = None
    vlm_key_env: str = ""
    task: str | None = None
    importer: str | None = None
    side: str = "auto"
    mirrored: bool = False
    fps_limit: float = 30.0
    picture_fps: float = 30.0
    min_confidence: float = 0.2
    max_gap_s: float = 1.0
    hand_length_m: float = 0.092  # median of adults, wrist crease to the knuckle's centre
    object_length_m: float | None = None
    rigid: str = "auto"
    camera_matrix: Path | None = None
    camera_pose: Path | None = None
    depth: Path | None = None
    fov_deg: float = 60.0  # phones and webcams film at 55 to 70
    camera_pitch_deg: float = 35.0  # a camera on a tripod that looks at a table
    control_hz: float = 20.0
    max_object_points: int = 200
    overlay: bool = True
    report: bool = True
    keep_work: Path | None = None

    def validate(self) -> None:
        """Refuses values that nothing can be done with; not in the constructor, where tyro would reword the message.

        Raises:
            OptionError: names the option, its value and what is expected.
        """
        _expect_one_of("hand backend (--hands)", self.hands, HAND_BACKENDS)
        _expect_one_of("track backend (--tracks)", self.tracks, TRACK_BACKENDS)
        _expect_one_of("key point backend (--keypoints)", self.keypoints, KEYPOINT_BACKENDS)
        _expect_one_of("side", self.side, ("auto", "right", "left"))
        _expect_one_of("--rigid", self.rigid, ("auto", "yes", "no"))
        if self.object_point is not None and self.object_box is not None:
            raise OptionError("both --object-point and --object-box are given, expected at most one; leave one out")
        if self.masks is not None and (self.object_point or self.object_box):
            raise OptionError("--masks says where the object is; leave --object-point and --object-box out")
        if self.mask_id is not None and self.masks is None:
            raise OptionError(f"--mask-id is {self.mask_id}, but there are no masks; give their folder with --masks")
        if self.keypoints == "vlm" and not (self.vlm_url and self.vlm_model):
            raise OptionError("--keypoints vlm needs an endpoint and a model: give --vlm-url and --vlm-model")
        if self.tracks in ("cotracker", "tapir") and self.weights is None:
            raise OptionError(f"--tracks {self.tracks} needs local weights: give the file with --weights")
        if not re.fullmatch(r"\w[\w -]*", self.object_name):
            raise OptionError(f"--object-name is {self.object_name!r}, expected letters, digits, spaces, - and _")
        names = [self.object_name, *(named.name for named in self.further_objects())]
        if len(set(names)) < len(names):
            raise OptionError(f"two objects have the same name, got {', '.join(names)}; rename one")
        for name, low, high in (
            ("fps_limit", 1.0, math.inf),
            ("picture_fps", 1.0, 1000.0),
            ("min_confidence", 0.0, 1.0),
            ("max_gap_s", 0.0, math.inf),
            ("hand_length_m", 0.04, 0.2),
            ("object_length_m", 0.005, 3.0),
            ("fov_deg", 10.0, 150.0),
            ("camera_pitch_deg", -89.0, 89.0),
            ("control_hz", 1.0, 1000.0),
            ("object_frame", 0, math.inf),
            ("max_object_points", 8, 10_000),
        ):
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                option = "--" + name.replace("_", "-")
                expected = f"at least {low}" if high == math.inf else f"{low} to {high}"
                raise OptionError(f"{option} is {value}, expected {expected}; change it or leave it out")

    def further_objects(self) -> tuple[NamedPlace, ...]:
        """What `also` says.

        Raises:
            OptionError: an entry cannot be understood.
        """
        return tuple(_read_place(text) for text in self.also)


@dataclasses.dataclass(frozen=True)
class NamedPlace:
    """A further object: its name, and a pixel (x, y), a box (x0, y0, x1, y1) or the number of its mask."""

    name: str
    pixel: tuple[float, float] | None = None
    box: tuple[float, float, float, float] | None = None
    mask_id: int | None = None

    def mirrored(self, width: int) -> NamedPlace:
        """The same in a picture of `width` px with left and right exchanged."""
        pixel, box = self.pixel, self.box
        return NamedPlace(
            self.name,
            None if pixel is None else (width - 1 - pixel[0], pixel[1]),
            None if box is None else (width - box[2], box[1], width - box[0], box[3]),
            self.mask_id,
        )


def _read_place(text: str) -> NamedPlace:
    name, _, place = text.partition("=")
    if re.fullmatch(r"\w[\w -]*", name):
        if re.fullmatch(r"#\d{1,9}", place):
            return NamedPlace(name, mask_id=int(place[1:]))
        try:
            numbers = tuple(float(word) for word in place.split(","))
        except ValueError:
            numbers = ()
        if all(math.isfinite(number) for number in numbers):
            if len(numbers) == 2:
                return NamedPlace(name, pixel=numbers)
            if len(numbers) == 4:
                return NamedPlace(name, box=numbers)
    raise OptionError(f"--also {text!r}: expected NAME=X,Y or NAME=X0,Y0,X1,Y1 in px, or NAME=#NUMBER of its mask")


def _expect_one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise OptionError(f"unknown {name} {value!r}, expected one of: {', '.join(known)}")
