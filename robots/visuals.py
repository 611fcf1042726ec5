"""Visual geometry of arm and hand: what is seen, never what is touched."""

from __future__ import annotations

from robots.visuals_arm import add_arm_link_visual
from robots.visuals_hand import add_finger_link_visual, add_palm_visual

__all__ = ["add_arm_link_visual", "add_finger_link_visual", "add_palm_visual"]
