"""The everyday objects of the tasks (YCB dimensions and masses), to learn with and held out for tests."""

from __future__ import annotations

from collections.abc import Callable

from robots import everyday_bottles, everyday_packages, everyday_things, everyday_vessels
from robots.everyday_parts import EverydayObject, Part, Visual

__all__ = ["ALL_OBJECTS", "EVERYDAY_OBJECTS", "HELD_OUT_OBJECTS", "EverydayObject", "Part", "Visual"]


def _by_name(*makers: Callable[[], EverydayObject]) -> dict[str, EverydayObject]:
    return {each.name: each for each in (make() for make in makers)}


#: Objects to learn with, graspable from the table.
EVERYDAY_OBJECTS: dict[str, EverydayObject] = _by_name(
    everyday_packages.tomato_soup_can,
    everyday_packages.potted_meat_can,
    everyday_packages.pudding_box,
    everyday_packages.sugar_box,
    everyday_packages.foam_brick,
    everyday_things.tennis_ball,
    everyday_things.baseball,
    everyday_vessels.mug,
    everyday_bottles.mustard_bottle,
    everyday_things.banana,
    everyday_packages.gelatin_box,
    everyday_packages.tuna_can,
)

#: Objects that no policy sees before it is tested on them.
HELD_OUT_OBJECTS: dict[str, EverydayObject] = _by_name(
    everyday_packages.cracker_box,
    everyday_packages.master_chef_can,
    everyday_packages.wood_block,
    everyday_bottles.bleach_cleanser,
    everyday_things.power_drill,
    everyday_vessels.pitcher_base,
    everyday_vessels.bowl,
)

ALL_OBJECTS: dict[str, EverydayObject] = EVERYDAY_OBJECTS | HELD_OUT_OBJECTS
