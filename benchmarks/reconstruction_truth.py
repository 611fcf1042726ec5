"""What an interaction of a synthetic clip is measured against: the truth at its instants, and what its points lie on."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree
from scipy.spatial.transform import Rotation, Slerp

from demos.camera import transform, unproject
from demos.interaction import Interaction
from demos.synthetic.rooms import CABINET_NAME
from demos.synthetic.shapes import Ball, Box, Mug, Shape, Turned, surface_samples
from demos.synthetic.things import make_drawer, make_thing
from demos.synthetic.truth import ClipTruth
from dexvid_envs.errors import InputFileError

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]

_SURFACE_POINTS = 40_000  # about 1 mm apart on everyday things
_SEEN_SHARE = 2e-4  # of the picture; an object that shows less counts as out of sight
#: What a key point may miss a part by, as a share of the picture's width, and still count as meant for it.
_MEANT_SHARE = 0.04
#: Behind an instant lies the nearest source frame, or one of its neighbours where frames are skipped.
_FRAME_SLACK = 1.01


@dataclasses.dataclass(frozen=True)
class Symmetry:
    """The turns of an object's frame about which its shape says nothing.

    Attributes:
        kind: "sphere": all; "axis": all about z; "finite": those of `turns` alone.
        turns: (S, 3, 3), the identity among them; of an "axis" only whether z may point either way.
    """

    kind: str
    turns: FloatArray = dataclasses.field(default_factory=lambda: np.eye(3)[None])


@dataclasses.dataclass(frozen=True)
class Clip:
    """A synthetic clip with what is needed to measure against it.

    Attributes:
        folder: with video.mp4 and truth.npz.
        truth: its truth.
        surface_object: (M, 3) m, dense points on the handled object's surface, in its frame.
        symmetry: of the handled object's shape.
        handled: numbers of the truth's objects that move as the handled one does: itself, and a drawer's handle.
        seen: (O, T) bool, the object shows in the picture.
    """

    folder: Path
    truth: ClipTruth
    surface_object: FloatArray
    symmetry: Symmetry
    handled: tuple[int, ...]
    seen: BoolArray

    @classmethod
    def load(cls, folder: Path) -> Clip:
        """Reads a clip's folder.

        Raises:
            InputFileError: truth.npz or clip.json is missing or damaged.
        """
        truth = ClipTruth.load(folder / "truth.npz")
        shape = _shape(folder / "clip.json")
        surface, _ = surface_samples(shape.parts(), _SURFACE_POINTS, np.random.default_rng(0))
        poses = truth.object_pose_world
        handled = tuple(int(o) for o in range(len(poses)) if np.abs(poses[o] - poses[0]).max() < 1e-9)
        labels = [truth.label_names.index(name) for name in truth.object_names]
        pixels = np.array([(truth.labels == label).sum(axis=(1, 2)) for label in labels])
        return cls(folder, truth, surface, symmetry_of(shape), handled, pixels >= _SEEN_SHARE * truth.labels[0].size)

    def parts(self) -> dict[str, tuple[int, ...]]:
        """Numbers of the objects of each task-relevant part besides the hand: what is handled, and a target or container."""
        others = {
            name: (o,) for o, name in enumerate(self.truth.object_names) if o not in self.handled and name != CABINET_NAME
        }
        return {self.truth.object_names[0]: self.handled, **others}

    def seen_cloud(self, frame: int, objects: Sequence[int]) -> tuple[FloatArray, IntArray]:
        """What a picture shows of objects: points (M, 3) m, each in the frame of its object, and the object's number (M,)."""
        truth = self.truth
        depth_m = truth.depth_m(frame)
        clouds, numbers = [np.zeros((0, 3))], [np.zeros(0, np.int64)]
        for number in objects:
            rows, columns = np.nonzero(truth.labels[frame] == truth.label_names.index(truth.object_names[number]))
            pixels = np.stack([columns, rows], axis=-1).astype(np.float64)
            camera = unproject(pixels, depth_m[rows, columns].astype(np.float64), truth.K)
            T_object_camera = np.linalg.inv(truth.object_pose_world[number, frame]) @ truth.T_world_camera
            clouds.append(transform(T_object_camera, camera))
            numbers.append(np.full(len(camera), number))
        return np.concatenate(clouds), np.concatenate(numbers)

    @functools.cached_property
    def surface_tree(self) -> KDTree:
        """Finds the nearest surface point, in the object's frame."""
        return KDTree(self.surface_object)


@dataclasses.dataclass(frozen=True)
class TrueMotion:
    """What was true at an interaction's N instants, between two pictures by interpolation.

    Attributes:
        frame: (N,) nearest picture.
        hand_world: (N, 21, 3) m.
        object_pose_world: (O, N, 4, 4).
        keypoints_world: (N, K, 3) m.
        contact: (N,) bool.
        hand_seen: (N,) bool, any of its key points is visible.
        object_seen: (O, N) bool.
    """

    frame: IntArray
    hand_world: FloatArray
    object_pose_world: FloatArray
    keypoints_world: FloatArray
    contact: BoolArray
    hand_seen: BoolArray
    object_seen: BoolArray

    @classmethod
    def at(cls, interaction: Interaction, clip: Clip, shown: IntArray | None = None) -> TrueMotion:
        """The truth at the interaction's instants; `shown` (T,) is the clip's picture behind each of the video."""
        truth = clip.truth
        at = instants(interaction, truth)
        if shown is not None:
            at = np.interp(at, np.arange(len(shown)), shown)
        low = np.minimum(at.astype(np.int64), truth.num_frames - 2)
        part = at - low
        frame = np.round(at).astype(np.int64)

        def blend(values: FloatArray) -> FloatArray:
            weight = part.reshape(-1, *([1] * (values.ndim - 1)))
            return (1.0 - weight) * values[low] + weight * values[low + 1]

        poses = np.tile(np.eye(4), (len(truth.object_names), len(at), 1, 1))
        for number, pose in enumerate(truth.object_pose_world):
            poses[number, :, :3, :3] = Slerp(np.arange(len(pose)), Rotation.from_matrix(pose[:, :3, :3]))(at).as_matrix()
            poses[number, :, :3, 3] = blend(pose[:, :3, 3])
        return cls(
            frame=frame,
            hand_world=blend(truth.hand_keypoints_world),
            object_pose_world=poses,
            keypoints_world=blend(truth.keypoints_world),
            contact=truth.contact[frame],
            hand_seen=truth.hand_visible.any(axis=1)[frame],
            object_seen=clip.seen[:, frame],
        )


