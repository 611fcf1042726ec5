"""Retargeting of a real hand's recording, against dex-retargeting and mink, all in one run with the same targets.

    python -m benchmarks.retargeting [--recording FILE] [--peers FOLDER] [--rounds N] [--quick]

Every solver gets the same four fingertips, scaled about the wrist, frame by frame, and leaves the wrist free: our hand's model
has the lengths and limits of the URDF that dex-retargeting loads. (With its own configuration dex-retargeting follows four more
links, which its row says.) Solvers take turns in one process on one thread. The peers are optional and are named where they are
absent; `--peers` is a folder with their packages, installed without the requirements that this environment already has:

    pip install --target FOLDER --no-deps dex-retargeting nlopt lxml anytree pytransform3d six pyyaml \\
        pin libpinocchio libcoal coal hpp-fcl eigenpy cmeel cmeel-boost cmeel-urdfdom cmeel-console-bridge \\
        cmeel-tinyxml2 cmeel-assimp cmeel-octomap cmeel-qhull cmeel-zlib mink daqp qpsolvers loop-rate-limiters
"""

from __future__ import annotations

import dataclasses
import math
import os
import site
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import mujoco
import numpy as np
import tyro
from numpy.typing import NDArray

from benchmarks.result import RESULTS, Check, write_result
from benchmarks.retargeting_peers import DexRetargeting, Mink
from demos.interaction import FINGERTIPS, WRIST
from demos.retarget import RetargetConfig, Retargeter
from demos.retargeting.robot_hand import RobotHand, arm_hand, floating_hand
from dexvid_envs.errors import InputFileError, OptionError
from robots.threads import single_threaded_blas

FloatArray = NDArray[np.float64]
_SHARED = Path(os.environ.get("DEXVID_SHARED", Path(__file__).parents[2] / "shared")) / "data" / "dex_retargeting"
_FIRST_S = 1.0  # left out of the jerk: where a solver starts says nothing about its smoothness
HAND_TARGET_MS, ARM_TARGET_MS, ERROR_TARGET_MM = 0.5, 1.0, 5.0
#: Of our solver for an empty hand: the wrist is free and there is no table.
FREE_HAND = RetargetConfig(wrist_weight=0.0, clearance_weight=0.0, previous_weight=1e-3)
WHOLE_CLIP = dataclasses.replace(FREE_HAND, previous_weight=2e-5, smoothness_weight=3e-3)


@dataclasses.dataclass(frozen=True)
class RetargetingConfig:
    """Settings of the benchmark.

    Attributes:
        recording: .npy of key points (T, 21, 3) m of a right hand, in the 21-point order.
        urdf_folder: folder that holds dex-retargeting's `allegro_hand`.
        peers: folder with the peers' packages; those of this environment if None.
        out: result file; with --quick in the current folder.
        fps: frames a second of the recording.
        scales: of the fingertips about the wrist, human to robot; the robot's hand is 1.3 times as long as this person's.
        rounds: turns of each solver; the figure is the fastest, which other work on the machine disturbed least.
        quick: one round of a few frames.
    """

    recording: Path = _SHARED / "human_joint_right.npy"
    urdf_folder: Path = _SHARED
    peers: Path | None = None
    out: Path | None = None
    fps: float = 30.0
    scales: tuple[float, ...] = (1.0, 1.3)
    rounds: int = 3
    quick: bool = False


