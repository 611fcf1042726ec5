"""The 16-joint Allegro-style right hand (Wonik Allegro v4 dimensions; our own model).

Palm frame: fingers point along +z, the palm faces +x, +y is the index finger's side.
"""

from __future__ import annotations

import dataclasses

import mujoco

from robots.arm import add_position_actuator
from robots.collision import (
    CONTACT_DIMENSIONS,
    FINGER_CONTACT,
    LIMIT_SOLIMP,
    LIMIT_SOLREF,
    ROBOT_CONTACT,
    THUMB_CONTACT,
    TORSIONAL_FRICTION_M,
    ContactClass,
)
from robots.visuals import add_finger_link_visual, add_palm_visual

Vector3 = tuple[float, float, float]


@dataclasses.dataclass(frozen=True)
class FingerLink:
    """One finger link and its joint; the offset is from the parent link's frame."""

    name: str
    offset_m: Vector3
    axis: Vector3
    range_rad: tuple[float, float]
    mass_kg: float
    length_m: float  # to the next joint, along the link's +z


@dataclasses.dataclass(frozen=True)
class Finger:
    """A finger from its base in the palm frame to the fingertip centre."""

    name: str
    base_offset_m: Vector3
    base_quat_wxyz: tuple[float, float, float, float]
    links: tuple[FingerLink, ...]
    tip_offset_m: float  # fingertip centre along the distal link's +z
    contact: ContactClass


def _long_finger_links() -> tuple[FingerLink, ...]:
    return (
        FingerLink("base", (0, 0, 0), (0, 0, 1), (-0.47, 0.47), 0.0119, 0.0164),
        FingerLink("proximal", (0, 0, 0.0164), (0, 1, 0), (-0.196, 1.61), 0.065, 0.054),
        FingerLink("medial", (0, 0, 0.054), (0, 1, 0), (-0.174, 1.709), 0.0355, 0.0384),
        FingerLink("distal", (0, 0, 0.0384), (0, 1, 0), (-0.227, 1.618), 0.0096, 0.0267),
    )


_THUMB_LINKS = (
    FingerLink("base", (0, 0, 0), (-1, 0, 0), (0.263, 1.396), 0.0176, 0.0399),
    FingerLink("proximal", (-0.027, 0.005, 0.0399), (0, 0, 1), (-0.105, 1.163), 0.0119, 0.0177),
    FingerLink("medial", (0, 0, 0.0177), (0, 1, 0), (-0.189, 1.644), 0.038, 0.0514),
    FingerLink("distal", (0, 0, 0.0514), (0, 1, 0), (-0.162, 1.719), 0.0168, 0.0423),
)
FINGERS: tuple[Finger, ...] = (
    Finger("index", (0, 0.0435, -0.001542), (0.999048, -0.0436194, 0, 0), _long_finger_links(), 0.0267, FINGER_CONTACT),
    Finger("middle", (0, 0, 0.0007), (1, 0, 0, 0), _long_finger_links(), 0.0267, FINGER_CONTACT),
    Finger("ring", (0, -0.0435, -0.001542), (0.999048, 0.0436194, 0, 0), _long_finger_links(), 0.0267, FINGER_CONTACT),
    Finger(
        "thumb",
        (-0.0182, 0.019333, -0.045987),
        (0.477714, -0.521334, -0.521334, -0.477714),
        _THUMB_LINKS,
        0.0423,
        THUMB_CONTACT,
    ),
)
FINGER_NAMES = tuple(finger.name for finger in FINGERS)
HAND_JOINT_NAMES = tuple(f"{finger.name}_{link.name}" for finger in FINGERS for link in finger.links)

PALM_SIZE_M: Vector3 = (0.041, 0.113, 0.095)
PALM_CENTRE_M: Vector3 = (-0.0093, 0.0, -0.0475)
PALM_MASS_KG = 0.4154
#: The mount is the wrist end of the palm; it lies on the flange.
MOUNT_TO_PALM_M: Vector3 = (0.0, 0.0, 0.095)

