"""Where it happens: table, walls, clutter, lights, and the things that the scripts need (mark, cabinet, bucket)."""

from __future__ import annotations

import colorsys
import dataclasses

import mujoco
import numpy as np
from scipy.spatial.transform import Rotation

from demos.synthetic.drawing import FloatArray, add_image, add_part, add_visual
from demos.synthetic.flight import BUCKET_NAME
from demos.synthetic.people import Person
from demos.synthetic.scene import Scene
from demos.synthetic.shapes import Box, DrawerFront, Part, box_part
from demos.synthetic.textures import label, table_top, wall
from demos.synthetic.things import Rgb, Thing
from demos.synthetic.torso import add_torso
from robots.human_hand import HandDimensions, human_hand_spec
from robots.human_hand_skin import add_skin

CABINET_NAME, TARGET_NAME = "cabinet", "target"
KEY_LIGHT = "key"
_TABLE_CENTRE_M, _TABLE_HALF_M = (0.50, 0.0), (0.56, 0.85)
_BOX, _CYLINDER = mujoco.mjtGeom.mjGEOM_BOX, mujoco.mjtGeom.mjGEOM_CYLINDER
_WALL_M = 1.6  # from the table's middle to each wall
_CLUTTER_CLEARANCE_M = 0.16


@dataclasses.dataclass(frozen=True)
class Surroundings:
    """What has to be known of the action to furnish the room around it.

    Attributes:
        swept_xy_m: (M, 2) places on the table that the action passes over.
        eye_m: where the camera stands.
        look_at_m: what it looks at.
    """

    swept_xy_m: FloatArray
    eye_m: FloatArray
    look_at_m: FloatArray


def furnished_spec(
    person: Person, dimensions: HandDimensions, thing: Thing, scene: Scene, around: Surroundings, rng: np.random.Generator
) -> mujoco.MjSpec:
    """Hand (the first body), person, thing and everything around them; moving bodies are mocap bodies of their names."""
    spec = human_hand_spec(dimensions)
    add_skin(spec, dimensions, person.look)
    add_torso(spec, left=dimensions.side == "left")
    add_thing(spec, thing)
    if scene.target_xy_m is not None:
        _add_mark(spec, scene.target_xy_m, rng)
    if scene.cabinet is not None:
        _add_cabinet(spec, thing, scene.cabinet, rng)
    if scene.bucket is not None:
        body = spec.worldbody.add_body(name=BUCKET_NAME, mocap=True)
        add_part(spec, body, BUCKET_NAME, scene.bucket.parts()[0], rgba=[*_hsv(rng, (0.0, 0.8), (0.25, 0.9)), 1.0])
    _add_room(spec, rng)
    _add_clutter(spec, around, rng)
    _add_lights(spec, rng)
    return spec


def add_thing(spec: mujoco.MjSpec, thing: Thing) -> None:
    """The handled thing as a mocap body of its name; a drawer brings its tray."""
    body = spec.worldbody.add_body(name=thing.name, mocap=True)
    for part in thing.shape.parts():
        colour = thing.colours.get(part.name, thing.colours.get("body", (0.7, 0.7, 0.7)))
        name = f"{thing.name}_{part.name}"
        if colour == "picture":
            add_image(spec, name, label(thing.picture_seed), gloss=0.25)
            add_part(spec, body, name, part, material=name)
        else:
            gloss = 0.1 if thing.name == "foam_brick" else 0.5
            spec.add_material(name=name, rgba=[*colour, 1.0], specular=gloss, shininess=0.5)
            add_part(spec, body, name, part, material=name)
    if isinstance(thing.shape, DrawerFront):
        _add_tray(body, thing.shape)


def _add_tray(body: mujoco.MjsBody, front: DrawerFront) -> None:
    """The drawer behind its front: bottom, sides and back of thin boards."""
    width, height, thickness = front.panel_m
    depth, wood = 0.24, [0.82, 0.74, 0.62, 1.0]
    x = front.stand_off_m + thickness + 0.5 * depth
    inner, low = 0.5 * width - 0.022, -0.5 * height + 0.018
    boards = {
        "bottom": ([0.5 * depth, inner, 0.004], [x, 0.0, low]),
        "left": ([0.5 * depth, 0.006, 0.36 * height], [x, inner, low + 0.36 * height]),
        "right": ([0.5 * depth, 0.006, 0.36 * height], [x, -inner, low + 0.36 * height]),
        "back": ([0.006, inner, 0.36 * height], [x + 0.5 * depth, 0.0, low + 0.36 * height]),
    }
    for name, (size, position) in boards.items():
        add_visual(body, f"tray_{name}", geom_type=_BOX, size=size, pos=position, rgba=wood)


