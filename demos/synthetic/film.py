"""Films a performance: pictures blurred by motion with soft shadows, and for each the exact label and depth of every pixel.

A picture is the mean of several sub-frames over the time that the shutter is open, each from a slightly shifted light and with
the camera moved by part of a pixel, which also smooths edges and shadows. Labels and depth are those of the middle of the
exposure, without any smoothing.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import imageio.v2 as imageio
import mujoco
import numpy as np
from numpy.typing import NDArray

from demos.synthetic.gesture import FloatArray, Performance
from demos.synthetic.rooms import KEY_LIGHT
from demos.synthetic.torso import follow_with_upper_arm
from demos.synthetic.viewpoint import Viewpoint
from dexvid_envs.rendering import make_renderer
from dexvid_envs.video_file import whole_video
from robots.human_hand import HandDimensions, HumanHand

CAMERA_NAME = "camera"
_BACKGROUND, HAND_LABEL, ARM_LABEL, FIRST_OBJECT_LABEL = 0, 1, 2, 3
_ARM_GEOMS = ("sleeve", "elbow", "upper_arm", "chest")
#: Shifts in px of the camera and relative turns of the light, for every three sub-frames.
_PIXEL_SHIFTS = ((-0.33, -0.17), (0.0, 0.33), (0.33, -0.17))
_CYCLE = len(_PIXEL_SHIFTS)
_LIGHT_TURN = 0.035
_BLUR_STEP_PX = 3.0  # sub-frames are at most this far apart, up to the largest number of them
_MOST_SUBFRAMES = 12
_MEDIUM_GREY = 0.22  # mean of the light


@dataclasses.dataclass(frozen=True)
class Shutter:
    """How the camera takes and stores a picture.

    Attributes:
        fps: pictures a second.
        samples: fine samples of the performance a picture.
        exposure_share: share of the time between two pictures in which the shutter is open.
        noise_std: of each pixel, in 8-bit steps.
        gain: brightness relative to what the camera's automatic exposure takes.
        crf: quality of the H.264 stream, 0 (lossless) to 51.
    """

    fps: float
    samples: int
    exposure_share: float
    noise_std: float
    gain: float
    crf: int

    def middle(self, frame: int) -> int:
        """The sample in the middle of a picture's exposure."""
        return frame * self.samples + self.samples // 2


@dataclasses.dataclass(frozen=True)
class Shot:
    """One picture with its truth.

    Attributes:
        rgb: (H, W, 3).
        labels: (H, W) 0 background, 1 hand, 2 arm and body, then the objects.
        depth_m: (H, W) along the viewing direction.
    """

    rgb: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    depth_m: NDArray[np.float32]


def film(
    spec: mujoco.MjSpec,
    dimensions: HandDimensions,
    performance: Performance,
    view: Viewpoint,
    shutter: Shutter,
    labels: dict[str, int],
    seed: int,
) -> Iterator[Shot]:
    """Shots of a performance in a furnished scene.

    Args:
        spec: scene whose first body is the hand, with a mocap body for each of the performance's bodies.
        dimensions: of the hand.
        performance: what happens.
        view: the camera.
        shutter: how pictures are taken.
        labels: label of each named geom or body; others are background.
        seed: of the noise.

    Raises:
        RenderingUnavailableError: no off-screen OpenGL library works here.
    """
    _add_camera(spec, view)
    model = spec.compile()
    data = mujoco.MjData(model)
    hand, noise = HumanHand(dimensions), _Noise(view.height, view.width, np.random.default_rng(seed))
    left, of_geom = dimensions.side == "left", _labels_of_geoms(model, labels)
    speed_px = _speed_px(performance, view)
    frames, exposure = len(performance.held) // shutter.samples, shutter.gain
    light = model.light(KEY_LIGHT).id
    direction = model.light_dir[light].copy()
    with make_renderer(model, view.height, view.width) as renderer:
        for frame in range(frames):
            middle = shutter.middle(frame)
            half = 0.5 * shutter.exposure_share * shutter.samples
            blur_px = speed_px[max(0, middle - int(half)) : middle + int(half) + 1].max() * 2.0 * half
            subframes = min(_CYCLE * max(1, int(np.ceil(blur_px / (_CYCLE * _BLUR_STEP_PX)))), _MOST_SUBFRAMES)
            total = np.zeros((view.height, view.width, 3), np.float32)
            for number in range(subframes):
                moment = middle + half * (2.0 * (number + 0.5) / subframes - 1.0)
                _set(model, data, hand, performance, round(float(np.clip(moment, 0, len(performance.held) - 1))), left)
                model.light_dir[light] = direction + _LIGHT_TURN * _sideways(direction, number)
                mujoco.mj_camlight(model, data)
                renderer.update_scene(data, camera=CAMERA_NAME)
                _shift(renderer.scene, _PIXEL_SHIFTS[number % _CYCLE], view)
                total += _LINEAR[renderer.render()]
            _set(model, data, hand, performance, middle, left)
            mujoco.mj_camlight(model, data)
            seen, depth = _labels_and_depth(renderer, data, of_geom)
            if frame == 0:  # the automatic exposure stays as it is at the beginning
                exposure = shutter.gain * _exposure(total / subframes)
            yield Shot(_developed(total / subframes, exposure, shutter.noise_std, noise), seen, depth)


