"""Readable text and coloured frames on pictures of videos."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Picture = NDArray[np.uint8]  # (height, width, 3) RGB

BACKGROUND_RGB = (24, 28, 34)
_TEXT_RGB = (245, 246, 248)
_SIZE_PX, _SMALL_PX = 15, 12
_FRAME_PX = 4


@dataclasses.dataclass(frozen=True)
class Caption:
    """A short text.

    Attributes:
        text: what it says.
        corner_px: (x, y) of its upper left corner.
        small: smaller letters.
        plain: without the dark pill behind it.
    """

    text: str
    corner_px: tuple[int, int]
    small: bool = False
    plain: bool = False


def draw_captions(picture: Picture, captions: Sequence[Caption]) -> Picture:
    """A copy of the picture with captions."""
    image = Image.fromarray(picture)
    draw = ImageDraw.Draw(image, "RGBA")
    for caption in captions:
        font = _font(_SMALL_PX if caption.small else _SIZE_PX)
        x, y = caption.corner_px
        if not caption.plain:
            left, top, right, bottom = draw.textbbox((x + 9, y + 4), caption.text, font=font)
            draw.rounded_rectangle((left - 9, top - 5, right + 9, bottom + 5), 7, fill=(*BACKGROUND_RGB, 190))
            x, y = x + 9, y + 4
        draw.text((x, y), caption.text, font=font, fill=_TEXT_RGB)
    return np.asarray(image)


def draw_frame(picture: Picture, rgb: tuple[int, int, int] | None) -> Picture:
    """The picture with a coloured border; itself without a colour."""
    if rgb is None:
        return picture
    framed = picture.copy()
    for edge in (np.s_[:_FRAME_PX], np.s_[-_FRAME_PX:], np.s_[:, :_FRAME_PX], np.s_[:, -_FRAME_PX:]):
        framed[edge] = rgb
    return framed


@functools.cache
def _font(size_px: int) -> ImageFont.FreeTypeFont:
    """The font that comes with matplotlib, so that the text looks the same everywhere."""
    import matplotlib

    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), size_px)
