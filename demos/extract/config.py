"""Settings of the extraction; the command line of `dexvid extract` is made from them."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import tyro

from dexvid_envs.errors import OptionError

HAND_BACKENDS = ("mediapipe",)
TRACK_BACKENDS = ("optical-flow",)


@dataclasses.dataclass(frozen=True)
class ExtractConfig:
    """What to extract and how.

    Attributes:
        video: the video; with --importer the file or folder that another extractor wrote.
        out: folder for interaction.npz, quality.json, overlay.mp4 and report.html; replaced as a whole.
        object_point: a pixel (x y) on the object; without it and without a box the object is what moves with the hand.
        object_box: a box (x0 y0 x1 y1) in px around the object.
        object_frame: source frame in which the point or box is given.
        object_name: name of the object in the result.
        hands: hand backend; known: mediapipe.
        tracks: backend of the object points; known: optical-flow.
        importer: read another extractor's output instead of a video: dexmv, interaction, combined, hold or spider.
        side: which hand to follow: auto (the one that moves most), right or left.
        mirrored: the picture is mirrored, as selfie cameras show it.
        fps_limit: frames a second that are looked at.
        min_confidence: threshold of the hand detector; low, because a hand that holds something is often missed.
        max_gap_s: a hand that is lost for longer is not tracked through, only interpolated and flagged.
        hand_length_m: wrist to base of the middle finger; sets the scale of everything.
        fov_deg: field of view across the longer image side, degrees; a guess for cameras that nobody calibrated.
        camera_pitch_deg: how far the camera looks down from the horizontal, degrees; the camera is taken as not rolled.
        control_hz: rate of the result.
        max_object_points: at most so many object points are kept.
    """

    video: tyro.conf.Positional[Path]
    out: Path
    object_point: tuple[float, float] | None = None
    object_box: tuple[float, float, float, float] | None = None
    object_frame: int = 0
    object_name: str = "object"
    hands: str = "mediapipe"
    tracks: str = "optical-flow"
    importer: str | None = None
    side: str = "auto"
    mirrored: bool = False
    fps_limit: float = 30.0
    min_confidence: float = 0.2
    max_gap_s: float = 1.0
    hand_length_m: float = 0.092  # median of adults, wrist crease to the knuckle's centre
    fov_deg: float = 60.0  # phones and webcams film at 55 to 70
    camera_pitch_deg: float = 25.0  # a camera on a tripod that looks at a table
    control_hz: float = 20.0
    max_object_points: int = 200

    def validate(self) -> None:
        """Refuses values that nothing can be done with; not in the constructor, where tyro would reword the message.

        Raises:
            OptionError: names the option, its value and what is expected.
        """
        _expect_one_of("hand backend (--hands)", self.hands, HAND_BACKENDS)
        _expect_one_of("track backend (--tracks)", self.tracks, TRACK_BACKENDS)
        _expect_one_of("side", self.side, ("auto", "right", "left"))
        if self.object_point is not None and self.object_box is not None:
            raise OptionError("both --object-point and --object-box are given, expected at most one; leave one out")
        for name, low, high in (
            ("fps_limit", 1.0, math.inf),
            ("min_confidence", 0.0, 1.0),
            ("max_gap_s", 0.0, math.inf),
            ("hand_length_m", 0.04, 0.2),
            ("fov_deg", 10.0, 150.0),
            ("camera_pitch_deg", -89.0, 89.0),
            ("control_hz", 1.0, 1000.0),
            ("object_frame", 0, math.inf),
            ("max_object_points", 8, 10_000),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                option = "--" + name.replace("_", "-")
                expected = f"at least {low}" if high == math.inf else f"{low} to {high}"
                raise OptionError(f"{option} is {value}, expected {expected}; change it or leave it out")


def _expect_one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise OptionError(f"unknown {name} {value!r}, expected one of: {', '.join(known)}")
