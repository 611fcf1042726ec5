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
#: Dimensions of contacts of hand and objects, MuJoCo's condim: normal, sliding and torsional friction; and rolling friction,
#: for what would roll for ever otherwise. It makes a grip half as dear again, so that the hand's contacts do without.
CONTACT_DIMENSIONS, ROLLING_CONTACT_DIMENSIONS = 4, 6
#: Torsional friction of a contact, m: moment over force. A pressed elastic tip (Hertz) resists turning with 3 pi / 16 of the
#: friction times the radius of its patch, which is 3 to 4 mm for a rubber fingertip at 3 to 10 N. More of it lets a pinch hold
#: what no pinch can, and makes the no-slip iterations converge so slowly that held objects creep.
TORSIONAL_FRICTION_M = 0.002
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