@dataclasses.dataclass(frozen=True)
class Attached:
    """Points of an estimate with the places on true objects at which they were first seen.

    Attributes:
        number: (P,) of the object; -1 for a point that is never visible while an object is.
        place_object: (P, 3) m in the frame of that object; NaN where there is none.
        missed_px: (P,) how far the point lay from that place in the picture.
    """

    number: IntArray
    place_object: FloatArray
    missed_px: FloatArray

    def places_world(self, motion: TrueMotion) -> FloatArray:
        """(N, P, 3) m, where the points truly were."""
        poses = motion.object_pose_world[self.number]  # (P, N, 4, 4); those without object become NaN by their place
        return transform(poses, np.broadcast_to(self.place_object[:, None, None], (*poses.shape[:2], 1, 3)))[:, :, 0].swapaxes(
            0, 1
        )


def attach(pixels: FloatArray, visible: BoolArray, clip: Clip, motion: TrueMotion, objects: Sequence[int]) -> Attached:
    """Finds for points (N, P, 2) px the true surface point behind each, in the first instant in which it is visible (N, P).

    A point beside the objects gets the one that seems nearest to it in the picture.
    """
    count = pixels.shape[1]
    attached = Attached(np.full(count, -1), np.full((count, 3), np.nan), np.full(count, np.nan))
    usable = visible & np.isfinite(pixels).all(axis=-1) & motion.object_seen[list(objects)].any(axis=0)[:, None]
    first = np.where(usable.any(axis=0), usable.argmax(axis=0), -1)
    for instant in np.unique(first[first >= 0]):
        of_instant = np.flatnonzero(first == instant)
        cloud, number = clip.seen_cloud(int(motion.frame[instant]), objects)
        world = transform(motion.object_pose_world[number, instant], cloud[:, None])[:, 0]
        missed, nearest = KDTree(clip.truth.to_image(world)).query(pixels[instant, of_instant])
        attached.number[of_instant] = number[nearest]
        attached.place_object[of_instant] = cloud[nearest]
        attached.missed_px[of_instant] = missed
    return attached


def meant_for_a_part(attached: Attached, clip: Clip) -> BoolArray:
    """(P,) bool, the point lay on its object or close by."""
    return attached.missed_px <= _MEANT_SHARE * clip.truth.labels.shape[2]


def instants(interaction: Interaction, truth: ClipTruth) -> FloatArray:
    """(N,) an interaction's instants, counted in pictures of the clip: by its rate, or else by the source frames it names."""
    at = interaction.frame_index[0] + np.arange(interaction.num_frames) * (truth.fps / interaction.fps)
    if np.abs(at - interaction.frame_index).max() > _FRAME_SLACK * max(1.0, truth.fps / interaction.fps):
        at = interaction.frame_index.astype(np.float64)
    return np.clip(at, 0.0, truth.num_frames - 1.0)


def symmetry_of(shape: Shape) -> Symmetry:
    """Which turns leave the shape as it is; what is printed on it does not count."""
    half = Rotation.from_rotvec(np.pi * np.vstack([np.zeros((1, 3)), np.eye(3)])).as_matrix()  # none, about x, y and z
    if isinstance(shape, Ball):
        return Symmetry("sphere")
    if isinstance(shape, Turned):
        outline = np.array(shape.outline_m)
        flipped = outline[::-1] * [1.0, -1.0] + [0.0, shape.height_m]
        stands_either_way = not shape.cavity_m and outline.shape == flipped.shape and np.abs(outline - flipped).max() < 1e-3
        return Symmetry("axis", half[:2] if stands_either_way else half[:1])
    if isinstance(shape, Box):
        quarters = [np.eye(3)]
        for axis, (a, b) in enumerate(((1, 2), (0, 2), (0, 1))):
            if abs(shape.size_m[a] - shape.size_m[b]) < 1e-3:
                quarters.append(Rotation.from_rotvec(0.5 * np.pi * np.eye(3)[axis]).as_matrix())
        turns = np.array([quarter @ turn for quarter in quarters for turn in half])
        return Symmetry("finite", turns)
    assert isinstance(shape, Mug) or hasattr(shape, "panel_m"), type(shape).__name__
    return Symmetry("finite")


def _shape(path: Path) -> Shape:
    """The handled thing's shape, from the clip's config."""
    try:
        config = json.loads(path.read_text())
        pool, number, kind = str(config["corpus"]), int(config["thing"]), str(config["kind"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputFileError(f"{path} does not say what a synthetic clip shows ({error}); make the clip again") from error
    return (make_drawer(pool, number) if kind == "drawer" else make_thing(pool, number, tossed=kind == "throw")).shape
