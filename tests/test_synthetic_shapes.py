"""Shapes of the handled things: what is drawn lies where the distance is zero, and looks outwards."""

from __future__ import annotations

import numpy as np
import pytest

from demos.synthetic.shapes import Ball, Box, DrawerFront, Mug, Turned, surface_samples
from demos.synthetic.things import Thing, make_drawer, make_thing, resized

THINGS = [make_thing(pool, number) for pool, count in (("evaluation", 6), ("training", 9)) for number in range(count)]
IDS = [thing.thing_id for thing in THINGS]


@pytest.mark.parametrize("thing", THINGS, ids=IDS)
def test_drawn_surface_lies_where_the_distance_is_zero(thing: Thing) -> None:
    parts = [part for part in thing.shape.parts() if not (isinstance(thing.shape, Mug) and part.name == "body")]
    points, normals = surface_samples(parts or thing.shape.parts(), 800, np.random.default_rng(0))
    if isinstance(thing.shape, Mug):  # of the handle: where it is not inside the cup
        outside = thing.shape.cup.distance(points) > 0.0
        points, normals = points[outside], normals[outside]
    if isinstance(thing.shape, Turned) and thing.shape.label_m[1] > 0.0:
        points, normals = points[np.abs(thing.shape.distance(points)) < 0.002], normals
    distance = np.abs(thing.shape.distance(points))
    assert np.quantile(distance, 0.97) < 0.0008
    if len(normals) == len(points):
        assert (thing.shape.distance(points + 0.003 * normals) > 0.0).mean() > 0.93


@pytest.mark.parametrize("shape", [Ball(0.03), Box((0.04, 0.06, 0.10)), THINGS[0].shape, THINGS[3].shape, DrawerFront()])
def test_distance_never_grows_faster_than_the_way(shape: Ball | Box | Turned | Mug | DrawerFront) -> None:
    rng = np.random.default_rng(0)
    points, step = rng.uniform(-0.15, 0.15, (400, 3)), rng.normal(0.0, 0.01, (400, 3))
    change = np.abs(shape.distance(points + step) - shape.distance(points))
    assert (change <= np.linalg.norm(step, axis=1) + 1e-9).all()


def test_distances_worked_out_by_hand() -> None:
    assert Box((0.04, 0.06, 0.10)).distance(np.array([0.05, 0.0, 0.0])) == pytest.approx(0.03)  # 0.05 - 0.04 / 2
    can = Turned(((0.0, 0.0), (0.03, 0.0), (0.03, 0.10), (0.0, 0.10)))
    assert can.distance(np.array([0.0, 0.04, 0.0])) == pytest.approx(0.01)
    assert can.distance(np.array([0.0, 0.0, 0.0])) == pytest.approx(-0.03)  # the wall is nearer than top and bottom
    assert can.distance(np.array([0.033, 0.0, 0.054])) == pytest.approx(0.005)  # 3-4-5 from the rim
    front = DrawerFront(bar_half_length_m=0.08, bar_radius_m=0.006, stand_off_m=0.04)
    assert front.bar_distance(np.array([0.0, 0.0, 0.016])) == pytest.approx(0.010)
    assert front.distance(np.array([0.03, 0.0, 0.0])) == pytest.approx(0.010)  # the panel is nearer than the bar


@pytest.mark.parametrize("thing", THINGS, ids=IDS)
def test_shapes_are_their_own_mirror_images(thing: Thing) -> None:
    points = np.random.default_rng(0).uniform(-0.12, 0.12, (200, 3))
    mirrored = thing.shape.distance(points * np.array([1.0, -1.0, 1.0]))
    np.testing.assert_allclose(mirrored, thing.shape.distance(points), atol=1e-12)


@pytest.mark.parametrize("thing", THINGS[::2], ids=IDS[::2])
def test_resized_things_keep_their_form(thing: Thing) -> None:
    points = np.random.default_rng(0).uniform(-0.12, 0.12, (200, 3))
    larger = resized(thing.shape, 1.05)
    np.testing.assert_allclose(larger.distance(1.05 * points), 1.05 * thing.shape.distance(points), atol=1e-9)


def test_drawers_differ_and_can_be_reached_behind_the_bar() -> None:
    shapes = [make_drawer("training", number).shape for number in range(5)]
    assert len({repr(shape) for shape in shapes}) == 5
    for shape in shapes:
        assert isinstance(shape, DrawerFront)
        assert shape.stand_off_m - shape.bar_radius_m > 0.022  # a finger is 16 to 20 mm thick
