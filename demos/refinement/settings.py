"""The settings of refinement and what it finds."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
#: What a hold is called that began as the person's, and as the robot's usual one.
HOLDS = ("video", "usual")


@dataclasses.dataclass(frozen=True)
class RefineConfig:
    """Size of the search.

    Attributes:
        seed: of the whole search.
        candidates: rollouts at once.
        offset_rounds: largest number of rounds of the search for a hold.
        spline_rounds: largest number of rounds of the search for the whole motion.
        replicates: conditions at which a candidate of the second search is tried; the first is the video's own.
        final_replicates: fresh conditions at which the last elites are compared; the best of many candidates on few conditions
            would be a lucky one.
        elites: candidates kept apart between rounds.
        fresh_fraction: share of new random candidates in the first search.
        palm_std_m, palm_std_rad, close_mean_rad, close_std_rad: spread of the first search.
        usual_handicap: cost that is added for a hold that is not the person's.
        decay: of the mutations' spread, per round.
        spline_scale: spread of the second search's mutations, relative to the first.
        correction_gain: share of the object's distance from its path by which the palm's path is corrected in a round.
        object_shift_m: moved copies stand up to this far from where they are expected, along each axis.
        mass_factor, friction_factor: of disturbed copies, (low, high).
        push_m_per_s2: largest push of disturbed copies, as acceleration.
        noise_rad: standard deviation of the noise on the finger targets of replicates; the arm's is a quarter.
        enough: the second search ends when this share of the best elite's replicates succeeds twice in a row, and the object is
            within `close_m` of its path on average.
        close_m: see `enough`.
        near_m: in the end, a candidate whose object is this near to its path is preferred to any that is not.
        max_seconds: no new round begins after this time; None for no limit.
    """

    seed: int = 0
    candidates: int = 48
    offset_rounds: int = 6
    spline_rounds: int = 7
    replicates: int = 6
    final_replicates: int = 12
    elites: int = 4
    fresh_fraction: float = 0.25
    palm_std_m: float = 0.012
    palm_std_rad: float = 0.12
    close_mean_rad: float = 0.25
    close_std_rad: float = 0.25
    usual_handicap: float = 0.2
    decay: float = 0.85
    spline_scale: float = 0.3
    correction_gain: float = 0.8
    object_shift_m: float = 0.01
    mass_factor: tuple[float, float] = (0.7, 1.3)
    friction_factor: tuple[float, float] = (0.8, 1.2)
    push_m_per_s2: float = 2.0
    noise_rad: float = 0.02
    enough: float = 0.99
    close_m: float = 0.008
    near_m: float = 0.015
    max_seconds: float | None = None


@dataclasses.dataclass(frozen=True)
class RefineResult:
    """What the search found.

    Attributes:
        bend: (K, B) the chosen bend.
        aim_xy_m: (2,) m by which the plan aims elsewhere than the target at its end, for the object to end on it.
        succeeded: whether the nominal rollout (the video's own start and target, no noise) succeeds.
        tracking_error_m: mean distance of the object from the video's path in the nominal rollout.
        end_error_m: distance from the goal at the end of it, as the task measures it.
        acceptance: share of noisy moved copies that succeed, in a test with fresh draws.
        history: a row for each round.
        seconds: wall time.
        hold: where the hold came from, "video" or "usual".
        correction: (T, 6) m and rad, of the palm's path in the world; None for none.
        robustness: share of disturbed copies that succeed at the video's own start and target, in a test with fresh draws.
        grip_force_n: mean sum of the normal forces on the object while it is carried, as measured in physics.
        grip_over_weight: the least of it, in the object's weight; NaN where its weight is not carried.
    """

    bend: FloatArray
    aim_xy_m: FloatArray
    succeeded: bool
    tracking_error_m: float
    end_error_m: float
    acceptance: float
    history: list[dict[str, Any]]
    seconds: float
    hold: str = HOLDS[0]
    correction: FloatArray | None = None
    robustness: float = float("nan")
    grip_force_n: float = float("nan")
    grip_over_weight: float = float("nan")
