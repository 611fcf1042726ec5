"""Contact filtering shared by all models: which kinds of geoms may touch which.

The unfiltered hand is about ten times slower to simulate, so robot links never touch each other, except for the pairs that a
grasp needs: the thumb against the other fingers.
"""

from __future__ import annotations

import dataclasses

import mujoco

TABLE, OBJECT, ROBOT, THUMB, FINGER = 1, 2, 4, 8, 16

#: Stiffness of contacts, MuJoCo's solimp: with the default one a grip creeps by millimetres in seconds.
CONTACT_SOLIMP = (0.95, 0.99, 0.001, 0.5, 2.0)
#: Dimensions of contacts of hand and objects, MuJoCo's condim: normal and sliding friction, for balls rolling as well. There
#: is no torsional friction of single contacts. That of a rubber tip is small, 3 pi / 16 of friction times the radius of the
#: contact's patch (Johnson, Contact Mechanics, 1985, chapter 7, under the pressure of Hertz): with the 3 to 4 mm of such a
#: tip at 3 to 10 N a moment of 2 mm times the force, where neighbouring fingertips resist with 44 mm times theirs. But it
#: ties light objects to fingers that can hardly turn, so that the no-slip iterations need dozens of rounds and a held
#: object turns by degrees in ten seconds.
CONTACT_DIMENSIONS, BALL_CONTACT_DIMENSIONS = 3, 6
#: Stiffness of joint limits: with the defaults the arm's weight bends a finger far past its stop.
LIMIT_SOLREF, LIMIT_SOLIMP = (0.01, 1.0), (0.99, 0.9999, 0.01, 0.5, 2.0)


@dataclasses.dataclass(frozen=True)
class ContactClass:
    """MuJoCo's collision bits: two geoms touch if `contype` of one shares a bit with `conaffinity` of the other."""

    contype: int
    conaffinity: int

    def apply(self, geom: mujoco.MjsGeom) -> None:
        """Writes the bits, the stiffness and the display group of collision geometry into a geom."""
        geom.solimp = CONTACT_SOLIMP
        geom.contype, geom.conaffinity = self.contype, self.conaffinity
        geom.group = COLLISION_GROUP


#: MuJoCo's display groups: visual geometry is shown, collision geometry is hidden unless asked for.
VISUAL_GROUP, COLLISION_GROUP = 2, 3

TABLE_CONTACT = ContactClass(TABLE, 0)
OBJECT_CONTACT = ContactClass(OBJECT, TABLE | OBJECT)
ROBOT_CONTACT = ContactClass(ROBOT, TABLE | OBJECT)
FINGER_CONTACT = ContactClass(ROBOT | FINGER, TABLE | OBJECT)
THUMB_CONTACT = ContactClass(ROBOT | THUMB, TABLE | OBJECT | FINGER)


def make_visual(geom: mujoco.MjsGeom) -> None:
    """Turns a geom into pure decoration: no contact, no mass."""
    geom.contype = geom.conaffinity = 0
    geom.group = VISUAL_GROUP
    geom.mass = 0.0
