"""Renders the two pictures of `docs/film.md`: one moment of a synthetic clip, from a good and from a bad place of the camera.

python tools/placement_pictures.py --out docs/images
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import tyro

from demos.synthetic.clips import make_act
from demos.synthetic.corpus import Pictures, clip_config
from demos.synthetic.film import Shutter, film
from demos.synthetic.rooms import Surroundings, furnished_spec
from demos.synthetic.viewpoint import Viewpoint

_WIDTH, _HEIGHT, _SAMPLES = 480, 360, 16


@dataclasses.dataclass(frozen=True)
class Placement:
    """Where a camera stands, seen from the thing: around z from +x (there it faces the person), above the table, how far."""

    azimuth_deg: float
    elevation_deg: float
    distance_m: float
    fovy_deg: float


#: In front of the person and above; and flat and far from the side, with the arm in the way.
PLACEMENTS = {"camera_good": Placement(38.0, 34.0, 0.85, 38.0), "camera_bad": Placement(-100.0, 3.0, 1.5, 52.0)}


@dataclasses.dataclass(frozen=True)
class PlacementPictures:
    """Where the pictures go, and of which clip they are."""

    out: Path = Path("docs/images")
    """folder for camera_good.jpg and camera_bad.jpg"""
    clip: int = 1
    """of the training corpus with seed 9, as the shipped ones are"""


def main(arguments: PlacementPictures) -> None:
    """Renders and writes both."""
    config = clip_config("training", arguments.clip, 9, Pictures(_WIDTH, _HEIGHT, 12.0))
    act = make_act(config)
    held = np.flatnonzero(act.scene.performance.held)
    begin = int(held[len(held) // 3]) // _SAMPLES * _SAMPLES
    moment = slice(begin, begin + _SAMPLES)
    acted = act.scene.performance
    one = dataclasses.replace(
        acted,
        **{name: getattr(acted, name)[moment] for name in ("T_world_hand", "joints_rad", "wrist_rad", "held", "phase")},
        bodies={name: poses[moment] for name, poses in acted.bodies.items()},
    )
    scene = dataclasses.replace(act.scene, performance=one)
    thing_m = one.bodies[act.thing.name][0, :3, 3]
    for name, placement in PLACEMENTS.items():
        view = viewpoint(name, placement, thing_m)
        rng = np.random.default_rng(0)
        swept = np.concatenate([act.keypoints_world[:, ::4, :2].reshape(-1, 2), acted.bodies[act.thing.name][::16, :2, 3]])
        around = Surroundings(swept, view.T_world_camera[:3, 3], act.keypoints_world[:, 9].mean(axis=0))
        dimensions = act.person.hand(config.side)
        spec = furnished_spec(act.person, dimensions, act.thing, scene, around, rng)
        shutter = Shutter(config.fps, _SAMPLES, config.exposure_share, config.noise_std, config.gain, config.crf)
        shot = next(film(spec, dimensions, one, view, shutter, {}, config.seed))
        imageio.imwrite(arguments.out / f"{name}.jpg", shot.rgb, quality=82)
        print(arguments.out / f"{name}.jpg")


def viewpoint(name: str, placement: Placement, at_m: np.ndarray) -> Viewpoint:
    """An upright camera that looks at a point (3,) m."""
    azimuth, elevation = np.radians([placement.azimuth_deg, placement.elevation_deg])
    towards = np.array([np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation)])
    right = np.cross(-towards, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    T_world_camera = np.eye(4)
    T_world_camera[:3, :3] = np.column_stack([right, np.cross(-towards, right), -towards])
    T_world_camera[:3, 3] = at_m + placement.distance_m * towards
    return Viewpoint(name, _WIDTH, _HEIGHT, placement.fovy_deg, T_world_camera)


if __name__ == "__main__":
    main(tyro.cli(PlacementPictures))
