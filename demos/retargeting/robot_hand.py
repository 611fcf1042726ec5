"""What retargeting knows of a robot: a MuJoCo model, which key point each fingertip follows, where wrist and links are.

The table here is the plane z = 0 of the model's world. Any hand will do that can be written as a `RobotHand`; two are given.
"""

from __future__ import annotations

import dataclasses
import functools

import mujoco
import numpy as np
from numpy.typing import NDArray

from demos.interaction import HAND_KEYPOINT_NAMES, WRIST
from dexvid_envs.errors import DexVidError
from robots.allegro import FINGERTIP_RADIUS_M, MOUNT_TO_PALM_M, add_hand
from robots.arm_hand import ARM_HAND, make_arm_hand_spec

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class KeypointMap:
    """Which of the person's 21 key points each fingertip of the robot follows.

    Attributes:
        fingertips: pairs of the name of a site at a fingertip's centre and the name of a key point, such as
            `("index_tip", "index_tip")`; a robot with fewer fingers leaves key points out.
        wrist: key point that the robot's wrist follows, about which a person's hand is scaled.
    """

    fingertips: tuple[tuple[str, str], ...]
    wrist: str = HAND_KEYPOINT_NAMES[WRIST]

    def __post_init__(self) -> None:
        names = [name for _, name in self.fingertips] + [self.wrist]
        unknown = [name for name in names if name not in HAND_KEYPOINT_NAMES]
        if unknown:
            raise DexVidError(f"unknown key points {', '.join(unknown)}: expected some of {', '.join(HAND_KEYPOINT_NAMES)}")
        if not self.fingertips:
            raise DexVidError("a key-point map needs at least one fingertip; give pairs of a site's and a key point's name")

    @property
    def keypoints(self) -> IntArray:
        """(F,) index of the key point of each fingertip."""
        return np.array([HAND_KEYPOINT_NAMES.index(name) for _, name in self.fingertips], dtype=np.int64)

    @property
    def wrist_keypoint(self) -> int:
        """Index of the wrist's key point."""
        return HAND_KEYPOINT_NAMES.index(self.wrist)


#: The robot has no little finger; its thumb comes last.
FOUR_FINGERS = KeypointMap(tuple((f"{name}_tip", f"{name}_tip") for name in ("index", "middle", "ring", "thumb")))


@dataclasses.dataclass(frozen=True)
class LinkSpheres:
    """Spheres that fill the links' collision geometry.

    Attributes:
        bodies: (S,) body of each.
        offsets_m: (S, 3) centre in the body's frame.
        radius_m: (S,).
    """

    bodies: IntArray
    offsets_m: FloatArray
    radius_m: FloatArray


@dataclasses.dataclass(frozen=True, eq=False)
class RobotHand:
    """A robot that retargeting moves; NV is its number of degrees of freedom.

    Attributes:
        model: compiled MuJoCo model of the robot alone.
        keypoint_map: what its fingertips follow.
        palm_body: name of the palm's body.
        wrist_in_palm_m: (3,) the point, in the palm's frame, that follows the person's wrist.
        wrist_radius_m: height above the table that this point keeps, the palm's half width there.
        pad_radius_m: radius of a fingertip about its site.
        home_qpos: configuration to start from, and towards which the arm's joints are pulled.
        relaxed_qpos: configuration towards which the fingers' joints are pulled.
        base_dofs: number of leading degrees of freedom that carry the palm, of an arm or of a free joint.
        first_body: name of the first body, in the model's order, that is kept clear of table and object.
        body_margin_m: what a body from `first_body` to the palm is wider about its origin than a finger's link.
    """

    model: mujoco.MjModel
    keypoint_map: KeypointMap
    palm_body: str
    wrist_in_palm_m: FloatArray
    wrist_radius_m: float
    pad_radius_m: float
    home_qpos: FloatArray
    relaxed_qpos: FloatArray
    base_dofs: int
    first_body: str
    body_margin_m: float

    def __post_init__(self) -> None:
        for kind, count, names in (
            ("site", self.model.nsite, [site for site, _ in self.keypoint_map.fingertips]),
            ("body", self.model.nbody, [self.palm_body, self.first_body]),
        ):
            known = [getattr(self.model, kind)(index).name for index in range(count)]
            missing = [name for name in names if name not in known]
            if missing:
                raise DexVidError(f"the robot has no {kind} {', '.join(missing)}: expected some of {', '.join(known)}")
        for name in ("home_qpos", "relaxed_qpos"):
            if getattr(self, name).shape != (self.model.nq,):
                raise DexVidError(f"{name} has shape {getattr(self, name).shape}, expected ({self.model.nq},)")

    @functools.cached_property
    def fingertip_ids(self) -> IntArray:
        """(F,) ids of the fingertips' sites."""
        return np.array([self.model.site(name).id for name, _ in self.keypoint_map.fingertips], dtype=np.int64)

    @functools.cached_property
    def palm_id(self) -> int:
        """Id of the palm's body."""
        return int(self.model.body(self.palm_body).id)

    @functools.cached_property
    def clear_bodies(self) -> IntArray:
        """Ids of the bodies that are kept clear of table and object."""
        return np.arange(self.model.body(self.first_body).id, self.model.nbody, dtype=np.int64)

    @functools.cached_property
    def limits(self) -> tuple[FloatArray, FloatArray]:
        """(NV,) lower and upper limits of the degrees of freedom; infinite where there are none."""
        lower, upper = np.full(self.model.nv, -np.inf), np.full(self.model.nv, np.inf)
        for joint in np.flatnonzero(self.model.jnt_limited & (self.scalar_joints)):
            lower[self.model.jnt_dofadr[joint]], upper[self.model.jnt_dofadr[joint]] = self.model.jnt_range[joint]
        return lower, upper

    @property
    def scalar_joints(self) -> NDArray[np.bool_]:
        """(J,) whether a joint is a hinge or a slide, of one degree of freedom."""
        return self.model.jnt_type >= mujoco.mjtJoint.mjJNT_SLIDE.value

    @functools.cached_property
    def spheres(self) -> LinkSpheres:
        """Spheres that fill the collision geometry of the bodies that are kept clear."""
        found = [
            (body, offset, radius)
            for geom in range(self.model.ngeom)
            if (body := int(self.model.geom_bodyid[geom])) >= self.clear_bodies[0]
            and (self.model.geom_contype[geom] or self.model.geom_conaffinity[geom])
            for offset, radius in _spheres_of_geom(self.model, geom)
        ]
        return LinkSpheres(
            np.array([body for body, _, _ in found], dtype=np.int64),
            np.array([offset for _, offset, _ in found]).reshape(-1, 3),
            np.array([radius for _, _, radius in found], dtype=np.float64),
        )


