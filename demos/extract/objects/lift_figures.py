"""An object in metres, and how well that is founded."""

from __future__ import annotations

import dataclasses

from demos.interaction import ObjectTrack


@dataclasses.dataclass(frozen=True)
class LiftFigures:
    """How well the lift is founded.

    Attributes:
        rigid: whether a rigid pose was fitted.
        scale_source: where the metres come from: "depth", or some of "hand" (or "hand without contact"), "table" and
            "length" joined by "and"; "none" where they are a guess.
        scale_sigma: expected standard deviation of the scale, as a share of it.
        length_m: the object's largest extent as found; NaN where unknown.
        hand_to_length: scale by the hand over scale by the known length; NaN without both.
        reprojection_px: median distance of the tracks from the rigid object's points; NaN where not rigid.
        rigidity_m: the same at the object's distance.
        inlier_fraction: of the sightings, that agree with the rigid object.
        key_views: number of views on which the shape was found.
        still_fraction: of the frames, in which the object stands still.
    """

    rigid: bool
    scale_source: str
    scale_sigma: float
    length_m: float = float("nan")
    hand_to_length: float = float("nan")
    reprojection_px: float = float("nan")
    rigidity_m: float = float("nan")
    inlier_fraction: float = float("nan")
    key_views: int = 0
    still_fraction: float = 0.0


@dataclasses.dataclass(frozen=True)
class LiftedObject:
    """An object in metres, and how well that is founded."""

    track: ObjectTrack
    figures: LiftFigures