class Solver(Protocol):
    """One of those compared."""

    name: str
    arm: bool

    def run(self, keypoints: FloatArray, fingertips: FloatArray) -> FloatArray:
        """Solves scaled key points (T, 21, 3) m, whose fingertips are (T, 4, 3), in order; (T, Q) coordinates."""
        ...

    def start(self, keypoints: FloatArray, fingertips: FloatArray) -> None:
        """Settles at the first frame of what `run` is given next, outside the measured time."""
        ...

    def reached(self, qpos: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """(T, 4, 3) m fingertips, (T, 16) rad finger joints in our order and (T, 3) m place of the palm, of (T, Q)."""
        ...


class Ours:
    """Our solver, frame by frame or, with a weight of smoothness, for the clip at once."""

    def __init__(self, name: str, hand: RobotHand, config: RetargetConfig) -> None:
        self.name, self.hand, self.config = name, hand, config
        self.arm = hand is arm_hand()
        self.retargeter = Retargeter(config, hand)

    def start(self, keypoints: FloatArray, fingertips: FloatArray) -> None:
        """See `Solver`: from the robot's home."""
        self.retargeter.reset(self.hand.home_qpos)
        self.retargeter.solve(keypoints[0], 200, 0.0)

    def run(self, keypoints: FloatArray, fingertips: FloatArray) -> FloatArray:
        """See `Solver`: the streaming form, followed by the whole-clip form where it is asked for."""
        retargeter, config = self.retargeter, self.config
        qpos = np.stack([retargeter.solve(frame) for frame in keypoints])
        if config.smoothness_weight == 0:
            return qpos
        return retargeter.smoothed([retargeter.goal(frame) for frame in keypoints], qpos)

    def reached(self, qpos: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """See `Solver`: by MuJoCo's kinematics."""
        return reached_by(self.hand, qpos)


def main(config: RetargetingConfig) -> dict[str, Any]:
    """Measures, prints and writes."""
    if config.rounds < 1 or not config.scales or min(config.scales) <= 0:
        raise OptionError(f"expected at least one round and positive scales, got {config.rounds} and {config.scales}")
    recording = load_recording(config.recording)
    rounds = 1 if config.quick else config.rounds
    if config.quick:
        recording = recording[:60]
    if config.peers is not None:
        site.addsitedir(str(config.peers))
    rows, absent = [], {}
    with single_threaded_blas():
        for scale in config.scales[:1] if config.quick else config.scales:
            solvers, absent = make_solvers(config.urdf_folder)
            rows += measure(solvers, scaled(recording, scale), scale, rounds, config.fps)
    checks = make_checks(rows)
    settings = {
        "recording": config.recording.name,
        "frames": len(recording),
        "fps": config.fps,
        "rounds": rounds,
        "absent_peers": absent,
        "streaming": dataclasses.asdict(FREE_HAND),
        "whole_clip": dataclasses.asdict(WHOLE_CLIP),
    }
    out = config.out or (Path("retargeting.json") if config.quick else RESULTS / "retargeting.json")
    write_result(out, "retargeting", settings, rows, checks)
    print(out.with_suffix(".md").read_text())
    for name, reason in absent.items():
        print(f"{name} is absent: {reason}")
    return {"rows": rows, "checks": [check.to_json() for check in checks], "absent": absent}


def make_solvers(urdf_folder: Path) -> tuple[list[Solver], dict[str, str]]:
    """All that can be had, and the reason for each peer that cannot."""
    hand, arm = floating_hand(), arm_hand()
    solvers: list[Solver] = [Ours("ours, streaming", hand, FREE_HAND), Ours("ours, whole clip", hand, WHOLE_CLIP)]
    absent: dict[str, str] = {}
    peers: list[tuple[str, Callable[[], Solver]]] = [
        ("dex-retargeting, four fingertips", lambda: DexRetargeting(urdf_folder)),
        ("dex-retargeting, its own eight links", lambda: DexRetargeting(urdf_folder, own_links=True)),
        ("mink, one step a frame", lambda: Mink(hand, arm=False)),
        ("mink, to convergence", lambda: Mink(hand, arm=False, steps=8)),
        ("mink, arm + hand, one step a frame", lambda: Mink(arm, arm=True)),
    ]
    for name, make in peers:
        try:
            peer = make()
        except (ImportError, ValueError) as error:
            absent[name] = str(error)
            continue
        peer.name = name
        solvers.append(peer)
    solvers += [Ours("ours, arm + hand, streaming", arm, FREE_HAND), Ours("ours, arm + hand, whole clip", arm, WHOLE_CLIP)]
    return solvers, absent


def measure(solvers: list[Solver], keypoints: FloatArray, scale: float, rounds: int, fps: float) -> list[dict[str, Any]]:
    """One row for each solver, on scaled key points (T, 21, 3) m with the wrist at the origin."""
    wall_ms: dict[str, list[float]] = {solver.name: [] for solver in solvers}
    results: dict[str, FloatArray] = {}
    placed = {False: keypoints, True: before_the_arm(keypoints)}
    tips = {arm: points[:, followed()] for arm, points in placed.items()}
    for _ in range(rounds):
        for solver in solvers:
            solver.start(placed[solver.arm], tips[solver.arm])
            began = time.perf_counter()
            results[solver.name] = solver.run(placed[solver.arm], tips[solver.arm])
            wall_ms[solver.name].append(1e3 * (time.perf_counter() - began) / len(keypoints))
    rows = []
    for solver in solvers:
        reached, fingers, palm = solver.reached(results[solver.name])
        error_mm = 1e3 * np.linalg.norm(reached - tips[solver.arm], axis=-1)
        rows.append(
            {
                "solver": solver.name,
                "scale": scale,
                "ms a frame": round(min(wall_ms[solver.name]), 3),
                "mean fingertip error, mm": round(float(error_mm.mean()), 2),
                "largest, mm": round(float(error_mm.max()), 1),
                "finger jerk, rad/s3": round(rms_jerk(fingers, fps), 1),
                "palm jerk, m/s3": round(rms_jerk(palm, fps), 2),
                "beyond limits, rad": round(beyond_limits(fingers), 5),
                "arm": solver.arm,
            }
        )
        print(rows[-1], flush=True)
    return rows


def make_checks(rows: list[dict[str, Any]]) -> list[Check]:
    """The targets, each against the worst of the scales; smoothness as a ratio to the peer's."""
    checks = []
    for name, target_ms in (("ours, streaming", HAND_TARGET_MS), ("ours, arm + hand, streaming", ARM_TARGET_MS)):
        mine = [row for row in rows if row["solver"] == name]
        checks.append(Check(f"{name}: ms a frame", max(row["ms a frame"] for row in mine), target_ms, "lower"))
        error = max(row["mean fingertip error, mm"] for row in mine)
        checks.append(Check(f"{name}: mean fingertip error, mm", error, ERROR_TARGET_MM, "lower"))
        checks.append(Check(f"{name}: beyond limits, rad", max(row["beyond limits, rad"] for row in mine), 0.0, "lower"))
        for peer in dict.fromkeys(row["solver"] for row in rows if not row["solver"].startswith("ours")):
            theirs = {row["scale"]: row for row in rows if row["solver"] == peer}
            if next(iter(theirs.values()))["arm"] != mine[0]["arm"]:
                continue
            for jerk in ("finger jerk, rad/s3", "palm jerk, m/s3"):
                ratio = max(row[jerk] / theirs[row["scale"]][jerk] for row in mine)
                checks.append(Check(f"{name}: {jerk.split(',')[0]} / {peer}", round(ratio, 3), 1.0, "lower"))
    return checks


def load_recording(path: Path) -> FloatArray:
    """Key points (T, 21, 3) m.

    Raises:
        InputFileError: the file is missing or holds something else.
    """
    if not path.is_file():
        raise InputFileError(f"no recording at {path}; give --recording, or set DEXVID_SHARED to the folder that holds data/")
    recording = np.load(path, allow_pickle=False).astype(np.float64)
    if recording.ndim != 3 or recording.shape[1:] != (21, 3) or len(recording) < 40:
        raise InputFileError(f"{path} holds an array of shape {recording.shape}, expected (T, 21, 3) of at least 40 frames")
    return recording


def followed() -> list[int]:
    """Key points of index, middle, ring and thumb, the order of our fingertips."""
    return [*FINGERTIPS[1:4], FINGERTIPS[0]]


def scaled(recording: FloatArray, scale: float) -> FloatArray:
    """Key points (T, 21, 3) scaled about the wrist."""
    wrist = recording[:, WRIST, None]
    return wrist + scale * (recording - wrist)


def before_the_arm(keypoints: FloatArray) -> FloatArray:
    """Key points (T, 21, 3) m placed before the robot: their mean fingertips are turned and moved onto the hand's at home."""
    hand = arm_hand()
    home, _, _ = reached_by(hand, hand.home_qpos[None])
    mean = keypoints[:, followed()].mean(axis=0)
    left, _, right = np.linalg.svd((mean - mean.mean(axis=0)).T @ (home[0] - home[0].mean(axis=0)))
    turn = left @ np.diag([1.0, 1.0, np.sign(np.linalg.det(left @ right))]) @ right
    return (keypoints - mean.mean(axis=0)) @ turn + home[0].mean(axis=0)


def reached_by(hand: RobotHand, qpos: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """(T, 4, 3) m fingertips, (T, 16) rad finger joints and (T, 3) m palm at configurations (T, NQ)."""
    data = mujoco.MjData(hand.model)
    tips, palms = [], []
    for row in qpos:
        data.qpos[:] = row
        mujoco.mj_kinematics(hand.model, data)
        tips.append(data.site_xpos[hand.fingertip_ids].copy())
        palms.append(data.xpos[hand.palm_id].copy())
    return np.stack(tips), qpos[:, -16:], np.stack(palms)


def rms_jerk(path: FloatArray, fps: float) -> float:
    """Root mean square third derivative of a path (T, D), the first second left out."""
    settled = path[min(math.ceil(_FIRST_S * fps), len(path) // 2) :]
    return float(np.sqrt((np.diff(settled, 3, axis=0) ** 2).mean()) * fps**3)


def beyond_limits(fingers: FloatArray) -> float:
    """Largest excess in rad of finger joints (T, 16) over their limits."""
    lower, upper = (limit[-16:] for limit in arm_hand().limits)
    return float(max((lower - fingers).max(), (fingers - upper).max(), 0.0))


if __name__ == "__main__":
    main(tyro.cli(RetargetingConfig, description=__doc__))
