"""The people of the synthetic recordings: size and proportions of the hand, colour of the skin, clothes.

A person is drawn from a pool's name and a number, so that two pools have no person in common.
"""

from __future__ import annotations

import colorsys
import dataclasses
import zlib
from typing import Literal

import numpy as np

from robots.human_hand import HandDimensions
from robots.human_hand_skin import HandLook, Rgb

#: Back of the hand from very light to very dark, sRGB in [0, 1].
_SKIN_TONES: tuple[Rgb, ...] = (
    (0.90, 0.72, 0.63),
    (0.85, 0.65, 0.54),
    (0.80, 0.585, 0.475),
    (0.70, 0.49, 0.37),
    (0.57, 0.38, 0.275),
    (0.44, 0.285, 0.205),
    (0.33, 0.21, 0.155),
)


@dataclasses.dataclass(frozen=True)
class Person:
    """Who is filmed.

    Attributes:
        person_id: pool and number.
        dimensions: of the right hand; `hand(side)` gives either.
        look: colours of skin and sleeve.
    """

    person_id: str
    dimensions: HandDimensions
    look: HandLook

    def hand(self, side: Literal["right", "left"]) -> HandDimensions:
        """Dimensions of one of the two hands."""
        return dataclasses.replace(self.dimensions, side=side)


def pool_rng(pool: str, number: int, kind: str) -> np.random.Generator:
    """Randomness of member `number` of a pool's people, cameras, ...; unlike that of any other pool or kind."""
    return np.random.default_rng([zlib.crc32(f"{pool}/{kind}".encode()), number])


def make_person(pool: str, number: int) -> Person:
    """Person `number` of a pool."""
    rng = pool_rng(pool, number, "person")
    average = HandDimensions()
    length, breadth = rng.uniform(0.95, 1.05, 5), rng.uniform(0.90, 1.10)
    bones = np.array(average.phalanges_m) * length[:, None] * rng.uniform(0.97, 1.03, (5, 3))
    radii = np.array(average.radii_m) * breadth * rng.uniform(0.97, 1.03, (5, 1))
    knuckles = np.array(average.knuckle_distances_m) * rng.uniform(0.97, 1.03)
    dimensions = HandDimensions(
        scale=float(rng.uniform(0.90, 1.09)),
        knuckle_distances_m=tuple(float(k) for k in knuckles),
        phalanges_m=tuple((float(a), float(b), float(c)) for a, b, c in bones),
        radii_m=tuple((float(a), float(b), float(c), float(d)) for a, b, c, d in radii),
    )
    return Person(f"{pool}-person-{number:03d}", dimensions, _look(rng, number))


def _look(rng: np.random.Generator, number: int) -> HandLook:
    """Skin and clothes; the tones take turns, so that a small pool has light and dark hands."""
    tones = np.array(_SKIN_TONES)
    tone = (number * 0.381966 + rng.uniform(0.0, 0.1)) % 1.0 * (len(tones) - 1)
    low = min(int(tone), len(tones) - 2)
    back = tones[low] + (tone - low) * (tones[low + 1] - tones[low])
    back = np.clip(back * rng.uniform(0.96, 1.04, 3), 0.0, 1.0)
    # palms are lighter and redder, most of all on dark hands
    palm = np.clip(back + (np.array([0.93, 0.70, 0.60]) - back) * (0.25 + 0.35 * tone / len(tones)), 0.0, 1.0)
    nail = np.clip(palm * rng.uniform(0.98, 1.06, 3) + 0.03, 0.0, 1.0)
    vivid = rng.random() < 0.6
    sleeve = colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.25, 0.75) if vivid else 0.04, rng.uniform(0.18, 0.85))
    return HandLook(
        back_rgb=_rgb(back),
        palm_rgb=_rgb(palm),
        nail_rgb=_rgb(nail),
        sleeve_rgb=sleeve,
        sleeve_start_m=float(rng.choice([0.055, 0.095, 0.14, 0.20])),
        detail=float(rng.uniform(0.5, 1.0)),
    )


def _rgb(colour: np.ndarray) -> Rgb:
    red, green, blue = (float(part) for part in colour)
    return red, green, blue
