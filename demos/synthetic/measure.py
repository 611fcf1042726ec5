"""What the truth says of objects and key points: named objects with surface points, task-relevant points, and who is seen."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from demos.synthetic.film import FIRST_OBJECT_LABEL, HAND_LABEL, Shot
from demos.synthetic.flight import BUCKET_NAME, Bucket
from demos.synthetic.gesture import FloatArray, pose
from demos.synthetic.rooms import CABINET_NAME, TARGET_NAME, cabinet_parts
from demos.synthetic.scene import Scene
from demos.synthetic.shapes import Box, DrawerFront, Part, surface_samples
from demos.synthetic.things import Thing
from demos.synthetic.viewpoint import Viewpoint

if TYPE_CHECKING:
    from demos.synthetic.clips import Act

HANDLE_NAME = "handle"
#: Hand key points that are also task-relevant points, with their index among the 21.
_HAND_POINTS = {"wrist": 0, "thumb_tip": 4, "index_tip": 8, "middle_tip": 12, "ring_tip": 16, "little_tip": 20}
_SEEN_WITHIN_M = 0.004
_FLESH_M = np.array([0.034] + [0.022, 0.017, 0.015, 0.013] * 5)  # how much of its own flesh may lie before a key point
_FLESH_M[[5, 9, 13, 17]] = 0.020


class NamedObject(NamedTuple):
    """An object of a clip.

    Attributes:
        name: of its mask and tracks.
        poses: (N, 4, 4) over all samples.
        points: (P, 3) m on its surface, in its frame.
        normals: (P, 3) outwards.
        label_keys: names of its geoms or bodies.
        keypoints: named points in its frame, (3,) m.
    """

    name: str
    poses: FloatArray
    points: FloatArray
    normals: FloatArray
    label_keys: tuple[str, ...]
    keypoints: dict[str, FloatArray]


def named_objects(thing: Thing, scene: Scene, count: int, rng: np.random.Generator) -> list[NamedObject]:
    """The handled object first, then handle, cabinet, target or bucket."""
    poses = scene.performance.bodies[thing.name]
    still = (len(poses), 4, 4)
    shape = thing.shape
    objects = []
    if isinstance(shape, DrawerFront):
        panel = [part for part in shape.parts() if part.name == "panel"]
        bars = [part for part in shape.parts() if part.name != "panel"]
        width, height, _ = shape.panel_m
        x, y, z = shape.stand_off_m, 0.5 * width, 0.5 * height
        corners = {"front_top_left": np.array([x, y, z]), "front_top_right": np.array([x, -y, z])}
        objects.append(NamedObject(thing.name, poses, *surface_samples(panel, count, rng), (thing.name,), corners))
        end = np.array([0.0, shape.bar_half_length_m, 0.0])
        ends = {"left": end, "centre": 0.0 * end, "right": -end}
        keys = tuple(f"{thing.name}_{part.name}" for part in bars)
        objects.append(NamedObject(HANDLE_NAME, poses, *surface_samples(bars, count, rng), keys, ends))
    else:
        half = np.array([0.0, 0.0, shape.half_height_m])
        ends = {"base": -half, "middle": 0.0 * half, "top": half}
        objects.append(NamedObject(thing.name, poses, *surface_samples(shape.parts(), count, rng), (thing.name,), ends))
    if scene.cabinet is not None and isinstance(shape, DrawerFront):
        boards = cabinet_parts(shape, -float(scene.cabinet[2, 3]))
        sampled = surface_samples([_board(size, centre) for size, centre in boards], count, rng)
        size, centre = boards[2]
        front = centre - np.array([size[0], 0.0, -size[2]])
        across = np.array([0.0, size[1], 0.0])
        corners = {"top_left": front + across, "top_right": front - across}
        still_poses = np.broadcast_to(scene.cabinet, still)
        objects.append(NamedObject(CABINET_NAME, still_poses, *sampled, (CABINET_NAME,), corners))
    if scene.target_xy_m is not None:
        radius, turn = 0.05 * np.sqrt(rng.random(count)), rng.uniform(0.0, 2.0 * np.pi, count)
        points = np.column_stack([radius * np.cos(turn), radius * np.sin(turn), np.full(count, 0.0008)])
        normals = np.tile([0.0, 0.0, 1.0], (count, 1))
        still_poses = np.broadcast_to(pose(np.array([*scene.target_xy_m, 0.0])), still)
        objects.append(NamedObject(TARGET_NAME, still_poses, points, normals, (TARGET_NAME,), {"": np.zeros(3)}))
    if scene.bucket is not None:
        objects.append(_bucket(scene.bucket, still, count, rng))
    return objects


def _bucket(bucket: Bucket, still: tuple[int, int, int], count: int, rng: np.random.Generator) -> NamedObject:
    poses = np.broadcast_to(pose(np.array(bucket.position_m)), still)
    rim: dict[str, FloatArray] = dict(zip(("rim_far", "rim_left", "rim_near", "rim_right"), bucket.rim_points(), strict=True))
    return NamedObject(BUCKET_NAME, poses, *surface_samples(bucket.parts(), count, rng), (BUCKET_NAME,), rim)


def _board(half_size: FloatArray, centre: FloatArray) -> Part:
    x, y, z = (float(2.0 * half) for half in half_size)
    part = Box((x, y, z), 0.0005).parts()[0]
    return part._replace(vertices=part.vertices + centre)


def task_keypoints(act: Act, objects: list[NamedObject]) -> tuple[tuple[str, ...], FloatArray]:
    """Names (K,) and places (T, K, 3) m of the task-relevant points: of the hand, then of each object in turn."""
    names, tracks = list(_HAND_POINTS), [act.keypoints_world[:, index] for index in _HAND_POINTS.values()]
    for o in objects:
        poses = o.poses[act.frames]
        for part, point in o.keypoints.items():
            names.append(f"{o.name}_{part}".rstrip("_"))
            tracks.append(poses[:, :3, :3] @ point + poses[:, :3, 3])
    return tuple(names), np.stack(tracks, axis=1)


class DepthLookup:
    """Finds out from labels and depth of each picture what is seen in it.

    Attributes:
        hand_visible: (T, 21) bool.
        object_visible: (O, T, P) bool.
        keypoint_visible: (T, K) bool.
        object_points_world: (O, T, P, 3) m.
    """

    def __init__(self, view: Viewpoint, act: Act, objects: list[NamedObject]) -> None:
        self._view, self._act, self._objects = view, act, objects
        poses = np.array([o.poses[act.frames] for o in objects])  # (O, T, 4, 4)
        points, normals = np.array([o.points for o in objects]), np.array([o.normals for o in objects])
        self.object_points_world = np.einsum("otij,opj->otpi", poses[..., :3, :3], points) + poses[:, :, None, :3, 3]
        self._normals = np.einsum("otij,opj->otpi", poses[..., :3, :3], normals)
        self._names, self._keypoints = task_keypoints(act, objects)
        own = [FIRST_OBJECT_LABEL + number for number, o in enumerate(objects) for _ in o.keypoints]
        self._own_label = np.array([HAND_LABEL] * len(_HAND_POINTS) + own)
        frames = len(act.frames)
        self.hand_visible = np.zeros((frames, 21), bool)
        self.object_visible = np.zeros(self.object_points_world.shape[:3], bool)
        self.keypoint_visible = np.zeros((frames, len(self._names)), bool)

    def look(self, frame: int, shot: Shot) -> None:
        """Fills in one picture."""
        scale = self._act.hand.dimensions.scale
        before, label = self._before(self._act.keypoints_world[frame], shot)
        self.hand_visible[frame] = (before < _FLESH_M * scale) & (label == HAND_LABEL)
        eye = self._view.T_world_camera[:3, 3]
        for number in range(len(self._objects)):
            points = self.object_points_world[number, frame]
            before, label = self._before(points, shot)
            facing = np.einsum("pi,pi->p", self._normals[number, frame], eye - points) > 0.0
            self.object_visible[number, frame] = facing & (before < _SEEN_WITHIN_M) & (label == FIRST_OBJECT_LABEL + number)
        before, label = self._before(self._keypoints[frame], shot)
        # points inside a thing are seen where the thing is
        visible = (label == self._own_label) | (before < _SEEN_WITHIN_M)
        visible[: len(_HAND_POINTS)] = self.hand_visible[frame, list(_HAND_POINTS.values())]
        self.keypoint_visible[frame] = visible

    def _before(self, points_world: FloatArray, shot: Shot) -> tuple[FloatArray, NDArray[np.int64]]:
        """How far something lies before each point (M,) m, and its label; inf and -1 outside the picture."""
        camera = self._view.to_camera(points_world)
        pixels = np.rint(self._view.to_image(points_world)).astype(int)
        height, width = shot.labels.shape
        inside = (pixels >= 0).all(axis=-1) & (pixels[:, 0] < width) & (pixels[:, 1] < height) & (camera[:, 2] > 0.0)
        u, v = np.clip(pixels, 0, [width - 1, height - 1]).T
        before = np.where(inside, camera[:, 2] - shot.depth_m[v, u], np.inf)
        return before, np.where(inside, shot.labels[v, u].astype(np.int64), -1)