FINGERTIP_RADIUS_M = 0.012
FINGERTIP_MASS_KG = 0.01
FINGER_TORQUE_LIMIT_NM = 0.7
FINGER_SPEED_LIMIT_RAD_PER_S = 7.5
FINGER_STIFFNESS_NM_PER_RAD = 3.0  # full torque at 0.23 rad of error: firm, yet yielding in contact
FINGER_DAMPING_NMS_PER_RAD = 0.12
# Inertia of the geared motors, as the joint feels it: an estimate, since none is published. With half of it, a tip under full
# torque that loses its hold for one physics step comes back 5 mm deep (`moving_penetration_mm` of benchmarks.physical_sanity).
FINGER_ARMATURE_KG_M2 = 0.001
_LINK_RADIUS_M = 0.0098  # half the link's width of 0.0196
#: Sliding, torsional (m) and rolling (m) friction of the rubber tips and coated links; the last counts in the bucket alone.
FINGER_FRICTION: Vector3 = (1.0, TORSIONAL_FRICTION_M, 0.0005)
#: In contacts of the hand its own friction and contact dimensions count, not the larger of both: with a ball's rolling
#: friction, which the ball needs on the table alone, a grip of it costs two and a half times as much.
HAND_CONTACT_PRIORITY = 1


def add_hand(spec: mujoco.MjSpec, flange: mujoco.MjsBody) -> mujoco.MjsBody:
    """Adds the hand on the flange's +z and returns the palm body."""
    palm = flange.add_body(
        name="palm",
        pos=MOUNT_TO_PALM_M,
        ipos=PALM_CENTRE_M,
        mass=PALM_MASS_KG,
        inertia=_box_inertia(PALM_MASS_KG, PALM_SIZE_M),
        explicitinertial=True,
        gravcomp=1.0,
    )
    geom = palm.add_geom(
        name="palm_collision",
        type=mujoco.mjtGeom.mjGEOM_BOX,
        pos=PALM_CENTRE_M,
        size=[side / 2 for side in PALM_SIZE_M],
        friction=FINGER_FRICTION,
        condim=CONTACT_DIMENSIONS,
        priority=HAND_CONTACT_PRIORITY,
        mass=0.0,
    )
    ROBOT_CONTACT.apply(geom)
    palm.add_site(name="palm", pos=(PALM_CENTRE_M[0] + PALM_SIZE_M[0] / 2, 0, PALM_CENTRE_M[2]), group=4)
    add_palm_visual(spec, palm)
    for finger in FINGERS:
        _add_finger(spec, palm, finger)
    return palm


def _add_finger(spec: mujoco.MjSpec, palm: mujoco.MjsBody, finger: Finger) -> None:
    body = palm.add_body(name=f"{finger.name}_mount", pos=finger.base_offset_m, quat=finger.base_quat_wxyz)
    for link in finger.links:
        name = f"{finger.name}_{link.name}"
        distal = link.name == "distal"
        mass = link.mass_kg + (FINGERTIP_MASS_KG if distal else 0.0)
        body = body.add_body(
            name=f"{name}_link",
            pos=link.offset_m,
            ipos=(0, 0, link.length_m / 2),
            mass=mass,
            inertia=_box_inertia(mass, (0.0196, 0.0275, max(link.length_m, 0.02))),
            explicitinertial=True,
            gravcomp=1.0,
        )
        body.add_joint(
            name=name,
            axis=link.axis,
            range=link.range_rad,
            limited=mujoco.mjtLimited.mjLIMITED_TRUE,
            solref_limit=LIMIT_SOLREF,
            solimp_limit=LIMIT_SOLIMP,
            armature=FINGER_ARMATURE_KG_M2,
            damping=0.01,
        )
        add_position_actuator(
            spec, name, FINGER_STIFFNESS_NM_PER_RAD, FINGER_DAMPING_NMS_PER_RAD, FINGER_TORQUE_LIMIT_NM, link.range_rad
        )
        if link.name != "base" and not (finger.name == "thumb" and link.name == "proximal"):
            radius = FINGERTIP_RADIUS_M if distal else _LINK_RADIUS_M
            end = finger.tip_offset_m if distal else link.length_m
            geom = body.add_geom(
                name=f"{name}_collision",
                type=mujoco.mjtGeom.mjGEOM_CAPSULE,
                fromto=(0, 0, 0.004, 0, 0, end),
                size=(radius, 0, 0),
                friction=FINGER_FRICTION,
                condim=CONTACT_DIMENSIONS,
                priority=HAND_CONTACT_PRIORITY,
                mass=0.0,
            )
            finger.contact.apply(geom)
        add_finger_link_visual(spec, body, finger.name, link.name, link.length_m)
    body.add_site(name=f"{finger.name}_tip", pos=(0, 0, finger.tip_offset_m), size=(0.004, 0, 0), group=4)


def _box_inertia(mass: float, size: Vector3) -> tuple[float, float, float]:
    """Principal inertia kg m2 of a homogeneous box of full side lengths `size`."""
    x, y, z = size
    return (mass * (y * y + z * z) / 12, mass * (x * x + z * z) / 12, mass * (x * x + y * y) / 12)
