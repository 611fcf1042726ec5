"""Films a synthetic recording: a person's arm at a table, in a room with soft light, seen by a static camera."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import imageio.v2 as imageio
import mujoco
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, gaussian_filter1d

from demos.interaction import FloatArray
from demos.synthetic import bottle
from demos.synthetic.config import CameraConfig, SyntheticPickPlaceConfig
from demos.synthetic.drawing import Pixels, add_image, add_visual, to_pixels
from demos.synthetic.torso import add_torso, follow_with_upper_arm
from dexvid_envs.files import atomic_path
from dexvid_envs.rendering import make_renderer
from dexvid_envs.video_file import whole_video
from robots.human_hand import HandDimensions, HumanHand, human_hand_spec
from robots.human_hand_skin import add_skin

if TYPE_CHECKING:
    from demos.synthetic.pick_place import SyntheticTruth

CAMERA_NAME = "camera"
_LABEL_BOTTOM_M, _LABEL_TOP_M = 0.040, 0.128  # above the bottom of the bottle
_SIDES = 64


def scene_spec(config: SyntheticPickPlaceConfig) -> mujoco.MjSpec:
    """Hand with skin, bottle (a free body `bottle`), table, room, lights and the camera of the config."""
    dimensions = HandDimensions(scale=config.hand_scale)
    spec = human_hand_spec(dimensions)
    add_skin(spec, dimensions)
    rng = np.random.default_rng(7)  # of the decoration only: every recording has the same room
    _add_room(spec, rng)
    _add_coaster(spec, config)
    _add_bottle(spec, rng)
    _add_lights(spec)
    add_torso(spec)
    _add_camera(spec, config.camera)
    return spec


def film(config: SyntheticPickPlaceConfig, truth: SyntheticTruth, path: Path) -> None:
    """Writes the recording as an H.264 video, one picture for each frame of the truth.

    Raises:
        RenderingUnavailableError: no off-screen OpenGL library works here.
    """
    model = scene_spec(config).compile()
    data = mujoco.MjData(model)
    hand = HumanHand(HandDimensions(scale=config.hand_scale))
    bottle_qposadr = int(model.joint("bottle_root").qposadr[0])
    with atomic_path(path) as temporary, make_renderer(model, config.camera.height, config.camera.width) as renderer:
        writer = imageio.get_writer(
            temporary,
            fps=config.fps,
            codec="libx264",
            quality=None,
            pixelformat="yuv420p",
            macro_block_size=2,
            output_params=["-crf", "19", "-preset", "slow", "-threads", "1", "-flags:v", "+bitexact", "-fflags", "+bitexact"],
        )
        with whole_video(temporary, writer) as add:
            for frame in range(len(truth.phase)):
                # the hand is the first body of the scene, so its model's positions come first, in the same order
                own = hand.qpos(truth.T_world_hand[frame], truth.joints_rad[frame], truth.wrist_rad[frame])
                data.qpos[: len(own)] = own
                data.qpos[bottle_qposadr : bottle_qposadr + 7] = _pose_qpos(truth.T_world_bottle[frame])
                follow_with_upper_arm(model, data)
                mujoco.mj_forward(model, data)
                renderer.update_scene(data, camera=CAMERA_NAME)
                add(renderer.render())


def _pose_qpos(pose: FloatArray) -> FloatArray:
    """(7,) position and wxyz quaternion of a (4, 4) pose."""
    qpos = np.zeros(7)
    qpos[:3] = pose[:3, 3]
    mujoco.mju_mat2Quat(qpos[3:], np.ascontiguousarray(pose[:3, :3]).reshape(9))
    return qpos


def _add_camera(spec: mujoco.MjSpec, camera: CameraConfig) -> None:
    rotation = camera.T_world_camera[:3, :3] * np.array([1.0, -1.0, -1.0])  # MuJoCo's cameras look along -z, y up
    quat = np.zeros(4)
    mujoco.mju_mat2Quat(quat, np.ascontiguousarray(rotation).reshape(9))
    spec.worldbody.add_camera(
        name=CAMERA_NAME, pos=camera.position_m, quat=quat.tolist(), fovy=camera.vertical_field_of_view_deg
    )


def _add_lights(spec: mujoco.MjSpec) -> None:
    directional = mujoco.mjtLightType.mjLIGHT_DIRECTIONAL
    spec.worldbody.add_light(
        name="window",
        type=directional,
        pos=[1.4, 1.6, 2.2],
        dir=[-0.62, -0.45, -0.95],
        diffuse=[0.66, 0.64, 0.60],
        specular=[0.35] * 3,
    )
    spec.worldbody.add_light(
        name="fill",
        type=directional,
        pos=[1.5, -1.5, 1.5],
        dir=[-0.8, 0.55, -0.45],
        diffuse=[0.26, 0.27, 0.29],
        castshadow=False,
    )
    spec.visual.headlight.ambient = [0.42, 0.42, 0.43]
    spec.visual.headlight.diffuse = [0.10] * 3
    spec.visual.headlight.specular = [0.0] * 3
    spec.visual.quality.shadowsize = 4096
    spec.visual.quality.offsamples = 8
    spec.visual.map.shadowclip = 1.2
    spec.visual.map.znear = 0.02
    spec.stat.extent = 1.0
    spec.stat.center = [0.42, 0.0, 0.1]


def _add_room(spec: mujoco.MjSpec, rng: np.random.Generator) -> None:
    """A wooden table with its top at z = 0, a floor and two plain walls behind it; beyond them an even grey."""
    spec.add_texture(
        name="sky",
        type=mujoco.mjtTexture.mjTEXTURE_SKYBOX,
        builtin=mujoco.mjtBuiltin.mjBUILTIN_GRADIENT,
        rgb1=[0.80, 0.82, 0.83],
        rgb2=[0.62, 0.63, 0.63],
        width=64,
        height=384,
    )
    add_image(spec, "wood", _wood(rng))
    add_image(spec, "plaster", _plaster(rng))
    spec.material("wood").specular, spec.material("wood").shininess = 0.15, 0.3
    table = spec.worldbody.add_body(name="table")
    mesh = _board(half_x=0.55, half_y=0.80, thickness=0.035)
    spec.add_mesh(
        name="table_top",
        uservert=mesh[0].reshape(-1).tolist(),
        userface=mesh[1].reshape(-1).tolist(),
        usertexcoord=mesh[2].reshape(-1).tolist(),
        smoothnormal=False,
    )
    add_visual(table, "table_top", material="wood", meshname="table_top", pos=[0.50, -0.04, 0.0])
    room = spec.worldbody.add_body(name="room")
    box = mujoco.mjtGeom.mjGEOM_BOX
    add_visual(room, "floor", geom_type=box, size=[4.0, 4.0, 0.05], pos=[0.0, 0.0, -0.80], rgba=[0.46, 0.44, 0.42, 1.0])
    add_visual(room, "back_wall", geom_type=box, size=[0.05, 4.0, 2.0], pos=[-1.55, 0.0, 1.15], material="plaster")
    add_visual(room, "side_wall", geom_type=box, size=[4.0, 0.05, 2.0], pos=[0.0, -1.75, 1.15], material="plaster")


def _add_coaster(spec: mujoco.MjSpec, config: SyntheticPickPlaceConfig) -> None:
    """A thin felt disc where the bottle is to be put."""
    add_visual(
        spec.worldbody,
        "coaster",
        geom_type=mujoco.mjtGeom.mjGEOM_CYLINDER,
        size=[0.048, 0.0004, 0.0],
        pos=[*config.target_xy_m, 0.0003],
        rgba=[0.70, 0.30, 0.24, 1.0],
    )


def _add_bottle(spec: mujoco.MjSpec, rng: np.random.Generator) -> None:
    """Body, label and cap of the bottle of `demos.synthetic.bottle`."""
    body = spec.worldbody.add_body(name="bottle", pos=[0.0, 0.0, bottle.HEIGHT_M / 2.0])
    body.add_freejoint(name="bottle_root")
    body.mass, body.inertia = 0.3, [1e-3, 1e-3, 2e-4]
    body.explicitinertial = True
    spec.add_material(name="pet", rgba=[0.50, 0.76, 0.80, 1.0], specular=0.9, shininess=0.8)
    spec.add_material(name="cap", rgba=[0.13, 0.28, 0.55, 1.0], specular=0.4, shininess=0.4)
    add_image(spec, "label", _label(rng))
    outline = [point for point in bottle.OUTLINE_M if point[1] <= bottle.CAP_BASE_M and point[0] != bottle.CAP_RADIUS_M]
    label = [(bottle.RADIUS_M + 0.00015, _LABEL_BOTTOM_M), (bottle.RADIUS_M + 0.00015, _LABEL_TOP_M)]
    cap = [point for point in bottle.OUTLINE_M if point[1] >= bottle.CAP_BASE_M and point[0] != bottle.NECK_RADIUS_M]
    for name, profile, material in (
        ("bottle_body", outline, "pet"),
        ("bottle_label", label, "label"),
        ("bottle_cap", cap, "cap"),
    ):
        vertices, faces, texcoords = _turned(np.array(profile))
        vertices[:, 2] -= bottle.HEIGHT_M / 2.0
        spec.add_mesh(
            name=name,
            uservert=vertices.reshape(-1).tolist(),
            userface=faces.reshape(-1).tolist(),
            usertexcoord=texcoords.reshape(-1).tolist(),
            inertia=mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL,
        )
        add_visual(body, name, material=material, meshname=name)


def _turned(profile: FloatArray) -> tuple[FloatArray, NDArray[np.int64], FloatArray]:
    """Solid of revolution of an (N, 2) outline (radius, height): vertices, faces and texture coordinates (around, along)."""
    angle = np.linspace(0.0, 2.0 * np.pi, _SIDES + 1)
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(profile, axis=0).T))])
    radius: FloatArray = np.maximum(profile[:, :1], 1e-5)
    height = np.broadcast_to(profile[:, 1:], (len(profile), _SIDES + 1))
    vertices = np.stack([radius * np.cos(angle), radius * np.sin(angle), height], axis=-1).reshape(-1, 3)
    around = np.broadcast_to(angle / (2.0 * np.pi), height.shape)
    texcoords = np.stack([around, np.broadcast_to(1.0 - along[:, None] / along[-1], height.shape)], axis=-1).reshape(-1, 2)
    index = np.arange(len(profile) * (_SIDES + 1)).reshape(len(profile), _SIDES + 1)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]
    faces = np.concatenate([np.stack([a, b, c], axis=-1).reshape(-1, 3), np.stack([a, c, d], axis=-1).reshape(-1, 3)])
    return vertices, faces, texcoords


def _board(half_x: float, half_y: float, thickness: float) -> tuple[FloatArray, NDArray[np.int64], FloatArray]:
    """A board below z = 0 with a bevelled upper edge, textured from above."""
    rings = ((0.004, 0.0), (0.0, -0.004), (0.0, -thickness))
    corners = np.array([(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)])
    vertices: FloatArray = np.array([[(half_x - cut) * x, (half_y - cut) * y, z] for cut, z in rings for x, y in corners])
    faces = [(0, 1, 2), (0, 2, 3), (8, 10, 9), (8, 11, 10)]
    for ring in (0, 4):
        for i in range(4):
            j = (i + 1) % 4
            faces += [(ring + i, ring + 4 + i, ring + 4 + j), (ring + i, ring + 4 + j, ring + j)]
    texcoords = np.column_stack([vertices[:, 1] / (2.0 * half_y) + 0.5, vertices[:, 0] / (2.0 * half_x) + 0.5])
    return vertices, np.array(faces), texcoords


def _wood(rng: np.random.Generator) -> Pixels:
    """(512, 1024, 3) oak planks along the width, a little grain."""
    height, width, planks = 512, 1024, 6
    grain = gaussian_filter(rng.standard_normal((height, width)), (1.2, 60.0), mode="wrap")
    fibres = gaussian_filter(rng.standard_normal((height, width)), (0.7, 14.0), mode="wrap")
    shade = 0.055 * grain / grain.std() + 0.02 * fibres / fibres.std()
    plank = np.arange(height) * planks // height
    shade += 0.035 * rng.standard_normal(planks)[plank][:, None]
    seam = np.r_[True, plank[1:] != plank[:-1]]
    shade[seam] -= 0.16
    colour = np.array([0.74, 0.585, 0.425]) * (1.0 + shade[..., None])
    return to_pixels(colour)


def _plaster(rng: np.random.Generator) -> Pixels:
    """(256, 256, 3) a nearly even wall."""
    cloud = gaussian_filter(rng.standard_normal((256, 256)), 24.0, mode="wrap")
    return to_pixels(np.array([0.80, 0.815, 0.80]) * (1.0 + 0.012 * cloud[..., None] / cloud.std()))


def _label(rng: np.random.Generator) -> Pixels:
    """(192, 512, 3) a printed label: bands, a wave of leaves and lines of small print, different all around."""
    height, width = 192, 512
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    colour = np.tile(np.array([0.95, 0.95, 0.92]), (height, width, 1))
    colour[(y < 22) | (y >= height - 22)] = (0.10, 0.42, 0.38)
    colour[(abs(y - 27) < 2) | (abs(y - height + 28) < 2)] = (0.93, 0.66, 0.20)
    ridge = gaussian_filter1d(rng.standard_normal(width), 18.0, mode="wrap")
    wave = 112.0 + 16.0 * ridge / ridge.std()
    colour[(y > wave[x]) & (y < height - 30)] = (0.20, 0.60, 0.68)
    palette = np.array([(0.90, 0.36, 0.20), (0.96, 0.72, 0.22), (0.16, 0.50, 0.26), (0.12, 0.30, 0.50)])
    for number in range(26):
        cx, cy = rng.uniform(0, width), rng.uniform(40, height - 42)
        across = (x - cx + width / 2) % width - width / 2
        spot = (across / rng.uniform(6, 15)) ** 2 + ((y - cy) / rng.uniform(5, 12)) ** 2 < 1.0
        colour[spot] = palette[number % 4]
    for line in range(7):
        inked = (rng.random(width // 3) < 0.62)[(x[0] // 3) % (width // 3)] & (x[0] % 256 > 150) & (x[0] % 256 < 235)
        colour[46 + 8 * line : 49 + 8 * line, inked] = (0.15, 0.18, 0.22)
    return to_pixels(colour)
