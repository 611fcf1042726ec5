"""Where up is, as far as a film shows it: from depth pictures by the table's plane, else from what rests and is lifted.

A plain film does not say where down is. A camera on a tripod is hardly rolled and looks down by some 35 degrees (the prior);
an object that rests before it is taken and after it is put back shows two points of one level; one that is lifted starts
upwards; one that is thrown falls. These are joined by least squares on roll and pitch, with a standard deviation in the end.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from demos.camera import unproject
from demos.interaction import FloatArray, ObjectTrack
from demos.parts import DepthFrames

BoolArray = NDArray[np.bool_]

_ROLL_SIGMA_RAD = math.radians(3.0)
_PITCH_SIGMA_RAD = math.radians(15.0)
_LEVEL_SIGMA_PART = 0.03  # of the distance: error of the depth of a resting object
_MIN_LEVEL_M = 0.05  # two places nearer than this say nothing
_LIFT_M = 0.05  # the first so many metres of a lift go upwards
_MIN_RISE = 0.7  # cosine to the prior's up, beyond which it is a lift
_LIFT_SIGMA_RAD = math.radians(12.0)
_REST_S = 0.3
_PLANE_FRAMES = 9
_PLANE_STEP_PX = 6
_PLANE_ERROR = 0.012  # of the distance
_MIN_PLANE_PART = 0.12
_MAX_PLANE_TILT = 0.5  # cosine to the prior's up


@dataclasses.dataclass(frozen=True)
class Gravity:
    """The direction up.

    Attributes:
        up_camera: (3,) unit vector.
        sigma_deg: its standard deviation, about the less known axis.
        found_by: "camera pose", "depth", "rest and lift" or "assumption".
        table_point_camera: (3,) m on the table, where the plane itself was seen; NaN otherwise.
    """

    up_camera: FloatArray
    sigma_deg: float
    found_by: str
    table_point_camera: FloatArray


def up_from(pitch_rad: float, roll_rad: float) -> FloatArray:
    """Up (3,) in the frame of a camera that looks down by `pitch_rad` and is turned clockwise by `roll_rad`."""
    return np.array([math.sin(roll_rad) * math.cos(pitch_rad), -math.cos(roll_rad) * math.cos(pitch_rad), -math.sin(pitch_rad)])


def gravity_from_motion(target: ObjectTrack, contact: BoolArray, fps: float, pitch_deg: float) -> Gravity:
    """Up from the object's places of rest and its lift; the prior alone where it shows neither.

    Args:
        target: the moved object in T frames.
        contact: (T,) whether the hand touches it.
        fps: frames a second.
        pitch_deg: by which the camera is expected to look down.
    """
    centre = object_middle(target)
    prior = math.radians(pitch_deg)
    levels, lift = _rests(centre, contact, fps), _lift(centre, contact, up_from(prior, 0.0))

    def residuals(angles: FloatArray) -> FloatArray:
        up = up_from(angles[0], angles[1])
        values = [(angles[0] - prior) / _PITCH_SIGMA_RAD, angles[1] / _ROLL_SIGMA_RAD]
        if levels is not None:
            step, sigma_m = levels
            values.append(float(step @ up) / sigma_m)
        if lift is not None:
            values += (np.cross(lift, up) / math.sin(_LIFT_SIGMA_RAD)).tolist()
        return np.array(values)

    fit = least_squares(residuals, [prior, 0.0], loss="soft_l1")
    normal = fit.jac.T @ fit.jac
    sigma = math.sqrt(float(np.linalg.eigvalsh(np.linalg.inv(normal)).max()))
    seen = levels is not None or lift is not None
    return Gravity(up_from(*fit.x), math.degrees(sigma), "rest and lift" if seen else "assumption", np.full(3, np.nan))


def gravity_from_depth(depth: DepthFrames, K: FloatArray, picture_size: tuple[int, int], pitch_deg: float) -> Gravity | None:
    """Up from the largest plane that lies about level; None where the pictures show none.

    Args:
        depth: pictures of the whole clip; a few of them are read.
        K: (3, 3) px of pictures of `picture_size`.
        picture_size: (width, height) px.
        pitch_deg: the prior of the camera's pitch, which tells a table from a wall.
    """
    chosen = np.unique(np.linspace(0, depth.count - 1, _PLANE_FRAMES).round().astype(int))
    pictures = np.stack([depth.read_m(int(frame))[::_PLANE_STEP_PX, ::_PLANE_STEP_PX] for frame in chosen])
    z = np.full(pictures.shape[1:], np.nan)
    known = np.isfinite(pictures).sum(axis=0) >= 2
    z[known] = np.nanpercentile(pictures[:, known], 80, axis=0)  # hand and object pass in front of the background
    full = depth.read_m(int(chosen[0])).shape
    rows, columns = np.indices(z.shape) * _PLANE_STEP_PX
    scale = np.array([picture_size[0] / full[1], picture_size[1] / full[0]])
    pixels = (np.stack([columns, rows], axis=-1) + 0.5) * scale - 0.5
    points = unproject(pixels[known], z[known], K)
    expected = up_from(math.radians(pitch_deg), 0.0)
    plane = _largest_plane(points, expected)
    if plane is None:
        return None
    up, point = plane
    return Gravity(up, 1.0, "depth", point)


def object_middle(target: ObjectTrack) -> FloatArray:
    """(T, 3) m middle of the object in the camera frame: by its pose, else of the points seen; NaN where unknown."""
    middle = np.full((len(target.visible), 3), np.nan)
    for frame in np.flatnonzero(target.visible.sum(axis=1) >= 4):
        middle[frame] = np.median(target.points_camera[frame, target.visible[frame]], axis=0)
    posed = np.isfinite(target.pose_camera[:, 0, 3])
    middle[posed] = target.pose_camera[posed, :3, 3]
    return middle


def _rests(centre: FloatArray, contact: BoolArray, fps: float) -> tuple[FloatArray, float] | None:
    """Step (3,) m between the places of rest before the first and after the last contact, with its standard deviation in m."""
    touched = np.flatnonzero(contact)
    if not len(touched):
        return None
    some = max(2, round(_REST_S * fps))
    before, after = centre[: touched[0] + 1], centre[touched[-1] :]
    before, after = before[np.isfinite(before[:, 0])], after[np.isfinite(after[:, 0])]
    if len(before) < some or len(after) < some:
        return None
    if np.linalg.norm(np.ptp(after[-some:], axis=0)) > 0.02:  # still moving: not put down
        return None
    step = np.median(after[-some:], axis=0) - np.median(before, axis=0)
    if np.linalg.norm(step) < _MIN_LEVEL_M:
        return None
    return step, _LEVEL_SIGMA_PART * float(np.median(before[:, 2]))


def _lift(centre: FloatArray, contact: BoolArray, expected_up: FloatArray) -> FloatArray | None:
    """(3,) unit direction of the object's first way from its place of rest; None where it is not lifted."""
    touched = np.flatnonzero(contact)
    if not len(touched):
        return None
    known = np.flatnonzero(np.isfinite(centre[:, 0]))
    before = known[known <= touched[0]]
    if not len(before):
        return None
    rest = np.median(centre[before], axis=0)
    away = np.linalg.norm(centre - rest, axis=-1)
    gone = known[(known > touched[0]) & (away[known] > _LIFT_M)]
    if not len(gone):
        return None
    direction = centre[gone[0]] - rest
    direction /= max(float(np.linalg.norm(direction)), 1e-9)
    return direction if direction @ expected_up > _MIN_RISE else None  # else pushed or pulled along the table


