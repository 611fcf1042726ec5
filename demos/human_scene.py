"""Draws an interaction (hand key points and object) on the table of an environment, without the robot."""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull, QhullError

from demos.interaction import HAND_BONES, Interaction
from dexvid_envs.env import DexVidEnv
from dexvid_envs.rendering import make_renderer
from dexvid_envs.tasks.bottle_pick_place import BottlePickPlace
from dexvid_envs.tasks.grasp_lift import GraspLift
from dexvid_envs.tasks.lift_throw import LiftThrow
from dexvid_envs.tasks.open_cabinet import OpenCabinet
from robots.bucket import add_bucket
from robots.cabinet import add_cabinet
from robots.collision import make_visual
from robots.objects import BOTTLES, add_bottle, bottle_distance
from robots.scene import CAMERAS, add_scenery

FloatArray = NDArray[np.float64]

#: Wrist, then thumb, index, middle, ring, little.
FINGER_RGBA = (
    (0.45, 0.47, 0.50, 1.0),
    (0.93, 0.42, 0.24, 1.0),
    (0.96, 0.72, 0.20, 1.0),
    (0.35, 0.70, 0.36, 1.0),
    (0.20, 0.56, 0.86, 1.0),
    (0.60, 0.38, 0.78, 1.0),
)
_PALM_BONES = ((5, 9), (9, 13), (13, 17))  # between the bases of the fingers
_JOINT_RADIUS_M, _TIP_RADIUS_M, _BONE_RADIUS_M = 0.0085, 0.0098, 0.0068
_POINT_RADIUS_M, _POINT_RGBA = 0.0022, (0.07, 0.09, 0.12, 1.0)
_OBJECT_RGBA = (0.36, 0.62, 0.80, 1.0)
_SAME_SHAPE_M = 0.004  # recorded points this near to the simulated bottle's surface show the same bottle
_MAX_POINTS = 80
_HIDING_RADIUS_M = 0.010  # a recorded point stands for the surface this far around it
_WORTH_ANOTHER_CAMERA = 0.25
_SHADOW_PX = 1024  # a smaller shadow map than the models' own, which nobody sees at the size of these videos


