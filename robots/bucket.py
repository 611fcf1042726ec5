"""An open bucket made of convex parts, to throw things into; what is seen of it is in `robots.visuals_bucket`.

Its frame: z along the axis, the origin under the floor's centre, where it stands.
"""

from __future__ import annotations

import dataclasses
import math

import mujoco
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from robots.collision import ROLLING_CONTACT_DIMENSIONS, TABLE_CONTACT, TORSIONAL_FRICTION_M
from robots.visuals_bucket import add_bucket_visual

Vector3 = tuple[float, float, float]
FloatArray = NDArray[np.float64]

#: Smooth plastic: with more friction a thrown ball climbs the far wall, and one in twenty leaves the bucket again.
_FRICTION = (0.4, TORSIONAL_FRICTION_M, 0.002)


@dataclasses.dataclass(frozen=True)
class Bucket:
    """Dimensions of a bucket that widens towards its rim.

    Attributes:
        rim_radius_m, floor_radius_m: inner radius at the rim and on the ground, to the middle of each flat wall.
        height_m: from where it stands to the rim.
        wall_m: thickness of the walls.
        floor_m: thickness of the floor.
        walls: number of flat walls around.
    """

    rim_radius_m: float = 0.16
    floor_radius_m: float = 0.13
    height_m: float = 0.22
    wall_m: float = 0.008
    floor_m: float = 0.010
    walls: int = 12

    @property
    def slope(self) -> float:
        """How much the radius grows per height."""
        return (self.rim_radius_m - self.floor_radius_m) / self.height_m

    def radius_m(self, height_m: float) -> float:
        """Inner radius at a height."""
        return self.floor_radius_m + self.slope * height_m


def add_bucket(spec: mujoco.MjSpec, bucket: Bucket, position_m: Vector3 = (1.24, 0.0, 0.0)) -> mujoco.MjsBody:
    """Adds the bucket as the mocap body `bucket`, so that its pose is a part of the state.

    Objects and robot touch its geoms `bucket_floor` and `bucket_wall_<number>`; it does not touch the table.
    """
    body = spec.worldbody.add_body(name="bucket", pos=position_m, mocap=True)
    _add_floor(spec, body, bucket)
    tilt = math.atan(bucket.slope)
    outward = bucket.wall_m / 2 * np.array([math.cos(tilt), -math.sin(tilt)])  # (radius, height) from inner face to middle
    middle = np.array([(bucket.rim_radius_m + bucket.floor_radius_m) / 2, bucket.height_m / 2]) + outward
    half_width = (bucket.rim_radius_m + bucket.wall_m) * math.tan(math.pi / bucket.walls)  # no gap at the rim, the widest place
    for number in range(bucket.walls):
        angle = 2 * math.pi * number / bucket.walls
        x, y, z, w = Rotation.from_euler("ZY", [angle, tilt]).as_quat()
        wall = body.add_geom(
            name=f"bucket_wall_{number}",
            type=mujoco.mjtGeom.mjGEOM_BOX,
            pos=(middle[0] * math.cos(angle), middle[0] * math.sin(angle), middle[1]),
            quat=(w, x, y, z),
            size=(bucket.wall_m / 2, half_width, bucket.height_m / 2 / math.cos(tilt)),
        )
        _apply_contact(wall)
    add_bucket_visual(spec, body, bucket)
    return body


def _add_floor(spec: mujoco.MjSpec, body: mujoco.MjsBody, bucket: Bucket) -> None:
    """Adds the floor as a prism under the walls.

    A cylinder would be simpler, but MuJoCo 3.17 now and then finds a can 0.25 m deep in a flat cylinder and shoots it out. The
    prism reaches below the ground, where nothing sees it, so that thin boxes that land hard are not pushed out downwards.
    """
    angle = (np.arange(bucket.walls) + 0.5) * 2 * math.pi / bucket.walls
    radius = (bucket.floor_radius_m + bucket.wall_m / 2) / math.cos(math.pi / bucket.walls)
    outline = radius * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    rings = [np.column_stack([outline, np.full(bucket.walls, height)]) for height in (-0.10, bucket.floor_m)]
    spec.add_mesh(name="bucket_floor", uservert=np.concatenate(rings).ravel())
    _apply_contact(body.add_geom(name="bucket_floor", type=mujoco.mjtGeom.mjGEOM_MESH, meshname="bucket_floor"))


def _apply_contact(geom: mujoco.MjsGeom) -> None:
    """Makes a geom one of the bucket's: its friction counts, whatever touches it."""
    TABLE_CONTACT.apply(geom)
    geom.priority, geom.friction, geom.condim = 1, _FRICTION, ROLLING_CONTACT_DIMENSIONS


def inside_bucket(bucket: Bucket, position_m: FloatArray, points_world: FloatArray) -> NDArray[np.bool_]:
    """Whether points are in an upright bucket: between its walls, above its underside and below its rim.

    Args:
        bucket: its dimensions.
        position_m: (N, 3) m, or (3,), where it stands in the world.
        points_world: (N, 3) m, for example the centres of objects.

    Returns:
        (N,) truth values.
    """
    offset = points_world - position_m
    across, z = offset[..., :2], offset[..., 2]
    radius = np.sqrt(np.add.reduce(across * across, axis=-1))
    within: NDArray[np.bool_] = (radius < bucket.floor_radius_m + bucket.slope * z) & (z > 0.0) & (z < bucket.height_m)
    return within
