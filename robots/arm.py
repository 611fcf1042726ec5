"""The 7-DoF arm: kinematics, inertia, limits and actuators (UFACTORY xArm7 dimensions; our own model)."""

from __future__ import annotations

import dataclasses
import math

import mujoco
import numpy as np

from robots.collision import LIMIT_SOLIMP, LIMIT_SOLREF, ROBOT_CONTACT
from robots.visuals import add_arm_link_visual

_HALF = math.sqrt(0.5)


@dataclasses.dataclass(frozen=True)
class ArmLink:
    """One link and the joint (about its local +z) that carries it; offset and rotation are from the parent link's frame."""

    offset_m: tuple[float, float, float]
    quat_wxyz: tuple[float, float, float, float]
    range_rad: tuple[float, float]
    centre_of_mass_m: tuple[float, float, float]
    mass_kg: float
    torque_limit_nm: float
    stiffness_nm_per_rad: float  # kp of the position actuator
    damping_nms_per_rad: float  # kv of the position actuator, near critical for the arm stretched half out


_FULL_TURN = 6.28319
ARM_LINKS: tuple[ArmLink, ...] = (
    ArmLink((0, 0, 0.267), (1, 0, 0, 0), (-_FULL_TURN, _FULL_TURN), (-0.0002, 0.02905, -0.01233), 2.382, 50, 1500, 100),
    ArmLink((0, 0, 0), (_HALF, -_HALF, 0, 0), (-2.059, 2.0944), (0.00022, -0.12856, 0.01735), 1.869, 50, 1500, 100),
    ArmLink((0, -0.293, 0), (_HALF, _HALF, 0, 0), (-_FULL_TURN, _FULL_TURN), (0.0466, -0.02463, -0.00768), 1.6383, 30, 800, 50),
    ArmLink((0.0525, 0, 0), (_HALF, _HALF, 0, 0), (-0.19198, 3.927), (0.07047, -0.11575, 0.012), 1.7269, 30, 800, 50),
    ArmLink(
        (0.0775, -0.3425, 0), (_HALF, _HALF, 0, 0), (-_FULL_TURN, _FULL_TURN), (-0.00032, 0.01604, -0.026), 1.3203, 30, 400, 20
    ),
    ArmLink((0, 0, 0), (_HALF, _HALF, 0, 0), (-1.69297, math.pi), (0.06469, 0.03278, 0.02141), 1.325, 20, 400, 20),
    ArmLink((0.076, 0.097, 0), (_HALF, -_HALF, 0, 0), (-_FULL_TURN, _FULL_TURN), (0, -0.00677, -0.01098), 0.17, 20, 200, 10),
)
ARM_JOINT_NAMES = tuple(f"arm_{number}" for number in range(1, len(ARM_LINKS) + 1))
ARM_SPEED_LIMIT_RAD_PER_S = math.pi
#: Inertia of the geared motors seen at the joints; it also keeps the light wrist links well conditioned.
ARM_ARMATURE_KG_M2 = 0.05

# Collision capsules (from, to, radius) in each link's frame; links 1 and 2 never get near table or objects.
_COLLISION_CAPSULES: dict[int, tuple[tuple[float, float, float], tuple[float, float, float], float]] = {
    4: ((0.02, 0, 0), (0.075, -0.20, 0), 0.05),
    5: ((0, -0.0, -0.08), (0, 0, -0.01), 0.05),
    6: ((0.03, 0.0, 0), (0.076, 0.06, 0), 0.045),
}


def add_arm(spec: mujoco.MjSpec, parent: mujoco.MjsBody) -> mujoco.MjsBody:
    """Adds the arm below `parent` (whose frame is the arm's base frame) and returns its last link.

    The last link's frame is the flange: tools point along its +z.
    """
    body = parent
    add_arm_link_visual(spec, body, 0)
    for number, (name, link) in enumerate(zip(ARM_JOINT_NAMES, ARM_LINKS, strict=True), start=1):
        body = body.add_body(
            name=f"{name}_link",
            pos=link.offset_m,
            quat=link.quat_wxyz,
            ipos=link.centre_of_mass_m,
            mass=link.mass_kg,
            inertia=_link_inertia(link),
            explicitinertial=True,
            gravcomp=1.0,
        )
        body.add_joint(
            name=name,
            axis=(0, 0, 1),
            range=link.range_rad,
            limited=mujoco.mjtLimited.mjLIMITED_TRUE,
            solref_limit=LIMIT_SOLREF,
            solimp_limit=LIMIT_SOLIMP,
            armature=ARM_ARMATURE_KG_M2,
            damping=1.0,
        )
        add_position_actuator(
            spec, name, link.stiffness_nm_per_rad, link.damping_nms_per_rad, link.torque_limit_nm, link.range_rad
        )
        if number in _COLLISION_CAPSULES:
            start, end, radius = _COLLISION_CAPSULES[number]
            geom = body.add_geom(
                name=f"{name}_collision",
                type=mujoco.mjtGeom.mjGEOM_CAPSULE,
                fromto=(*start, *end),
                size=(radius, 0, 0),
                mass=0.0,
            )
            ROBOT_CONTACT.apply(geom)
        add_arm_link_visual(spec, body, number)
    return body


def add_position_actuator(
    spec: mujoco.MjSpec,
    joint: str,
    stiffness_nm_per_rad: float,
    damping_nms_per_rad: float,
    torque_limit_nm: float,
    range_rad: tuple[float, float],
) -> None:
    """Adds a position servo with explicit gains: torque = kp (target - q) - kv qdot, clipped to the torque limit."""
    actuator = spec.add_actuator(
        name=joint,
        target=joint,
        trntype=mujoco.mjtTrn.mjTRN_JOINT,
        gaintype=mujoco.mjtGain.mjGAIN_FIXED,
        biastype=mujoco.mjtBias.mjBIAS_AFFINE,
        ctrlrange=range_rad,
        ctrllimited=mujoco.mjtLimited.mjLIMITED_TRUE,
        forcerange=(-torque_limit_nm, torque_limit_nm),
        forcelimited=mujoco.mjtLimited.mjLIMITED_TRUE,
    )
    actuator.gainprm[0] = stiffness_nm_per_rad
    actuator.biasprm[1] = -stiffness_nm_per_rad
    actuator.biasprm[2] = -damping_nms_per_rad


def _link_inertia(link: ArmLink) -> np.ndarray:
    """Principal inertia (3,) kg m2 of a cylinder of the link's mass, 0.05 m in radius and as long as the link reaches."""
    length = max(2.0 * float(np.linalg.norm(link.centre_of_mass_m)), 0.05)
    across = link.mass_kg * (3 * 0.05**2 + length**2) / 12
    return np.array([across, across, link.mass_kg * 0.05**2 / 2])