#: From 8-bit sRGB to light, so that the mean of sub-frames is that of the light.
_LINEAR = ((np.arange(256) / 255.0) ** 2.2).astype(np.float32)


class _Noise:
    """Noise of unit strength, cut anew for each picture from one larger piece, which is much faster than drawing it."""

    def __init__(self, height: int, width: int, rng: np.random.Generator) -> None:
        self._size, self._rng = np.array([height, width]), rng
        grain = rng.standard_normal((2 * height, 2 * width, 1), dtype=np.float32)
        self._piece = 0.8 * grain + 0.6 * rng.standard_normal((2 * height, 2 * width, 3), dtype=np.float32)

    def picture(self) -> NDArray[np.float32]:
        """(H, W, 3)."""
        (row, column), (height, width) = self._rng.integers(self._size), self._size
        return self._piece[row : row + height, column : column + width]


def _exposure(light: NDArray[np.float32]) -> float:
    """Gain that brings the mean of the light (H, W, 3) towards a medium grey without burning out what is bright."""
    medium = (_MEDIUM_GREY / max(float(light.mean()), 1e-3)) ** 0.75
    return float(np.clip(min(medium, 0.93 / max(float(np.quantile(light, 0.97)), 1e-3)), 0.5, 2.5))


def _developed(light: NDArray[np.float32], exposure: float, noise_std: float, noise: _Noise) -> NDArray[np.uint8]:
    """(H, W, 3) the picture with gain and noise."""
    picture = 255.0 * np.clip(exposure * light, 0.0, 1.0) ** (1.0 / 2.2)
    return np.clip(picture + noise_std * noise.picture() + 0.5, 0.0, 255.0).astype(np.uint8)


def _set(
    model: mujoco.MjModel, data: mujoco.MjData, hand: HumanHand, performance: Performance, sample: int, left: bool
) -> None:
    """Moves everything to a sample."""
    own = hand.qpos(performance.T_world_hand[sample], performance.joints_rad[sample], performance.wrist_rad[sample])
    data.qpos[: len(own)] = own
    for name, poses in performance.bodies.items():
        mocap = int(model.body(name).mocapid[0])
        data.mocap_pos[mocap] = poses[sample, :3, 3]
        mujoco.mju_mat2Quat(data.mocap_quat[mocap], np.ascontiguousarray(poses[sample, :3, :3]).reshape(9))
    follow_with_upper_arm(model, data, left=left, reach_shoulder=True)
    mujoco.mj_kinematics(model, data)
    mujoco.mj_comPos(model, data)


