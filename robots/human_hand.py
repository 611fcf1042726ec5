"""A posable human hand as a MuJoCo model: 21 key points, 21 finger joints and a forearm.

It is a kinematic model for making and drawing hand motions (its flesh takes no part in collisions); the drawn skin is in
`robots.human_hand_skin`. Frame of the hand: origin at the wrist, fingers along +z, palm faces +x, index side +y (of a left hand
-y: it is the right hand's mirror image, and equal joint angles give mirrored postures). Lengths in m, angles in rad.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Literal, NamedTuple

import mujoco
import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
Vector = tuple[float, float, float]

FINGERS: tuple[str, ...] = ("thumb", "index", "middle", "ring", "little")
#: MANO / MediaPipe order: wrist, then each finger from base to tip.
KEYPOINT_NAMES: tuple[str, ...] = (
    "wrist",
    *(f"{finger}_{part}" for finger in FINGERS for part in ("base", "proximal", "distal", "tip")),
)
_THUMB_JOINTS = (
    "thumb_base_flexion",
    "thumb_base_abduction",
    "thumb_base_roll",
    "thumb_proximal_flexion",
    "thumb_distal_flexion",
)
_FINGER_JOINT_PARTS = ("base_abduction", "base_flexion", "proximal_flexion", "distal_flexion")
#: The 21 finger joints, in the order of every `joints` array here. Positive flexion is towards the palm, abduction towards the
#: thumb (of the thumb: away from the palm), roll turns the thumb's pad to face the fingers.
JOINT_NAMES: tuple[str, ...] = _THUMB_JOINTS + tuple(
    f"{finger}_{part}" for finger in FINGERS[1:] for part in _FINGER_JOINT_PARTS
)
#: The two joints between hand and forearm; positive: palm towards the inner forearm, index side towards the forearm.
WRIST_JOINT_NAMES: tuple[str, ...] = ("wrist_flexion", "wrist_deviation")

#: Ranges in rad of the finger joints by their last two words; usual active ranges of an adult.
JOINT_RANGES_RAD: dict[str, tuple[float, float]] = {
    "thumb_base_flexion": (-0.60, 0.80),
    "thumb_base_abduction": (-0.50, 0.90),
    "thumb_base_roll": (-0.30, 1.00),
    "thumb_proximal_flexion": (-0.20, 1.00),
    "thumb_distal_flexion": (-0.25, 1.40),
    "base_abduction": (-0.35, 0.35),
    "base_flexion": (-0.35, 1.57),
    "proximal_flexion": (0.0, 1.92),
    "distal_flexion": (-0.10, 1.40),
    "wrist_flexion": (-1.2, 1.2),
    "wrist_deviation": (-0.5, 0.6),
}


class Cone(NamedTuple):
    """A round cone of flesh (two spheres and their hull) fixed to a body.

    Attributes:
        body: name of the body that carries it.
        start: centre of the first sphere in the frame of the body, m.
        end: centre of the second sphere, m.
        start_radius: radius of the first sphere, m.
        end_radius: radius of the second sphere, m.
        finger: the finger that it belongs to, "palm" or "forearm".
    """

    body: str
    start: Vector
    end: Vector
    start_radius: float
    end_radius: float
    finger: str


@dataclasses.dataclass(frozen=True)
class HandDimensions:
    """Bone lengths of an adult hand, 50th percentile by default, all times `scale`.

    Attributes:
        scale: size of the person's hand relative to the 50th percentile.
        knuckle_distances_m: wrist to the base knuckle of thumb, index, middle, ring, little.
        phalanges_m: the three bones beyond it, for the same five (thumb: metacarpal, proximal, distal).
        radii_m: radius of the flesh at base, proximal, distal joint and tip.
        forearm_length_m: length of the drawn forearm.
        side: "right" or "left".
    """

    scale: float = 1.0
    knuckle_distances_m: tuple[float, ...] = (0.033, 0.0915, 0.092, 0.086, 0.078)
    phalanges_m: tuple[Vector, ...] = (
        (0.046, 0.034, 0.028),
        (0.045, 0.026, 0.023),
        (0.050, 0.031, 0.025),
        (0.046, 0.029, 0.025),
        (0.036, 0.021, 0.022),
    )
    radii_m: tuple[tuple[float, float, float, float], ...] = (
        (0.0145, 0.0112, 0.0102, 0.0082),
        (0.0108, 0.0092, 0.0081, 0.0068),
        (0.0110, 0.0093, 0.0083, 0.0069),
        (0.0105, 0.0088, 0.0079, 0.0066),
        (0.0095, 0.0078, 0.0069, 0.0058),
    )
    forearm_length_m: float = 0.30
    side: Literal["right", "left"] = "right"

    @property
    def bone_lengths_m(self) -> FloatArray:
        """(20,) lengths of the bones, finger by finger from the wrist to the tip."""
        rows = [(knuckle, *bones) for knuckle, bones in zip(self.knuckle_distances_m, self.phalanges_m, strict=True)]
        return self.scale * np.array(rows).reshape(-1)


#: Direction from the wrist to each base knuckle (its length is replaced by the distance), and of the straight finger.
_KNUCKLE_POINTS: tuple[Vector, ...] = (
    (0.013, 0.020, 0.022),
    (0.001, 0.0255, 0.088),
    (-0.002, 0.0045, 0.092),
    (-0.001, -0.0155, 0.085),
    (0.003, -0.0330, 0.071),
)
_FINGER_DIRECTIONS: tuple[Vector, ...] = (
    (0.58, 0.46, 0.67),
    (0.05, 0.07, 1.0),
    (0.05, 0.0, 1.0),
    (0.06, -0.05, 1.0),
    (0.08, -0.13, 1.0),
)
#: Roughly where the pad of each finger looks.
_PAD_DIRECTIONS: tuple[Vector, ...] = ((0.35, -0.88, 0.33), (1.0, 0.0, 0.0), (1.0, 0.0, 0.0), (1.0, 0.0, 0.0), (1.0, 0.05, 0.0))
_SEGMENTS = ("proximal", "middle", "distal")
_JOINT_AXES = {"flexion": [0.0, 1.0, 0.0], "abduction": [-1.0, 0.0, 0.0], "roll": [0.0, 0.0, -1.0]}
_FLESH_DENSITY = 1050.0  # kg/m^3
#: The flesh ends this far beyond the tip key point minus the tip's radius: the key point lies inside the fingertip.
_TIP_INSET = 0.55


def joint_range_rad(joint_name: str) -> tuple[float, float]:
    """Lower and upper limit in rad of a joint of `JOINT_NAMES` or `WRIST_JOINT_NAMES`."""
    return JOINT_RANGES_RAD.get(joint_name) or JOINT_RANGES_RAD[joint_name.split("_", 1)[1]]


def segment_bodies(finger: str) -> tuple[str, str, str]:
    """Names of the three bodies of a finger, from base to tip."""
    proximal, middle, distal = (f"{finger}_{segment}_bone" for segment in _SEGMENTS)
    return proximal, middle, distal


def flesh_cones(dimensions: HandDimensions) -> tuple[Cone, ...]:
    """The flesh of hand and forearm as round cones in the frames of their bodies."""
    cones: list[Cone] = []
    for finger, bones, radii in zip(FINGERS, dimensions.phalanges_m, dimensions.radii_m, strict=True):
        for part, (body, length) in enumerate(zip(segment_bodies(finger), bones, strict=True)):
            end_radius = radii[part + 1]
            end = length - _TIP_INSET * end_radius if part == 2 else length
            cones.append(Cone(body, (0.0, 0.0, 0.0), (0.0, 0.0, end), radii[part], end_radius, finger))
    knuckles = _knuckle_positions(HandDimensions(1.0, dimensions.knuckle_distances_m))
    carpals: tuple[Vector, ...] = ((0.002, 0.016, 0.006), (0.0, 0.006, 0.006), (0.0, -0.005, 0.006), (0.002, -0.016, 0.006))
    for carpal, knuckle, radius in zip(carpals, knuckles[1:], (0.0122, 0.0124, 0.0120, 0.0110), strict=True):
        cones.append(Cone("hand", carpal, _vector(knuckle), 0.0160, radius, "palm"))
    cones += [
        Cone("hand", (0.006, 0.016, 0.012), (0.010, 0.017, 0.040), 0.0150, 0.0125, "palm"),  # thenar: ball of the thumb
        Cone("hand", (0.005, -0.019, 0.014), (0.007, -0.027, 0.050), 0.0150, 0.0125, "palm"),  # hypothenar: edge of the hand
        Cone("hand", (0.0, 0.010, -0.004), (0.0, -0.010, -0.004), 0.0185, 0.0185, "palm"),
    ]
    reach = dimensions.forearm_length_m
    for side in (1.0, -1.0):
        cones.append(Cone("forearm", (0.0, 0.010 * side, 0.0), (0.0, 0.010 * side, -0.07), 0.0185, 0.0215, "forearm"))
        cones.append(Cone("forearm", (0.0, 0.010 * side, -0.07), (0.0, 0.012 * side, -reach), 0.0215, 0.0380, "forearm"))
    scaled = (_scaled(cone, dimensions.scale) for cone in cones)
    return tuple(scaled) if dimensions.side == "right" else tuple(_mirrored(cone) for cone in scaled)


def human_hand_spec(dimensions: HandDimensions | None = None) -> mujoco.MjSpec:
    """The hand with a free root body `hand`, key point sites named as `KEYPOINT_NAMES` and its flesh as capsules in group 3."""
    dimensions = dimensions or HandDimensions()
    spec = mujoco.MjSpec()
    spec.modelname = "human_hand"
    spec.compiler.degree = False
    hand = spec.worldbody.add_body(name="hand")
    hand.add_freejoint(name="hand_root")
    hand.add_site(name="wrist", size=[0.003] * 3, group=3)
    forearm = hand.add_body(name="forearm")
    for name, axis in zip(WRIST_JOINT_NAMES, ([0.0, -1.0, 0.0], [-1.0, 0.0, 0.0]), strict=True):
        _add_joint(forearm, name, _turning_axis(axis, dimensions))
    knuckles = _knuckle_positions(dimensions)
    for index, finger in enumerate(FINGERS):
        _add_finger(hand, finger, knuckles[index], index, dimensions)
    bodies = {body.name: body for body in spec.bodies}
    for number, cone in enumerate(flesh_cones(dimensions)):
        _add_flesh(bodies[cone.body], f"flesh_{number}", cone)
    return spec


class HumanHand:
    """Forward kinematics of the hand: key points and flesh in the world frame.

    Attributes:
        dimensions: bone lengths.
        model: the compiled model.
        lower_rad: (21,) lower joint limits in the order of `JOINT_NAMES`.
        upper_rad: (21,) upper joint limits.
        sphere_radii_m: (S,) radii of the spheres that sample the flesh.
        sphere_fingers: S names: the finger of each sphere, "palm" or "forearm".
        sphere_is_tip: (S,) bool, the sphere belongs to a last finger bone.
    """

    SPHERES_PER_CONE = 5

    def __init__(self, dimensions: HandDimensions | None = None) -> None:
        self.dimensions = dimensions or HandDimensions()
        self.model: mujoco.MjModel = human_hand_spec(self.dimensions).compile()
        self._data = mujoco.MjData(self.model)
        self._joint_qposadr = np.array([self.model.joint(name).qposadr[0] for name in JOINT_NAMES])
        self._wrist_qposadr = np.array([self.model.joint(name).qposadr[0] for name in WRIST_JOINT_NAMES])
        self._keypoint_ids = np.array([self.model.site(name).id for name in KEYPOINT_NAMES])
        self._pad_body_ids = np.array([self.model.body(segment_bodies(finger)[2]).id for finger in FINGERS])
        ranges = np.array([joint_range_rad(name) for name in JOINT_NAMES])
        self.lower_rad, self.upper_rad = ranges[:, 0], ranges[:, 1]
        cones = flesh_cones(self.dimensions)
        share = np.linspace(0.0, 1.0, self.SPHERES_PER_CONE)
        starts, ends = np.array([c.start for c in cones]), np.array([c.end for c in cones])
        self._sphere_local = (starts[:, None] + share[:, None] * (ends - starts)[:, None]).reshape(-1, 3)
        radii = np.array([(c.start_radius, c.end_radius) for c in cones])
        self.sphere_radii_m = (radii[:, :1] + share * (radii[:, 1:] - radii[:, :1])).reshape(-1)
        self._sphere_body_ids = np.repeat([self.model.body(c.body).id for c in cones], self.SPHERES_PER_CONE)
        self.sphere_fingers = tuple(c.finger for c in cones for _ in share)
        self.sphere_is_tip = np.repeat([c.body.endswith("distal_bone") for c in cones], self.SPHERES_PER_CONE)

    def qpos(self, T_world_hand: FloatArray, joints_rad: FloatArray, wrist_rad: FloatArray | None = None) -> FloatArray:
        """(nq,) generalised position of `model` for a (4, 4) hand pose, (21,) finger joints and (2,) wrist joints."""
        qpos = self.model.qpos0.copy()
        qpos[:3] = T_world_hand[:3, 3]
        mujoco.mju_mat2Quat(qpos[3:7], np.ascontiguousarray(T_world_hand[:3, :3]).reshape(9))
        qpos[self._joint_qposadr] = joints_rad
        if wrist_rad is not None:
            qpos[self._wrist_qposadr] = wrist_rad
        return qpos

    def pose(self, T_world_hand: FloatArray, joints_rad: FloatArray, wrist_rad: FloatArray | None = None) -> None:
        """Moves the hand; the queries below then describe this pose (4, 4), joints (21,) and wrist (2,), straight if None."""
        self._data.qpos[:] = self.qpos(T_world_hand, joints_rad, wrist_rad)
        mujoco.mj_kinematics(self.model, self._data)

    def keypoints_world(self) -> FloatArray:
        """(21, 3) m, in the order of `KEYPOINT_NAMES`."""
        return self._data.site_xpos[self._keypoint_ids]

    def sphere_centres_world(self) -> FloatArray:
        """(S, 3) m, centres of the spheres that sample the flesh."""
        rotations = self._data.xmat[self._sphere_body_ids].reshape(-1, 3, 3)
        return self._data.xpos[self._sphere_body_ids] + np.einsum("sij,sj->si", rotations, self._sphere_local)

    def pad_directions_world(self) -> FloatArray:
        """(5, 3) unit vectors out of the pads of the fingertips, in the order of `FINGERS`."""
        return self._data.xmat[self._pad_body_ids].reshape(-1, 3, 3)[:, :, 0]


def _mirror(dimensions: HandDimensions) -> FloatArray:
    """(3,) factors from points of a right hand to those of this one."""
    return np.array([1.0, 1.0 if dimensions.side == "right" else -1.0, 1.0])


def _turning_axis(axis_right: list[float], dimensions: HandDimensions) -> list[float]:
    """The joint axis of this hand about which equal angles mirror a right hand's turn: a mirror also reverses turns."""
    mirror = _mirror(dimensions)
    return [float(part) for part in mirror.prod() * mirror * axis_right]