def cabinet_parts(front: DrawerFront, bottom_m: float) -> list[tuple[FloatArray, FloatArray]]:
    """(half size, centre) of the cabinet's boards in the frame of the closed drawer; `bottom_m` is the table's height there."""
    width, height, thickness = front.panel_m
    depth, board = 0.27, 0.009
    face = front.stand_off_m
    low, high = bottom_m, 0.5 * height + 0.012
    if high - low < height:
        low = high - height - 0.03
    half_width, x = 0.5 * width + 0.008, face + 0.5 * depth
    middle, tall = 0.5 * (low + high), 0.5 * (high - low)
    boards = [
        ([0.5 * depth, board, tall], [x, half_width + board, middle]),
        ([0.5 * depth, board, tall], [x, -half_width - board, middle]),
        ([0.5 * depth, half_width + 2 * board, board], [x, 0.0, high + board]),
        ([board, half_width, tall], [face + depth - board, 0.0, middle]),
    ]
    below = -0.5 * height - 0.006 - low
    if below > 0.012:  # the closed front below the drawer, flush with it
        boards.append(([0.5 * thickness, half_width, 0.5 * below], [face + 0.5 * thickness, 0.0, low + 0.5 * below]))
    return [(np.array(size), np.array(centre)) for size, centre in boards]


def _add_cabinet(spec: mujoco.MjSpec, thing: Thing, pose: FloatArray, rng: np.random.Generator) -> None:
    front = thing.shape
    assert isinstance(front, DrawerFront)
    body = spec.worldbody.add_body(name=CABINET_NAME, mocap=True)
    colour = thing.colours["panel"]
    shade = rng.uniform(0.75, 1.0) * np.array(colour if not isinstance(colour, str) else (0.8, 0.7, 0.6))
    spec.add_material(name="cabinet", rgba=[*shade, 1.0], specular=0.2, shininess=0.2)
    for number, (size, centre) in enumerate(cabinet_parts(front, -float(pose[2, 3]))):
        add_visual(body, f"cabinet_{number}", geom_type=_BOX, size=size.tolist(), pos=centre.tolist(), material="cabinet")


def _add_mark(spec: mujoco.MjSpec, xy_m: FloatArray, rng: np.random.Generator) -> None:
    """A thin felt disc or square where the thing is to be put."""
    geom_type = _CYLINDER if rng.random() < 0.6 else _BOX
    size = [0.055, 0.0004, 0.0] if geom_type == _CYLINDER else [0.055, 0.055, 0.0004]
    body = spec.worldbody.add_body(name=TARGET_NAME, pos=[*xy_m, 0.0004])
    add_visual(body, TARGET_NAME, geom_type=geom_type, size=size, rgba=[*_hsv(rng, (0.4, 0.85), (0.35, 0.85)), 1.0])


def _add_room(spec: mujoco.MjSpec, rng: np.random.Generator) -> None:
    """Table with its top at z = 0, floor, four walls with something on them."""
    add_image(spec, "table_top", table_top(rng), gloss=float(rng.uniform(0.05, 0.35)))
    repeat = float(rng.choice([3.0, 5.0, 7.0]))
    add_image(spec, "wall", wall(rng), repeat=(repeat, repeat * 0.6), gloss=0.05)
    (x, y), (half_x, half_y) = _TABLE_CENTRE_M, _TABLE_HALF_M
    board = _table_part(half_x, half_y, 0.035)
    table = spec.worldbody.add_body(name="table", pos=[x, y, 0.0])
    add_part(spec, table, "table_top", board, material="table_top")
    room = spec.worldbody.add_body(name="room")
    shade = rng.uniform(0.25, 0.65)
    add_visual(
        room, "floor", geom_type=_BOX, size=[4.0, 4.0, 0.05], pos=[x, y, -0.80], rgba=[shade, 0.97 * shade, 0.93 * shade, 1.0]
    )
    for number, turn in enumerate(np.arange(4) * np.pi / 2):
        out = np.array([np.cos(turn), np.sin(turn)])
        centre = np.array([x, y]) + (_WALL_M + rng.uniform(0.0, 0.5)) * out
        size = [0.05, 4.0, 1.15] if number % 2 == 0 else [4.0, 0.05, 1.15]
        add_visual(room, f"wall_{number}", geom_type=_BOX, size=size, pos=[*centre, 0.35], material="wall")
        for piece in range(int(rng.integers(0, 4))):  # pictures, doors, shelves
            along = np.array([-out[1], out[0]]) * rng.uniform(-1.3, 1.3)
            half = rng.uniform(0.08, 0.45, 2)
            flat = np.abs(out) * 0.02 + (1.0 - np.abs(out)) * half[0]
            position = [*(centre - 0.06 * out + along), rng.uniform(-0.3, 0.8)]
            rgba = [*_hsv(rng, (0.05, 0.6), (0.2, 0.95)), 1.0]
            add_visual(room, f"wall_{number}_{piece}", geom_type=_BOX, size=[*flat, half[1]], pos=position, rgba=rgba)


def _table_part(half_x: float, half_y: float, thickness: float) -> Part:
    """A board with rounded edges below z = 0; its top shows the whole picture."""
    part = box_part("table_top", (2 * half_x, 2 * half_y, thickness), 0.004)
    vertices = part.vertices - np.array([0.0, 0.0, 0.5 * thickness])
    texcoords = np.column_stack([0.5 + 0.5 * vertices[:, 1] / half_y, 0.5 + 0.5 * vertices[:, 0] / half_x])
    return part._replace(vertices=vertices, texcoords=texcoords)


