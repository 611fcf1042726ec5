"""What a corpus of synthetic clips is asked for by, apart from what makes it: the command line is made from this."""

from __future__ import annotations

import dataclasses
from typing import Literal

from dexvid_envs.errors import OptionError

Corpus = Literal["evaluation", "training", "wild", "bottles"]


@dataclasses.dataclass(frozen=True)
class Pictures:
    """Size and rate of a corpus's pictures.

    Attributes:
        width: px.
        height: px.
        fps: pictures a second; 24, 25 or 30 by default, as the clip's seed has it.
        depth_unit_mm: resolution of the stored depth; a coarser one makes smaller files.
    """

    width: int = 640
    height: int = 480
    fps: float | None = None
    depth_unit_mm: float = 0.2

    def __post_init__(self) -> None:
        if min(self.width, self.height) < 64 or self.width % 2 or self.height % 2:
            raise OptionError(f"expected an even width and height of at least 64 px, got {self.width} and {self.height}")
        if not (self.fps is None or 4.0 <= self.fps <= 120.0) or not 0.1 <= self.depth_unit_mm <= 10.0:
            raise OptionError(
                f"expected 4 to 120 pictures a second and a depth unit of 0.1 to 10 mm, got {self.fps} and {self.depth_unit_mm}"
            )