def _spheres_of_geom(model: mujoco.MjModel, geom: int) -> list[tuple[FloatArray, float]]:
    """Centres in the body's frame and the radius of spheres as wide as the geom, no further apart than their radius."""
    turn = np.empty(9)
    mujoco.mju_quat2Mat(turn, model.geom_quat[geom])
    size = model.geom_size[geom]
    kind = model.geom_type[geom]
    if kind in (mujoco.mjtGeom.mjGEOM_CAPSULE, mujoco.mjtGeom.mjGEOM_SPHERE):
        half = np.array([0.0, 0.0, size[1] if kind == mujoco.mjtGeom.mjGEOM_CAPSULE else 0.0])
        centre, radius = np.zeros(3), float(size[0])
    else:  # any other geom is taken for its box
        centre, box = model.geom_aabb[geom, :3], model.geom_aabb[geom, 3:]
        radius = float(box.min())
        half = box - radius
    axes = [np.linspace(-length, length, 1 + int(np.ceil(2 * length / radius - 1e-9))) for length in half]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    return [(model.geom_pos[geom] + turn.reshape(3, 3) @ (centre + point), radius) for point in grid]


@functools.cache
def arm_hand() -> RobotHand:
    """The robot of all environments: the 16-joint hand on the 7-DoF arm."""
    half_closed = np.where(
        np.arange(ARM_HAND.num_joints) < ARM_HAND.arm_joints, ARM_HAND.home_rad, (ARM_HAND.lower_rad + ARM_HAND.upper_rad) / 3
    )
    return _allegro(make_arm_hand_spec(), ARM_HAND.home_rad, half_closed, ARM_HAND.arm_joints, "arm_7_link")


@functools.cache
def floating_hand() -> RobotHand:
    """The 16-joint hand alone, its palm on a free joint."""
    spec = mujoco.MjSpec()
    spec.compiler.degree = False
    wrist = spec.worldbody.add_body(name="wrist")
    wrist.add_freejoint(name="wrist")
    add_hand(spec, wrist)
    still = np.array([0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0])
    arm = ARM_HAND.arm_joints
    half_closed = (ARM_HAND.lower_rad[arm:] + ARM_HAND.upper_rad[arm:]) / 3
    home = np.concatenate([still, ARM_HAND.home_rad[arm:]])
    return _allegro(spec, home, np.concatenate([still, half_closed]), 6, "palm")


def _allegro(spec: mujoco.MjSpec, home: FloatArray, relaxed: FloatArray, base_dofs: int, first_body: str) -> RobotHand:
    return RobotHand(
        model=spec.compile(),
        keypoint_map=FOUR_FINGERS,
        palm_body="palm",
        wrist_in_palm_m=-np.array(MOUNT_TO_PALM_M),
        wrist_radius_m=0.055,  # the wrist end of the palm is 5.6 cm wide on each side
        pad_radius_m=FINGERTIP_RADIUS_M,
        home_qpos=home,
        relaxed_qpos=relaxed,
        base_dofs=base_dofs,
        first_body=first_body,
        body_margin_m=0.035,
    )