def _add_clutter(spec: mujoco.MjSpec, around: Surroundings, rng: np.random.Generator) -> None:
    """Boxes, tins and papers on the table, behind or beside the action as the camera sees it."""
    view = around.look_at_m[:2] - around.eye_m[:2]
    view = view / max(float(np.linalg.norm(view)), 1e-6)
    (x, y), (half_x, half_y) = _TABLE_CENTRE_M, _TABLE_HALF_M
    clutter = spec.worldbody.add_body(name="clutter")
    placed: list[FloatArray] = []
    for number in range(int(rng.integers(1, 8))):
        for _ in range(20):
            place = np.array([x, y]) + rng.uniform(-0.9, 0.9, 2) * np.array([half_x, half_y])
            near = np.linalg.norm(around.swept_xy_m - place, axis=1).min() < _CLUTTER_CLEARANCE_M
            in_front = (place - around.look_at_m[:2]) @ view < 0.02
            at_person = place[0] < 0.18
            if not (near or in_front or at_person or any(np.linalg.norm(other - place) < 0.16 for other in placed)):
                placed.append(place)
                _add_piece(spec, clutter, number, place, rng)
                break


def _add_piece(spec: mujoco.MjSpec, body: mujoco.MjsBody, number: int, place: FloatArray, rng: np.random.Generator) -> None:
    name, rgba = f"clutter_{number}", [*_hsv(rng, (0.1, 0.85), (0.2, 0.95)), 1.0]
    turn = Rotation.from_euler("z", rng.uniform(0.0, np.pi)).as_quat(scalar_first=True).tolist()
    kind = rng.choice(["printed", "tin", "paper", "block"])
    if kind == "tin":
        size = [rng.uniform(0.025, 0.05), rng.uniform(0.03, 0.09), 0.0]
        add_visual(body, name, geom_type=_CYLINDER, size=size, pos=[*place, size[1]], rgba=rgba)
    elif kind == "paper":
        add_visual(
            body, name, geom_type=_BOX, size=[0.074, 0.105, 0.0005], pos=[*place, 0.0005], quat=turn, rgba=[0.93, 0.93, 0.9, 1]
        )
    elif kind == "block":
        size = rng.uniform(0.02, 0.07, 3)
        add_visual(body, name, geom_type=_BOX, size=size, pos=[*place, size[2]], quat=turn, rgba=rgba)
    else:
        box = Box((float(rng.uniform(0.03, 0.08)), float(rng.uniform(0.06, 0.14)), float(rng.uniform(0.04, 0.18))))
        add_image(spec, name, label(int(rng.integers(2**31))), gloss=0.2)
        part = box.parts()[0]
        add_part(spec, body, name, part, material=name, pos=[*place, box.half_height_m], quat=turn)


def _add_lights(spec: mujoco.MjSpec, rng: np.random.Generator) -> None:
    """A key light with shadows (`KEY_LIGHT`), a fill light and the light of the room, warm or cold."""
    warmth, level = rng.uniform(-1.0, 1.0), rng.uniform(0.8, 1.15)
    tint = np.array([1.0 + 0.07 * warmth, 1.0, 1.0 - 0.09 * warmth])
    turn, height = (
        rng.uniform(0.0, 2.0 * np.pi),
        rng.uniform(1.4, 2.4),
    )  # so high that the walls keep their shadows to themselves
    side = np.array([np.cos(turn), np.sin(turn), height])
    directional = mujoco.mjtLightType.mjLIGHT_DIRECTIONAL
    key = level * rng.uniform(0.45, 0.65)
    spec.worldbody.add_light(
        name=KEY_LIGHT,
        type=directional,
        pos=1.6 * side + np.array([0.4, 0.0, 0.0]),
        dir=-side,
        diffuse=np.clip(key * tint, 0, 1),
        specular=[0.3] * 3,
        castshadow=True,
    )
    other = np.array([np.cos(turn + 2.4), np.sin(turn + 2.4), rng.uniform(0.4, 1.2)])
    fill = level * rng.uniform(0.12, 0.26)
    spec.worldbody.add_light(name="fill", type=directional, pos=2.0 * other, dir=-other, diffuse=[fill] * 3, castshadow=False)
    ambient = level * rng.uniform(0.34, 0.46)
    spec.visual.headlight.ambient = np.clip(ambient * tint, 0, 1).tolist()
    spec.visual.headlight.diffuse = [level * rng.uniform(0.06, 0.14)] * 3
    spec.visual.headlight.specular = [0.0] * 3
    spec.visual.quality.shadowsize = 1024  # the film softens them
    spec.visual.quality.offsamples = 0  # edges are smoothed by the film, over sub-frames
    spec.visual.map.shadowclip = 0.9
    spec.visual.map.znear = 0.02
    spec.stat.extent = 1.0
    spec.stat.center = [0.40, 0.0, 0.1]


def _hsv(rng: np.random.Generator, saturation: tuple[float, float], value: tuple[float, float]) -> Rgb:
    return colorsys.hsv_to_rgb(float(rng.random()), float(rng.uniform(*saturation)), float(rng.uniform(*value)))