def _knuckle_positions(dimensions: HandDimensions) -> FloatArray:
    """(5, 3) m, base knuckles in the frame of a right hand."""
    points = np.array(_KNUCKLE_POINTS)
    lengths = dimensions.scale * np.array(dimensions.knuckle_distances_m)
    return points / np.linalg.norm(points, axis=1, keepdims=True) * lengths[:, None]


def _add_finger(hand: mujoco.MjsBody, finger: str, knuckle: FloatArray, index: int, dimensions: HandDimensions) -> None:
    """Adds the three bones of a finger with joints, key point sites and a nail's place at the tip."""
    mirror = _mirror(dimensions)
    direction = mirror * _FINGER_DIRECTIONS[index] / np.linalg.norm(_FINGER_DIRECTIONS[index])
    pad = mirror * _PAD_DIRECTIONS[index]
    pad = pad - pad @ direction * direction
    pad /= np.linalg.norm(pad)
    quat = np.zeros(4)
    mujoco.mju_mat2Quat(quat, np.column_stack([pad, np.cross(direction, pad), direction]).reshape(9))
    parent, position = hand, mirror * knuckle
    keypoint_parts = ("base", "proximal", "distal")
    for part, body_name in enumerate(segment_bodies(finger)):
        body = parent.add_body(name=body_name, pos=position, quat=quat if part == 0 else [1.0, 0.0, 0.0, 0.0])
        for joint_name in (name for name in JOINT_NAMES if name.startswith(f"{finger}_{keypoint_parts[part]}_")):
            _add_joint(body, joint_name, _turning_axis(_JOINT_AXES[joint_name.rsplit("_", 1)[1]], dimensions))
        body.add_site(name=f"{finger}_{keypoint_parts[part]}", size=[0.003] * 3, group=3)
        parent, position = body, np.array([0.0, 0.0, dimensions.scale * dimensions.phalanges_m[index][part]])
    parent.add_site(name=f"{finger}_tip", pos=position, size=[0.003] * 3, group=3)