def _largest_plane(points: FloatArray, expected_up: FloatArray) -> tuple[FloatArray, FloatArray] | None:
    """Normal (3,) towards the camera and a point (3,) of the plane that most of the points (N, 3) lie on."""
    if len(points) < 100:
        return None
    rng = np.random.default_rng(0)
    allowed = _PLANE_ERROR * points[:, 2]
    best: tuple[int, FloatArray, FloatArray] | None = None
    for _ in range(400):
        a, b, c = points[rng.choice(len(points), 3, replace=False)]
        normal = np.cross(b - a, c - a)
        length = float(np.linalg.norm(normal))
        if length < 1e-6:
            continue
        normal = normal / length * math.copysign(1.0, float(normal @ expected_up))
        if normal @ expected_up < _MAX_PLANE_TILT:
            continue
        count = int((np.abs((points - a) @ normal) < allowed).sum())
        if best is None or count > best[0]:
            best = (count, normal, a)
    if best is None or best[0] < _MIN_PLANE_PART * len(points):
        return None
    _, normal, point = best
    for _ in range(5):
        inside = points[np.abs((points - point) @ normal) < 0.7 * allowed]
        if len(inside) < 50:
            break
        point = inside.mean(axis=0)
        axes = np.linalg.svd(inside - point, full_matrices=False)[2]
        normal = axes[2] * math.copysign(1.0, float(axes[2] @ normal))
    return normal, point
