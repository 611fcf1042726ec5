"""The pace of copies: where the arm would have to be faster than the control mode lets it, the motion is played more slowly.

An arm that lags behind its path cuts corners: it knocks the object over on its way there, and has not arrived when the hand
opens. A copy further away, or turned further, than its source therefore takes longer, and no copy is hurried.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d, maximum_filter1d

FloatArray = NDArray[np.float64]
#: Of the fastest step, which is left to corrections of the noise.
_SHARE = 0.9
_WIDEN_STEPS, _SMOOTH_STEPS = 5, 1.5  # slowing begins before, and ends after, what needs it


@dataclasses.dataclass(frozen=True)
class Paced:
    """N copies at their own pace.

    Attributes:
        servo_targets: (N, T', 23) rad, T' of the slowest copy; the others hold their last ones.
        source_step: (N, T') step of the source's time line, a real number, whose target each one is.
    """

    servo_targets: FloatArray
    source_step: FloatArray


def paced(servo_targets: FloatArray, arm_joints: int, step_rad: FloatArray, paced_steps: int, most_steps: int) -> Paced:
    """Stretches time where the arm's targets change too fast.

    Args:
        servo_targets: (N, T, 23) rad of the source's time line.
        arm_joints: the first of the joints, whose speed counts.
        step_rad: (23,) largest change of a target in one step.
        paced_steps: only what comes before this step is slowed: a throw is not.
        most_steps: of a copy; what does not fit in is cut off at the end.
    """
    count, steps, joints = servo_targets.shape
    change = np.abs(np.diff(servo_targets[..., :arm_joints], axis=1, prepend=servo_targets[:, :1, :arm_joints]))
    needed = (change / (_SHARE * step_rad[:arm_joints])).max(axis=-1)  # (N, T) steps for each step of the source
    needed[:, paced_steps:] = 1.0
    taken = gaussian_filter1d(maximum_filter1d(np.maximum(needed, 1.0), _WIDEN_STEPS, axis=1), _SMOOTH_STEPS, axis=1)
    taken = np.maximum(taken, 1.0)
    ends = np.cumsum(taken, axis=1) - taken[:, :1]  # own time at which each target is due; the first at once
    longest = min(int(np.floor(ends[:, -1].max() + 1e-9)) + 1, max(most_steps, steps))
    own = np.arange(longest, dtype=np.float64)
    source_step = np.stack([np.interp(own, end, np.arange(steps)) for end in ends])
    before = np.minimum(source_step.astype(np.int64), steps - 1)
    after = np.minimum(before + 1, steps - 1)
    share = (source_step - before)[..., None]
    rows = np.arange(count)[:, None]
    targets = (1.0 - share) * servo_targets[rows, before] + share * servo_targets[rows, after]
    return Paced(targets.reshape(count, longest, joints), source_step)
