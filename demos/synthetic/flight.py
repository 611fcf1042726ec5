"""What happens to a thing after it is thrown: it flies, falls into a bucket and comes to rest, simulated by MuJoCo."""

from __future__ import annotations

import dataclasses

import mujoco
import numpy as np
from numpy.typing import NDArray

from demos.synthetic.shapes import Ball, Box, Part, turned_part
from demos.synthetic.things import Thing

FloatArray = NDArray[np.float64]

BUCKET_NAME = "bucket"
_WALLS = 16
_SUBSTEPS_S = 0.0015  # about the simulation's time step


@dataclasses.dataclass(frozen=True)
class Bucket:
    """An open bucket, wider at the top; its frame has the origin in the middle of the bottom, z up.

    Attributes:
        radius_m: of the opening.
        height_m: of the rim above the table.
        taper: radius of the bottom as a share of the opening's.
        wall_m: thickness.
        position_m: of the bottom in the world frame.
    """

    radius_m: float = 0.12
    height_m: float = 0.18
    taper: float = 0.78
    wall_m: float = 0.003
    position_m: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def parts(self) -> list[Part]:
        """The drawn wall, outside and inside in one piece, with a rolled rim."""
        r, bottom, h, w = self.radius_m, self.taper * self.radius_m, self.height_m, self.wall_m
        rim = [(r, h - 0.008), (r + 0.005, h - 0.007), (r + 0.005, h - 0.001), (r + 0.003, h), (r - w, h)]
        profile = [(0.0, 0.0), (bottom, 0.0), *rim, (bottom - w, 0.006), (0.0, 0.006)]
        return [turned_part("bucket", np.array(profile))]

    def distance(self, centres_world: FloatArray, radii_m: FloatArray) -> FloatArray:
        """(S,) rough distance in m of spheres from the bucket and its opening, taken as a full cylinder."""
        local = centres_world - np.array(self.position_m)
        aside, above = np.hypot(local[:, 0], local[:, 1]) - self.radius_m, local[:, 2] - self.height_m
        return np.maximum(aside, above) - radii_m

    def rim_points(self) -> FloatArray:
        """(4, 3) m on the rim, in the bucket's frame: towards +x, +y, -x, -y."""
        turn = np.arange(4) * np.pi / 2
        return np.column_stack([self.radius_m * np.cos(turn), self.radius_m * np.sin(turn), np.full(4, self.height_m)])


def fall(thing: Thing, bucket: Bucket, T_start: FloatArray, velocity: FloatArray, samples: int, rate_hz: float) -> FloatArray:
    """(samples, 4, 4) poses of the thing from the moment it leaves the hand, without the hand.

    Args:
        thing: what flies.
        bucket: where it should land.
        T_start: (4, 4) pose at the first sample.
        velocity: (3,) m/s at the first sample; it does not spin.
        samples: how many.
        rate_hz: samples a second.
    """
    substeps = max(1, round(1.0 / (rate_hz * _SUBSTEPS_S)))
    model = _spec(thing, bucket, 1.0 / (rate_hz * substeps)).compile()
    data = mujoco.MjData(model)
    data.qpos[:3] = T_start[:3, 3]
    mujoco.mju_mat2Quat(data.qpos[3:7], np.ascontiguousarray(T_start[:3, :3]).reshape(9))
    data.qvel[:3] = velocity
    poses = np.tile(np.eye(4), (samples, 1, 1))
    for n in range(samples):
        mujoco.mj_kinematics(model, data)
        poses[n, :3, :3], poses[n, :3, 3] = data.body("thing").xmat.reshape(3, 3), data.body("thing").xpos
        for _ in range(substeps):
            mujoco.mj_step(model, data)
    return poses


def _spec(thing: Thing, bucket: Bucket, timestep_s: float) -> mujoco.MjSpec:
    """Table, bucket of flat walls and the thing as a simple solid."""
    spec = mujoco.MjSpec()
    spec.option.timestep = timestep_s
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    box, cylinder = mujoco.mjtGeom.mjGEOM_BOX, mujoco.mjtGeom.mjGEOM_CYLINDER
    spec.worldbody.add_geom(type=mujoco.mjtGeom.mjGEOM_PLANE, size=[5.0, 5.0, 0.1])
    stand = spec.worldbody.add_body(pos=bucket.position_m)
    stand.add_geom(type=cylinder, size=[bucket.radius_m * bucket.taper, 0.003, 0.0], pos=[0.0, 0.0, 0.003], solref=[0.008, 0.5])
    low, high, thick = bucket.taper * bucket.radius_m, bucket.radius_m, 0.006
    slant = np.arctan2(high - low, bucket.height_m)
    for turn in np.arange(_WALLS) * 2.0 * np.pi / _WALLS:
        outward = np.array([np.cos(turn), np.sin(turn), 0.0])
        quat = np.zeros(4)
        about_z, about_y = np.zeros(4), np.zeros(4)
        mujoco.mju_axisAngle2Quat(about_z, np.array([0.0, 0.0, 1.0]), turn)
        mujoco.mju_axisAngle2Quat(about_y, np.array([0.0, 1.0, 0.0]), slant)
        mujoco.mju_mulQuat(quat, about_z, about_y)
        centre = (0.5 * (low + high) - bucket.wall_m + thick) * outward + np.array([0.0, 0.0, 0.5 * bucket.height_m])
        size = [thick, 1.1 * high * np.tan(np.pi / _WALLS), 0.5 * bucket.height_m / np.cos(slant)]
        stand.add_geom(type=box, size=size, pos=centre, quat=quat, solref=[0.008, 0.6])
    body = spec.worldbody.add_body(name="thing")
    body.add_freejoint()
    shape, looks = thing.shape, {"mass": thing.mass_kg, "condim": 6, "friction": [0.7, 0.02, 0.004], "solref": [0.008, 0.6]}
    if isinstance(shape, Ball):
        body.add_geom(type=mujoco.mjtGeom.mjGEOM_SPHERE, size=[shape.radius_m, 0.0, 0.0], **looks)
    elif isinstance(shape, Box):
        body.add_geom(type=box, size=[0.5 * side for side in shape.size_m], **looks)
    else:
        body.add_geom(type=cylinder, size=[0.5 * shape.breadth_m, shape.half_height_m, 0.0], **looks)
    return spec
