"""Whether an interaction can become a demonstration: looked at before any retargeting, with the reason and the frames.

What makes a demonstration impossible or meaningless is refused; what makes it doubtful is marked, and the marks belong into
the provenance of what is made from it. Frames are named by their numbers in the source.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from demos.interaction import FINGERTIPS, WRIST, BoolArray, FloatArray, Interaction
from demos.recorded_path import object_path
from demos.runs import longest_run
from dexvid_envs.errors import DexVidError

_SHORTEST_S = 0.5
_LONGEST_GAP_S = 0.5
_KNOWN_SHARE = 0.6  # of the frames, for hand and object
_MOVED_M = 0.02
_TOUCH_M = 0.08  # from a fingertip to the object's nearest known point; points are sparse, and extraction is off by centimetres
_HAND_LENGTH_M = (0.04, 0.18)  # wrist to the base of the middle finger, over the recording
_REACH_M = 1.1  # between any two places at which the hand holds the object
_HIGHEST_M = 1.2
_BELOW_TABLE_M = -0.10
_FASTEST_M_PER_S = 12.0
_DOUBTFUL_SHARE = 0.5
_FRAMES_NAMED = 5
_MIDDLE_BASE = 9  # of the 21 key points


@dataclasses.dataclass(frozen=True)
class Finding:
    """Something that is wrong with an interaction.

    Attributes:
        reason: in words, with figures.
        source_frames: numbers of the frames concerned, in the source; empty where it concerns all.
        refused: no demonstration can be made of it; otherwise it is only marked.
        advice: what to do.
    """

    reason: str
    source_frames: tuple[int, ...] = ()
    refused: bool = True
    advice: str = "extract or cut the recording again"

    def __str__(self) -> str:
        count = len(self.source_frames)
        if not count:
            return f"{self.reason}; {self.advice}"
        named = ", ".join(map(str, self.source_frames[:_FRAMES_NAMED])) + (", ..." if count > _FRAMES_NAMED else "")
        return f"{self.reason} (source frame{'s' if count > 1 else ''} {named}); {self.advice}"


def check_interaction(interaction: Interaction, environment: str | None = None) -> list[Finding]:
    """The doubts about an interaction that can be used.

    Args:
        interaction: as extracted or imported, before it is placed.
        environment: id of the environment that it is for; None where any task would do.

    Raises:
        DexVidError: it cannot become a demonstration; the message has every reason, with frames and advice.
    """
    findings = inspect_interaction(interaction, environment)
    refusals = [str(finding) for finding in findings if finding.refused]
    if refusals:
        raise DexVidError("the interaction cannot become a demonstration: " + "; also: ".join(refusals))
    return findings


def inspect_interaction(interaction: Interaction, environment: str | None = None) -> list[Finding]:
    """Everything that is wrong with an interaction, the refusals first; see `check_interaction`."""
    if interaction.duration_s < _SHORTEST_S:
        return [Finding(f"it lasts {interaction.duration_s:.2f} s, expected {_SHORTEST_S} s or more")]
    with np.errstate(over="ignore", invalid="ignore"):  # of absurdly large numbers, which are refused
        findings = [
            *_unknown(interaction, "hand key points are", np.isfinite(interaction.hand_keypoints_world).all(axis=(1, 2))),
            *_unknown(interaction, "the object is", np.isfinite(object_path(interaction)).all(axis=1)),
            *_bad_poses(interaction),
            *_sizes(interaction),
            *_touch(interaction),
            *_reach(interaction),
            *_jumps(interaction),
            *_flags(interaction),
        ]
        if not any(finding.refused for finding in findings):  # else the path may mean nothing
            findings += _motion(interaction, environment)
    return sorted(findings, key=lambda finding: not finding.refused)


def check_poses(interaction: Interaction) -> None:
    """Refuses object poses that are no rigid motion, before anything is computed with them.

    Raises:
        DexVidError: there are such; the message names the frames.
    """
    for finding in _bad_poses(interaction):
        raise DexVidError(f"the interaction cannot become a demonstration: {finding}")


# ---- what is known ----------------------------------------------------------------------------------------------------------


def _unknown(interaction: Interaction, what: str, known: BoolArray) -> list[Finding]:
    """Gaps in (T,) `known`: none at all, too few, too long, or short ones."""
    if known.all():
        return []
    rows = np.flatnonzero(~known)
    if known.mean() < _KNOWN_SHARE:
        share = f"{what} known in {known.mean():.0%} of the frames, expected {_KNOWN_SHARE:.0%} or more"
        return [Finding(share, _frames(interaction, rows))]
    start, end = longest_run(~known)
    gap_s = (end - start) / interaction.fps
    gap = _frames(interaction, np.arange(start, end))
    if gap_s > _LONGEST_GAP_S:
        return [Finding(f"{what} unknown for {gap_s:.2f} s, expected gaps of {_LONGEST_GAP_S} s at most", gap)]
    return [Finding(f"{what} unknown in {len(rows)} frames", _frames(interaction, rows), refused=False)]


def _bad_poses(interaction: Interaction) -> list[Finding]:
    """Object poses that are no rigid motion."""
    pose = interaction.object_pose_world
    known = np.isfinite(pose).all(axis=(1, 2))
    turn = np.where(known[:, None, None], pose[:, :3, :3], np.eye(3))
    off = np.abs(turn @ turn.transpose(0, 2, 1) - np.eye(3)).max(axis=(1, 2))
    mirrored = np.linalg.det(turn) < 0
    wrong = known & (~(off < 1e-2) | mirrored | (np.abs(pose[:, 3] - [0, 0, 0, 1]).max(axis=1) > 1e-6))
    if not wrong.any():
        return []
    return [Finding("object poses are no rotations with a shift", _frames(interaction, np.flatnonzero(wrong)))]


def _sizes(interaction: Interaction) -> list[Finding]:
    """A hand that is no hand in metres."""
    points = interaction.hand_keypoints_world
    lengths = np.linalg.norm(points[:, _MIDDLE_BASE] - points[:, WRIST], axis=-1)
    lengths = lengths[np.isfinite(lengths)]
    if not len(lengths) or _HAND_LENGTH_M[0] < float(np.median(lengths)) < _HAND_LENGTH_M[1]:
        return []
    low, high = (100 * bound for bound in _HAND_LENGTH_M)
    advice = "check that the recording is in metres, and its scale (--hand-length-m)"
    measured = f"the hand measures {100 * float(np.median(lengths)):.3g} cm from wrist to middle finger"
    return [Finding(f"{measured}, expected {low:.0f} to {high:.0f} cm", advice=advice)]


def _flags(interaction: Interaction) -> list[Finding]:
    """Frames that the extraction itself doubts."""
    share = float(interaction.flagged.mean())
    if share <= _DOUBTFUL_SHARE:
        return []
    rows = np.flatnonzero(interaction.flagged)
    return [Finding(f"the extraction doubts {share:.0%} of its frames", _frames(interaction, rows), refused=False)]


# ---- hand and object --------------------------------------------------------------------------------------------------------


def _touch(interaction: Interaction) -> list[Finding]:
    """An object that the hand never touches, or only in name."""
    held = np.flatnonzero(interaction.contact)
    if not len(held):
        return [Finding("the hand never touches the object", advice="film the whole grasp, or name the object that is handled")]
    distance_m = np.full(interaction.num_frames, np.nan)
    for row in held:
        tips = interaction.hand_keypoints_world[row, list(FINGERTIPS)]
        points = interaction.object_points_world[row]
        tips, points = tips[np.isfinite(tips).all(axis=1)], points[np.isfinite(points).all(axis=1)]
        if len(tips) and len(points):
            distance_m[row] = np.linalg.norm(tips[:, None] - points, axis=-1).min()
    known = distance_m[np.isfinite(distance_m)]
    if not len(known) or float(known.min()) <= _TOUCH_M:
        return []
    nearest = f"the hand is said to touch the object, but stays {100 * float(known.min()):.0f} cm away"
    advice = "check the scale and place of hand and object in the extraction's overlay"
    return [Finding(nearest, _frames(interaction, held), advice=advice)]


def _reach(interaction: Interaction) -> list[Finding]:
    """Motions that no place of the robot could reach."""
    wrist, path = interaction.hand_keypoints_world[:, WRIST], object_path(interaction)
    held = interaction.contact & np.isfinite(wrist).all(axis=1)
    findings = []
    if held.any():
        rows = np.flatnonzero(held)
        middle = (wrist[rows].max(axis=0) + wrist[rows].min(axis=0)) / 2
        span_m = float(np.linalg.norm(wrist[rows].max(axis=0)[:2] - wrist[rows].min(axis=0)[:2]))
        if span_m > _REACH_M:
            far = rows[np.linalg.norm(wrist[rows] - middle, axis=1).argsort()[::-1][:_FRAMES_NAMED]]
            reason = f"the hand carries the object over {span_m:.2f} m, the robot reaches over {_REACH_M} m"
            findings.append(Finding(reason, _frames(interaction, np.sort(far)), advice="cut the recording to a part of it"))
        high = rows[wrist[rows, 2] > _HIGHEST_M]
        if len(high):
            reason = f"the hand holds the object {wrist[rows, 2].max():.2f} m above the table, expected at most {_HIGHEST_M} m"
            findings.append(Finding(reason, _frames(interaction, high), advice="check the table's height in the extraction"))
    low = np.flatnonzero(np.isfinite(path[:, 2]) & (path[:, 2] < _BELOW_TABLE_M))
    if len(low):
        reason = f"the object is {-path[low, 2].min():.2f} m below the table top"
        findings.append(Finding(reason, _frames(interaction, low), advice="check the table's height in the extraction"))
    return findings


def _jumps(interaction: Interaction) -> list[Finding]:
    """Steps that nothing on a table makes."""
    findings = []
    for what, path in (("the hand", interaction.hand_keypoints_world[:, WRIST]), ("the object", object_path(interaction))):
        speed = np.linalg.norm(np.diff(path, axis=0), axis=1) * interaction.fps
        rows = np.flatnonzero(np.isfinite(speed) & (speed > _FASTEST_M_PER_S)) + 1
        if len(rows):
            reason = f"{what} jumps, at up to {speed[rows - 1].max():.3g} m/s"
            findings.append(Finding(reason, _frames(interaction, rows), refused=False))
    return findings


# ---- the task ---------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class _Carried:
    """What became of the object.

    Attributes:
        moved_m, sideways_m: largest distance from its start, and horizontally.
        risen_m: largest height above its start.
        end_above_m: height of its end above its start.
        flown_m: how far it went on after the hand last touched it.
    """

    moved_m: float
    sideways_m: float
    risen_m: float
    end_above_m: float
    flown_m: float


def _motion(interaction: Interaction, environment: str | None) -> list[Finding]:
    """An object that stays where it is, or does what the environment is not about."""
    path = object_path(interaction)
    rows = np.flatnonzero(np.isfinite(path).all(axis=1))
    start, end = (np.median(path[part], axis=0) for part in (rows[:5], rows[-5:]))
    away = path[rows] - start
    last = int(np.flatnonzero(interaction.contact)[-1])
    after, before = rows[rows > last], rows[rows <= last]
    flown_m = float(np.linalg.norm(path[after] - path[before[-1]], axis=1).max()) if len(after) and len(before) else 0.0
    carried = _Carried(
        moved_m=float(np.linalg.norm(away, axis=1).max()),
        sideways_m=float(np.linalg.norm(away[:, :2], axis=1).max()),
        risen_m=float(away[:, 2].max()),
        end_above_m=float(end[2] - start[2]),
        flown_m=flown_m,
    )
    if carried.moved_m < _MOVED_M:
        return [Finding(f"the object moves by {1000 * carried.moved_m:.0f} mm, expected a recording that moves it")]
    judge = _TASKS.get(environment or "")
    reason = None if judge is None else judge(carried)
    advice = "choose the environment that the recording is for, or another recording"
    return [] if reason is None else [Finding(f"it is no recording for {environment}: {reason}", advice=advice)]


def _no_lift(carried: _Carried) -> str | None:
    if carried.risen_m < 0.03:
        return f"the object rises by {100 * carried.risen_m:.1f} cm only, so that it is never lifted"
    return _thrown(carried)


def _thrown(carried: _Carried) -> str | None:
    if carried.flown_m > 0.15:
        return f"the object flies on by {100 * carried.flown_m:.0f} cm after the hand lets go"
    return None


def _no_placing(carried: _Carried) -> str | None:
    if carried.risen_m < 0.015:
        return f"the object rises by {100 * carried.risen_m:.1f} cm only, so that it is pushed or drawn, not placed"
    if carried.sideways_m < 0.04:
        return f"the object ends {100 * carried.sideways_m:.1f} cm from where it stood, so that it is placed nowhere else"
    if carried.end_above_m > 0.10:
        return f"the object ends {100 * carried.end_above_m:.0f} cm above where it stood, so that it is not put down"
    return _thrown(carried)


def _no_opening(carried: _Carried) -> str | None:
    if carried.risen_m > 0.06 and carried.risen_m > 0.2 * carried.sideways_m:
        return f"the object rises by {100 * carried.risen_m:.0f} cm, and a drawer stays level"
    if carried.sideways_m < 0.08:
        return f"the object is drawn by {100 * carried.sideways_m:.1f} cm only"
    return None


def _no_throw(carried: _Carried) -> str | None:
    if carried.flown_m < 0.08:
        return f"the object goes on by {100 * carried.flown_m:.1f} cm after the hand lets go, so that it is not thrown"
    return None


#: By environment: what speaks against a recording, or None.
_TASKS: dict[str, Callable[[_Carried], str | None]] = {
    "DexVid-GraspLift-v0": _no_lift,
    "DexVid-BottlePickPlace-v0": _no_placing,
    "DexVid-OpenCabinet-v0": _no_opening,
    "DexVid-LiftThrow-v0": _no_throw,
}


# ---- frames -----------------------------------------------------------------------------------------------------------------


def _frames(interaction: Interaction, rows: FloatArray | Sequence[int] | np.ndarray) -> tuple[int, ...]:
    """Source frames of rows, each once: a resampled recording has several rows of one."""
    return tuple(dict.fromkeys(interaction.frame_index[np.asarray(rows, dtype=np.int64)].tolist()))
