"""The whole way from a video (or another extractor's output) to `interaction.npz` and its report.

    pictures -> hand in the picture -> metric hand
             -> objects in the picture (masks, point tracks) -> contact -> metric objects -> key points -> world -> interaction

Every stage is a function of those before it; its result is stored (`stage_store`), so that a killed run goes on where it was.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demos.extract.config import ExtractConfig
from demos.extract.extraction import Extraction, settings_of, write_files
from demos.extract.gates import check_gates
from demos.extract.hand.follow import LOST
from demos.extract.hand.pose import HandQuality, lift_hand
from demos.extract.imported import import_extraction
from demos.extract.objects.contact import find_contact_px
from demos.extract.objects.lift import LiftConfig, lift_object
from demos.extract.objects.lift_figures import LiftedObject
from demos.extract.objects.stage import (
    FollowedObject,
    PointTracker,
    check_masks,
    check_places,
    find_objects,
    open_point_tracker,
    to_video_pixels,
)
from demos.extract.objects.standing import lift_standing
from demos.extract.objects.touch import bring_to_object
from demos.extract.overlay import OverlayData, write_overlay
from demos.extract.quality import (
    camera_quality,
    find_warnings,
    goal_quality,
    hand_quality,
    object_quality,
    result_quality,
    scene_quality,
    video_quality,
)
from demos.extract.sight import Sight, watch
from demos.extract.stage_clock import Progress, StageClock
from demos.extract.stage_store import StageStore
from demos.extract.task_stage import find_keypoints
from demos.extract.tracks_file import write_tracks
from demos.extract.work_folder import check_output, work_folder
from demos.extract.world import place_world, to_interaction
from demos.interaction import HandTrack, Interaction, KeypointTrack, ObjectTrack
from demos.recording import Recording, open_recording
from demos.resample import resample
from demos.video import FrameCache
from dexvid_envs.files import atomic_folder


@dataclasses.dataclass(frozen=True)
class MetricHand:
    """The hand's track and the figures that go with it."""

    track: HandTrack
    figures: HandQuality


@dataclasses.dataclass(frozen=True)
class Contact:
    """Frames (T,) in which the hand touches the moved object."""

    flags: NDArray[np.bool_]


def extract(config: ExtractConfig, progress: Progress = lambda stage, done, total: None) -> Extraction:
    """Extracts and writes the folder `config.out`; after an error nothing is written, and after a kill the next call goes on.

    Raises:
        InputFileError: the source, or a file given beside it, cannot be read.
        NoHandFoundError: no hand was found.
        OptionError: an option does not fit, such as an object point outside the frame.
        MissingExtraError: mediapipe, or what a tracker needs, is not installed.
    """
    config.validate()
    check_output(config.out)
    if config.importer is not None:
        return import_extraction(config, config.importer)
    recording = open_recording(
        config.video,
        fps_limit=config.fps_limit,
        fov_deg=config.fov_deg,
        picture_fps=config.picture_fps,
        camera_matrix=config.camera_matrix,
        camera_pose=config.camera_pose,
        depth=config.depth,
        mirrored=config.mirrored,
    )
    check_places(config, recording.info)
    check_masks(config, recording.info)
    tracker = open_point_tracker(config)
    with work_folder(config.out, config.keep_work) as folder:
        return _Run(config, recording, StageStore(folder), StageClock(progress), tracker).run()