def _labels_and_depth(
    renderer: Any, data: mujoco.MjData, of_geom: NDArray[np.uint8]
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """(H, W) labels and depth."""
    renderer.enable_segmentation_rendering()
    renderer.update_scene(data, camera=CAMERA_NAME)
    ids = renderer.render()  # (H, W, 2) number and type of the object
    renderer.disable_segmentation_rendering()
    renderer.enable_depth_rendering()
    renderer.update_scene(data, camera=CAMERA_NAME)
    depth = renderer.render().copy()
    renderer.disable_depth_rendering()
    number, kind = ids[..., 0], ids[..., 1]
    labels = np.where(kind == int(mujoco.mjtObj.mjOBJ_GEOM), of_geom[np.maximum(number, 0)], _BACKGROUND)
    labels = np.where(kind == int(mujoco.mjtObj.mjOBJ_SKIN), HAND_LABEL, labels)
    return labels.astype(np.uint8), depth


def _labels_of_geoms(model: mujoco.MjModel, labels: dict[str, int]) -> NDArray[np.uint8]:
    """(ngeom,) the label of a geom: by its own name, else by its body's, nails are hand, sleeve and chest are arm."""
    of_geom = np.zeros(model.ngeom, np.uint8)
    for number in range(model.ngeom):
        name, body = model.geom(number).name, model.body(int(model.geom_bodyid[number])).name
        if name in labels or body in labels:
            of_geom[number] = labels.get(name, labels.get(body, 0))
        elif name.endswith("_nail"):
            of_geom[number] = HAND_LABEL
        elif name in _ARM_GEOMS:
            of_geom[number] = ARM_LABEL
    return of_geom


def _speed_px(performance: Performance, view: Viewpoint) -> FloatArray:
    """(N,) how far the fastest moving body moves in the picture from one sample to the next, about."""
    fingers = performance.T_world_hand[:, :3, 3] + 0.12 * performance.T_world_hand[:, :3, 2]
    paths = [performance.T_world_hand[:, :3, 3], fingers, *(poses[:, :3, 3] for poses in performance.bodies.values())]
    moves = [np.linalg.norm(np.gradient(view.to_image(path), axis=0), axis=-1) for path in paths]
    return np.max(moves, axis=0)


def _sideways(direction: FloatArray, number: int) -> FloatArray:
    """(3,) one of a few offsets across a direction."""
    first = np.cross(direction, [0.0, 0.0, 1.0]) + np.array([1e-6, 0.0, 0.0])
    first /= np.linalg.norm(first)
    second = np.cross(direction, first)
    x, y = _PIXEL_SHIFTS[(number + 1) % _CYCLE]
    return 2.0 * np.linalg.norm(direction) * (x * first + y * second / np.linalg.norm(second))


def _shift(scene: Any, shift_px: tuple[float, float], view: Viewpoint) -> None:
    """Moves the picture by part of a pixel."""
    for camera in scene.camera:
        step = (camera.frustum_top - camera.frustum_bottom) / view.height
        camera.frustum_center += shift_px[0] * step
        camera.frustum_top += shift_px[1] * step
        camera.frustum_bottom += shift_px[1] * step


def _add_camera(spec: mujoco.MjSpec, view: Viewpoint) -> None:
    rotation = view.T_world_camera[:3, :3] * np.array([1.0, -1.0, -1.0])  # MuJoCo's cameras look along -z, y up
    quat = np.zeros(4)
    mujoco.mju_mat2Quat(quat, np.ascontiguousarray(rotation).reshape(9))
    spec.worldbody.add_camera(name=CAMERA_NAME, pos=view.T_world_camera[:3, 3], quat=quat.tolist(), fovy=view.fovy_deg)


@contextlib.contextmanager
def film_writer(path: Path, shutter: Shutter) -> Iterator[Callable[[NDArray[np.uint8]], None]]:
    """Yields a function that adds a picture to an H.264 video of the shutter's quality; equal pictures give equal files.

    Raises:
        OptionError: the video does not hold all of them, such as on a full disk.
    """
    writer = imageio.get_writer(
        path,
        fps=shutter.fps,
        codec="libx264",
        quality=None,
        pixelformat="yuv420p",
        macro_block_size=2,
        output_params=[
            *("-crf", str(shutter.crf), "-preset", "medium", "-threads", "1"),
            *("-flags:v", "+bitexact", "-fflags", "+bitexact"),
        ],
    )
    with whole_video(path, writer) as add:
        yield add
