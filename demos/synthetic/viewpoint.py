"""Chooses where the camera of a clip stands: static, all of the action in the picture, the hand not hidden behind the thing."""

from __future__ import annotations

import dataclasses

import numpy as np

from demos.camera import project, transform
from demos.synthetic.gesture import FloatArray
from demos.synthetic.people import pool_rng
from demos.synthetic.shapes import Shape

_MARGIN = 0.06  # of the picture's size, left free at each edge
_ENOUGH_SEEN = 0.75
_CANDIDATES = 10
#: Ranges of the direction to the camera, degrees: around z from +x (where the camera faces the person), and of its height.
_DIRECTIONS_DEG = {
    "front": ((-50.0, 50.0), (18.0, 48.0)),
    "right": ((-115.0, -50.0), (18.0, 45.0)),
    "left": ((50.0, 115.0), (18.0, 45.0)),
    "right of the person": ((-130.0, -85.0), (18.0, 45.0)),
    "left of the person": ((85.0, 130.0), (18.0, 45.0)),
    "own eyes": ((165.0, 200.0), (46.0, 62.0)),
}
_ON_A_TABLE = ("front", "front", "right", "left", "own eyes")
_BY_KIND = {
    "throw": ("front", "right", "left", "own eyes"),
    "drawer": ("right of the person", "left of the person", "own eyes"),  # else the cabinet hides the hand
}


@dataclasses.dataclass(frozen=True)
class Viewpoint:
    """A static camera.

    Attributes:
        camera_id: pool and number.
        width: px.
        height: px.
        fovy_deg: opening angle from the upper to the lower edge.
        T_world_camera: (4, 4), camera frame x right, y down, z forward.
    """

    camera_id: str
    width: int
    height: int
    fovy_deg: float
    T_world_camera: FloatArray

    @property
    def K(self) -> FloatArray:
        """(3, 3) px, pixels counted from the centre of the upper left one."""
        focal = 0.5 * self.height / np.tan(0.5 * np.radians(self.fovy_deg))
        return np.array([[focal, 0.0, 0.5 * (self.width - 1)], [0.0, focal, 0.5 * (self.height - 1)], [0.0, 0.0, 1.0]])

    def to_camera(self, points_world: FloatArray) -> FloatArray:
        """(..., 3) m in the camera frame."""
        rotation, position = self.T_world_camera[:3, :3], self.T_world_camera[:3, 3]
        return (points_world - position) @ rotation

    def to_image(self, points_world: FloatArray) -> FloatArray:
        """(..., 2) px of points (..., 3) m in front of the camera."""
        return project(self.to_camera(points_world), self.K)


def choose_viewpoint(
    pool: str,
    number: int,
    kind: str,
    size_px: tuple[int, int],
    must_see: FloatArray,
    hand: FloatArray,
    shape: Shape,
    poses: FloatArray,
    left: bool,
) -> Viewpoint:
    """Camera `number` of a pool, for an action.

    Args:
        pool: the pool.
        number: of the camera.
        kind: what happens.
        size_px: width and height.
        must_see: (M, 3) m, all of these come into the picture.
        hand: (T, 21, 3) m, key points that should not be hidden behind the thing.
        shape: of the thing.
        poses: (T, 4, 4) of the thing, at the same moments.
        left: the person uses the left hand; the camera stands on the other side then.
    """
    rng = pool_rng(pool, number, "camera")
    best: tuple[float, Viewpoint] | None = None
    for _ in range(_CANDIDATES):
        azimuths, elevations = _DIRECTIONS_DEG[str(rng.choice(_BY_KIND.get(kind, _ON_A_TABLE)))]
        azimuth, elevation = np.radians(rng.uniform(*azimuths)), np.radians(rng.uniform(*elevations))
        fovy, roll = float(rng.uniform(30.0, 52.0)), float(np.radians(rng.normal(0.0, 1.5)))
        azimuth = -azimuth if left else azimuth
        towards = np.array([np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation)])
        view = _framed(f"{pool}-camera-{number:06d}", size_px, fovy, towards, roll, must_see)
        seen = _seen_share(view.T_world_camera[:3, 3], hand, shape, poses)
        if best is None or seen > best[0]:
            best = (seen, view)
        if seen >= _ENOUGH_SEEN:
            break
    assert best is not None
    return best[1]


def _framed(
    camera_id: str, size_px: tuple[int, int], fovy_deg: float, towards: FloatArray, roll_rad: float, must_see: FloatArray
) -> Viewpoint:
    """The camera as near as it can be in a direction with everything in the picture."""
    width, height = size_px
    centre = 0.5 * (must_see.min(axis=0) + must_see.max(axis=0))
    distance = 0.30
    for _ in range(80):
        view = Viewpoint(camera_id, width, height, fovy_deg, _looking(centre + distance * towards, centre, roll_rad))
        if view.to_camera(must_see)[:, 2].min() < 0.15:
            distance *= 1.08
            continue
        pixels = view.to_image(must_see)
        low, high = pixels.min(axis=0), pixels.max(axis=0)
        room = np.array([width, height]) * (1.0 - 2.0 * _MARGIN)
        off = 0.5 * (low + high) - 0.5 * np.array([width, height])
        focal, rotation = view.K[0, 0], view.T_world_camera[:3, :3]
        centre = centre + rotation[:, :2] @ off / focal * distance * 0.7
        if (high - low <= room).all() and np.abs(off).max() < 0.02 * height:
            break
        if not (high - low <= room).all():
            distance *= 1.06
    return Viewpoint(camera_id, width, height, fovy_deg, _looking(centre + distance * towards, centre, roll_rad))


def _looking(eye: FloatArray, at: FloatArray, roll_rad: float) -> FloatArray:
    """(4, 4) camera pose, upright but for the roll."""
    forward = (at - eye) / np.linalg.norm(at - eye)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    down = np.cross(forward, right)
    c, s = np.cos(roll_rad), np.sin(roll_rad)
    pose = np.eye(4)
    pose[:3, :3] = np.column_stack([c * right + s * down, c * down - s * right, forward])
    pose[:3, 3] = eye
    return pose


def _seen_share(eye: FloatArray, hand: FloatArray, shape: Shape, poses: FloatArray) -> float:
    """Share of the key points that the thing does not hide from `eye`, over the moments."""
    towards = eye - hand
    towards = towards / np.linalg.norm(towards, axis=-1, keepdims=True)
    steps = np.linspace(0.012, 0.30, 24)[:, None]
    seen = []
    for keypoints, direction, pose in zip(hand, towards, poses, strict=True):
        ray = keypoints[:, None] + steps * direction[:, None]  # (21, 24, 3)
        seen.append((shape.distance(transform(np.linalg.inv(pose), ray.reshape(-1, 3)).reshape(ray.shape)) > 0.0).all(axis=1))
    return float(np.mean(seen))