class HumanScene:
    """Pictures of an interaction's frames.

    The object is drawn as the environment's bottle where the recorded points lie on its surface, else as the convex hull of
    the points, so that a recorded object is never shown as something that it was not. The points themselves are dots.

    Args:
        interaction: in the environment's world.
        env: whose table, target and cameras are drawn.
        width, height: of the pictures, px.
        camera: name of a camera of the scenery.
    """

    def __init__(self, interaction: Interaction, env: DexVidEnv, width: int, height: int, camera: str) -> None:
        self.interaction, self.env, self.camera = interaction, env, camera
        self.model = _scene(interaction, env).compile()
        draw_quickly(self.model)
        self.data = mujoco.MjData(self.model)
        bodies = [self.model.body(body) for body in range(self.model.nbody)]
        self._placed = [body.name for body in bodies if body.mocapid[0] >= 0]
        free = [joint for joint in range(self.model.njnt) if self.model.jnt_type[joint] == mujoco.mjtJoint.mjJNT_FREE]
        self._object_qposadr = int(self.model.jnt_qposadr[free[0]]) if free else None
        self.renderer = make_renderer(self.model, height, width)

    def picture(self, frame: int) -> NDArray[np.uint8]:
        """(height, width, 3) RGB of one frame; the target stands where it does in the environment now."""
        data, pose = self.data, self.interaction.object_pose_world[frame]
        if self._object_qposadr is not None and np.isfinite(pose).all():
            place = self._object_qposadr
            data.qpos[place : place + 3] = pose[:3, 3]
            mujoco.mju_mat2Quat(data.qpos[place + 3 : place + 7], np.ascontiguousarray(pose[:3, :3]).ravel())
        for name in self._placed:
            here, there = self.model.body(name).mocapid[0], self.env.model.body(name).mocapid[0]
            data.mocap_pos[here], data.mocap_quat[here] = self.env.data.mocap_pos[there], self.env.data.mocap_quat[there]
        mujoco.mj_forward(self.model, data)
        self.renderer.update_scene(data, camera=self.camera)
        scene = self.renderer.scene
        _add_hand(scene, self.interaction.hand_keypoints_world[frame])
        seen = self.interaction.object_visible[frame]
        points = self.interaction.object_points_world[frame][seen]
        for point in points[:: -(-max(len(points), 1) // _MAX_POINTS)]:
            _add_ball(scene, point, _POINT_RADIUS_M, _POINT_RGBA)
        return self.renderer.render()

    def __enter__(self) -> HumanScene:
        return self

    def __exit__(self, *_: object) -> None:
        self.renderer.close()


def clearest_camera(interaction: Interaction, frames: int = 12) -> str:
    """Name of the scenery's camera from which the object hides least of the hand while it is held.

    The first camera is kept unless another shows a quarter of the hand more.
    """
    held = np.flatnonzero(interaction.contact) if interaction.contact.any() else np.arange(interaction.num_frames)
    chosen = held[np.unique(np.linspace(0, len(held) - 1, frames).round().astype(int))]
    shares = {}
    for camera in CAMERAS:
        hidden = [
            _hidden(np.asarray(camera.eye_m), interaction.hand_keypoints_world[frame], interaction.object_points_world[frame])
            for frame in chosen
        ]
        shares[camera.name] = float(np.mean(hidden))
    best = min(shares, key=lambda name: shares[name])
    return best if shares[best] < shares[CAMERAS[0].name] - _WORTH_ANOTHER_CAMERA else CAMERAS[0].name


def _hidden(eye: FloatArray, keypoints: FloatArray, points: FloatArray) -> float:
    """Share of the key points (21, 3) m that lie behind one of the object's points (P, 3) m, seen from `eye`."""
    rays = keypoints - eye
    distance = np.linalg.norm(rays, axis=-1, keepdims=True)
    along = (rays / distance) @ (points - eye).T  # (21, P) m
    off = np.sqrt(np.maximum(((points - eye) ** 2).sum(axis=-1) - along**2, 0.0))
    return float(((along < distance) & (off < _HIDING_RADIUS_M)).any(axis=-1).mean())


def draw_quickly(model: mujoco.MjModel) -> None:
    """Halves the time of pictures that renderers made from now on draw, by coarser shadows, edges and spheres."""
    quality: Any = model.vis.quality
    quality.shadowsize, quality.offsamples = _SHADOW_PX, 0
    quality.numslices, quality.numstacks = 16, 10


def _scene(interaction: Interaction, env: DexVidEnv) -> mujoco.MjSpec:
    """Scenery, target ring and the recorded object as a free body."""
    spec = mujoco.MjSpec()
    add_scenery(spec, env.task.cameras, env.task.table)
    _add_furniture(spec, env)
    points = object_points(interaction)
    shape = getattr(env.task, "shape", None)
    name = next((name for name, known in BOTTLES.items() if known is shape), None)
    if name is not None and len(points) and np.median(np.abs(bottle_distance(BOTTLES[name], points))) <= _SAME_SHAPE_M:
        add_bottle(spec, "object", BOTTLES[name])
    elif len(points):
        _add_hull(spec, points)
    return spec


def _add_furniture(spec: mujoco.MjSpec, env: DexVidEnv) -> None:
    """What of the environment's scene stands or hangs there beside the object: target ring, goal, bucket, cabinet."""
    task = env.task
    if isinstance(task, OpenCabinet):
        add_cabinet(spec, task.cabinet)
    elif isinstance(task, LiftThrow):
        add_bucket(spec, task.bucket)
    elif isinstance(task, GraspLift):
        goal = spec.worldbody.add_body(name="goal", mocap=True)
        make_visual(goal.add_geom(type=mujoco.mjtGeom.mjGEOM_SPHERE, size=(0.02, 0, 0), rgba=(0.2, 0.75, 0.35, 0.55)))
    elif isinstance(task, BottlePickPlace):
        target = spec.worldbody.add_body(name="target", mocap=True)
        for radius, half_height, rgba in ((0.055, 0.0006, (0.2, 0.75, 0.35, 1)), (0.045, 0.0008, (0.93, 0.93, 0.90, 1))):
            make_visual(target.add_geom(type=mujoco.mjtGeom.mjGEOM_CYLINDER, size=(radius, half_height, 0), rgba=rgba))


def object_points(interaction: Interaction) -> FloatArray:
    """(P, 3) m the recorded surface points in the object's frame; (0, 3) where no rigid pose is known."""
    pose, points = interaction.object_pose_world, interaction.object_points_world
    known = np.isfinite(pose).all(axis=(1, 2))
    if not known.any():
        return np.empty((0, 3))
    local = np.einsum("tji,tpj->tpi", pose[known][:, :3, :3], points[known] - pose[known][:, None, :3, 3])
    usable = np.isfinite(local).all(axis=-1).any(axis=0)
    return np.nanmedian(local[:, usable], axis=0)


def _add_hull(spec: mujoco.MjSpec, points: FloatArray) -> None:
    """The points' convex hull as a free body; nothing where they span no volume."""
    try:
        hull = ConvexHull(points)
    except (QhullError, ValueError):
        return
    body = spec.worldbody.add_body(name="object")
    body.add_freejoint()
    corners = points[hull.vertices]
    spec.add_mesh(name="object", uservert=corners.ravel())
    body.add_geom(type=mujoco.mjtGeom.mjGEOM_MESH, meshname="object", rgba=_OBJECT_RGBA, mass=0.1)


def _add_hand(scene: mujoco.MjvScene, keypoints: FloatArray) -> None:
    """Balls on the key points and rods between them, coloured by finger; unknown points are left out."""
    known = np.isfinite(keypoints).all(axis=-1)
    for start, end in (*HAND_BONES, *_PALM_BONES):
        if known[start] and known[end]:
            rgba = FINGER_RGBA[0] if (start, end) in _PALM_BONES else FINGER_RGBA[_finger(end)]
            _add_rod(scene, keypoints[start], keypoints[end], rgba)
    for index in np.flatnonzero(known):
        radius = _TIP_RADIUS_M if index and index % 4 == 0 else _JOINT_RADIUS_M
        _add_ball(scene, keypoints[index], radius * (1.5 if index == 0 else 1.0), FINGER_RGBA[_finger(int(index))])


def _finger(keypoint: int) -> int:
    return 0 if keypoint == 0 else 1 + (keypoint - 1) // 4


def _next_geom(scene: mujoco.MjvScene) -> mujoco.MjvGeom | None:
    if scene.ngeom >= scene.maxgeom:
        return None
    scene.ngeom += 1
    return scene.geoms[scene.ngeom - 1]


def _add_ball(scene: mujoco.MjvScene, centre: FloatArray, radius_m: float, rgba: tuple[float, ...]) -> None:
    geom = _next_geom(scene)
    if geom is not None and np.isfinite(centre).all():
        size, colour = np.full(3, radius_m), np.array(rgba, dtype=np.float32)
        mujoco.mjv_initGeom(geom, mujoco.mjtGeom.mjGEOM_SPHERE, size, centre, np.eye(3).ravel(), colour)


def _add_rod(scene: mujoco.MjvScene, start: FloatArray, end: FloatArray, rgba: tuple[float, ...]) -> None:
    geom = _next_geom(scene)
    if geom is not None:
        colour = np.array(rgba, dtype=np.float32)
        mujoco.mjv_initGeom(geom, mujoco.mjtGeom.mjGEOM_CAPSULE, np.ones(3), np.zeros(3), np.eye(3).ravel(), colour)
        mujoco.mjv_connector(geom, mujoco.mjtGeom.mjGEOM_CAPSULE, _BONE_RADIUS_M, start, end)