class _Run:
    """One extraction."""

    def __init__(
        self, config: ExtractConfig, recording: Recording, store: StageStore, clock: StageClock, tracker: PointTracker | None
    ) -> None:
        self.config, self.recording, self.store, self.clock, self.tracker = config, recording, store, clock, tracker
        self.source = {"sha256": recording.info.sha256, "stride": recording.stride, "K": recording.K.tolist()}

    def _depends(self, *options: str, after: tuple[str, ...] = ()) -> dict[str, Any]:
        """What a stage depends on, for its key."""
        return {"after": after, **{name: getattr(self.config, name) for name in options}}

    def run(self) -> Extraction:
        config, recording, store, clock = self.config, self.recording, self.store, self.clock
        sight, pictures = self._watch()
        self.recording = recording = recording.of_length(len(sight.source_index))
        try:
            hand = store.run(
                "hand",
                MetricHand,
                self._depends("hand_length_m", "depth", "camera_matrix", "fov_deg", "camera_pose", after=("sight",)),
                lambda: self._lift_hand(sight),
            )
            objects = self._follow_objects(sight, pictures)
            moved = next(iter(objects.values()), None)
            contact = store.run(
                "contact", Contact, self._depends(after=("hand", "objects")), lambda: self._contact(hand, moved)
            )
            lifted = self._lift_objects(hand, contact.flags, objects)
            hand = self._at_object(hand, next(iter(lifted.values()), None), contact.flags)
            tracks = {name: one.track for name, one in lifted.items()}
            target = next(iter(tracks.values()), _no_object(len(contact.flags)))
            world = place_world(recording, hand.track, target, contact.flags, config.camera_pitch_deg)
            for name, one in self._standing(objects, lifted, world.T_world_camera).items():
                lifted[name], tracks[name] = one, one.track
            clock.begin("naming key points", len(pictures))
            keypoints = store.run(
                "keypoints",
                KeypointTrack,
                self._depends("keypoints", "vlm_url", "vlm_model", "task", "camera_pose", after=("lift",)),
                lambda: find_keypoints(
                    config, recording, pictures, hand.track, objects, tracks, contact.flags, world, store.folder, clock.step
                ),
            )
        finally:
            pictures.close()
        clock.end()
        whole = to_interaction(recording, world, hand.track, tracks, keypoints, contact.flags, sight.source_index)
        interaction = resample(whole, config.control_hz)
        quality: dict[str, Any] = {
            "source": video_quality(recording, len(sight.source_index)),
            "camera": camera_quality(recording, sight.camera, world),
            "hand": hand_quality(sight.raw, hand.track, hand.figures),
            "object": object_quality(config.object_name, moved, next(iter(lifted.values()), None), recording),
            "scene": scene_quality(whole, lifted),
            "goal": goal_quality(interaction),
            "result": result_quality(interaction),
        }
        quality["gates"] = check_gates(quality, sight, hand.track, hand.figures, whole)
        quality["warnings"] = find_warnings(quality, config, recording)
        self._write(whole, interaction, quality, sight, hand, objects, tracks, keypoints, contact.flags)
        return Extraction(interaction, quality)

    def _watch(self) -> tuple[Sight, FrameCache]:
        """Hand and camera in all frames that are looked at, and the kept pictures."""
        config, path = self.config, self.store.folder / "pictures.bin"
        depends = self.source | self._depends("hands", "mirrored", "min_confidence", "max_gap_s", "side")

        def make() -> Sight:
            self.store.forget("sight")  # its pictures are about to be overwritten
            self.clock.begin("finding the hand", self.recording.expected_frames)
            return watch(self.recording, config, path, self.store.folder / "detections.bin", self.clock.step)

        sight = self.store.run("sight", Sight, depends, make)
        end = int(sight.picture_spans.sum(axis=1).max())
        if not path.is_file() or path.stat().st_size < end:
            self.store.forget("sight")
            sight = self.store.run("sight", Sight, depends, make)
        return sight, FrameCache(path, sight.picture_spans)

    def _lift_hand(self, sight: Sight) -> MetricHand:
        self.clock.begin("measuring the hand", 0)
        recording = self.recording
        length_m, pose = self.config.hand_length_m, recording.T_world_camera
        return MetricHand(*lift_hand(sight.raw, recording.K, recording.fps, length_m, recording.depth, T_world_camera=pose))

    def _follow_objects(self, sight: Sight, pictures: FrameCache) -> dict[str, FollowedObject]:
        """The objects that were found, by name, the moved one first."""
        options = ("object_point", "object_box", "object_frame", "object_name", "also", "masks", "mask_id")
        depends = self._depends(*options, "tracks", "weights", "max_object_points", after=("sight",))
        self.clock.begin("following objects", 0)
        known = sight.raw.origin != LOST
        found = find_objects(self.config, self.recording, pictures, sight, known, self.store, depends, self.clock, self.tracker)
        self.store.key("objects", depends)
        return found

    def _contact(self, hand: MetricHand, moved: FollowedObject | None) -> Contact:
        frames = len(hand.track.confidence)
        if moved is None:
            return Contact(np.zeros(frames, bool))
        tracks, outline = to_video_pixels(moved, self.recording)
        return Contact(find_contact_px(hand.track.keypoints_image, tracks.pixels, outline, self.recording.fps))

    def _lift_objects(
        self, hand: MetricHand, contact: NDArray[np.bool_], objects: dict[str, FollowedObject]
    ) -> dict[str, LiftedObject]:
        """The moved object, and the others that move as well, in metres."""
        self.clock.begin("measuring objects", 0)
        size = (self.recording.info.width, self.recording.info.height)
        lifted: dict[str, LiftedObject] = {}
        for number, (name, one) in enumerate(objects.items()):
            length = self.config.object_length_m if number == 0 else None
            if number and not one.moves():
                continue
            if self.config.tracks == "silhouette-shape":
                from demos.extract.objects.silhouette_shape import silhouette_shape

                depends = self._depends("tracks", "object_length_m", "camera_pose", after=("hand", "contact"))
                make = lambda one=one, length=length: silhouette_shape(  # noqa: E731
                    one.seen.masks,
                    hand.track,
                    contact,
                    self.recording.K,
                    self.recording.fps,
                    length,
                    self.recording.depth,
                    size,
                )
            else:
                depends = self._depends("object_length_m", "rigid", "camera_pose", after=("hand", "contact"))
                tracks, _ = to_video_pixels(one, self.recording)
                lift = LiftConfig(known_length_m=length, rigid=self.config.rigid)
                make = lambda one=one, tracks=tracks, lift=lift: lift_object(  # noqa: E731
                    tracks,
                    one.seen.masks,
                    hand.track,
                    contact,
                    self.recording.K,
                    self.recording.fps,
                    lift,
                    self.recording.depth,
                    size,
                    self.recording.T_world_camera,
                )
            lifted[name] = self.store.run(f"lift-{number}", LiftedObject, depends | {"number": number}, make)
        self.store.key("lift", self._depends(after=tuple(f"lift-{n}" for n, name in enumerate(objects) if name in lifted)))
        return lifted

    def _at_object(self, hand: MetricHand, held: LiftedObject | None, contact: NDArray[np.bool_]) -> MetricHand:
        """The hand as far away as the object that it holds, where depth pictures do not say it."""
        recording = self.recording
        if held is None or (recording.depth is not None and recording.depth.metric):
            return hand
        track = bring_to_object(hand.track, held, contact, recording.fps)
        return dataclasses.replace(hand, track=track)

    def _standing(
        self, objects: dict[str, FollowedObject], lifted: dict[str, LiftedObject], T_world_camera: np.ndarray
    ) -> dict[str, LiftedObject]:
        """Objects that stand still: on the table."""
        size = (self.recording.info.width, self.recording.info.height)
        return {
            name: lift_standing(
                to_video_pixels(one, self.recording)[0],
                one.seen.masks,
                self.recording.K,
                T_world_camera,
                self.recording.depth,
                size,
            )
            for name, one in objects.items()
            if name not in lifted
        }

    def _write(
        self,
        whole: Interaction,
        interaction: Interaction,
        quality: dict[str, Any],
        sight: Sight,
        hand: MetricHand,
        objects: dict[str, FollowedObject],
        tracks: dict[str, ObjectTrack],
        keypoints: KeypointTrack,
        contact: NDArray[np.bool_],
    ) -> None:
        config, clock = self.config, self.clock
        with atomic_folder(config.out) as folder:
            write_tracks(folder / "tracks.npz", whole.frame_index, sight.raw, hand.track, tracks, keypoints)
            if config.overlay:
                clock.begin("drawing the overlay", len(contact))
                outlines = {name: to_video_pixels(one, self.recording)[1] for name, one in objects.items()}
                data = OverlayData(hand.track, tracks, outlines, keypoints, contact)
                write_overlay(folder / "overlay.mp4", self.recording, data, clock.step)
                clock.end()
            quality["timings_s"] = clock.seconds
            quality["config"] = settings_of(config)
            write_files(folder, interaction, quality, config.report)


def _no_object(frames: int) -> ObjectTrack:
    unknown = np.full((frames, 4, 4), np.nan)
    return ObjectTrack(
        np.zeros((frames, 0, 3)), np.zeros((frames, 0, 2)), np.zeros((frames, 0), bool), unknown, unknown[:, 0, 0]
    )