def _add_joint(body: mujoco.MjsBody, name: str, axis: list[float]) -> None:
    body.add_joint(
        name=name, type=mujoco.mjtJoint.mjJNT_HINGE, axis=axis, range=joint_range_rad(name), limited=True, damping=0.01
    )


def _add_flesh(body: mujoco.MjsBody, name: str, cone: Cone) -> None:
    """A capsule of the mean radius; it weighs, but takes no part in collisions."""
    body.add_geom(
        name=name,
        type=mujoco.mjtGeom.mjGEOM_CAPSULE,
        fromto=[*cone.start, *cone.end],
        size=[0.5 * (cone.start_radius + cone.end_radius), 0.0, 0.0],
        density=_FLESH_DENSITY,
        contype=0,
        conaffinity=0,
        group=3,
        rgba=[0.86, 0.64, 0.52, 1.0],
    )


def _scaled(cone: Cone, scale: float) -> Cone:
    return cone._replace(
        start=_vector(scale * np.array(cone.start)),
        end=_vector(scale * np.array(cone.end)),
        start_radius=scale * cone.start_radius,
        end_radius=scale * cone.end_radius,
    )


def _mirrored(cone: Cone) -> Cone:
    mirror = np.array([1.0, -1.0, 1.0])
    return cone._replace(start=_vector(mirror * cone.start), end=_vector(mirror * cone.end))


def _vector(array: FloatArray) -> Vector:
    x, y, z = (float(value) for value in array)
    if not all(math.isfinite(value) for value in (x, y, z)):
        raise ValueError(f"expected finite coordinates, got {(x, y, z)}")
    return x, y, z
