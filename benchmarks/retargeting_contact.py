"""What the contact terms of retargeting change: how deep links lie in the object, how far pads are from its surface, the time.

    python -m benchmarks.retargeting_contact [--recording FOLDER] [--rounds N] [--quick]

The shipped synthetic pick-and-place clip and a recorded one (another extractor's output) are placed in the task's world and
retargeted with and without the terms, which know the object only by its tracked points. Overlaps are MuJoCo's own, between the
robot's collision geometry and a model of the object that the terms do not see: the bottle of the clip and of the task, and the
hull of the recording's points.
"""

from __future__ import annotations

import dataclasses
import os
import time
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import tyro
from numpy.typing import NDArray
from scipy.spatial import ConvexHull

from benchmarks.result import RESULTS, Check, write_result
from demos.align import aim, displacement_yaw, turn
from demos.interaction import Interaction
from demos.plan import PlanConfig, approach_frame
from demos.pseudo_demonstration import closest_bottle
from demos.resample import resample, select_frames
from demos.retarget import RetargetConfig, RobotMotion, object_surface, retarget
from demos.retargeting.robot_hand import arm_hand
from demos.source import load_interaction, shipped_sample
from dexvid_envs.errors import OptionError
from robots.arm_hand import ARM_HAND, add_arm_hand
from robots.collision import OBJECT_CONTACT
from robots.objects import BOTTLES, add_bottle

FloatArray = NDArray[np.float64]
_SHARED = Path(os.environ.get("DEXVID_SHARED", Path(__file__).parents[2] / "shared")) / "data"
_START, _TARGET = np.array([0.46, -0.20]), np.array([0.46, 0.12])
OVERLAP_TARGET_MM, PAD_TARGET_MM = 5.0, 5.0
FORMS = {
    "without": RetargetConfig(),
    "contact": RetargetConfig(contact=True),
    "contact, whole clip": RetargetConfig(contact=True, smoothness_weight=1e-4),
}


@dataclasses.dataclass(frozen=True)
class ContactConfig:
    """Settings of the benchmark.

    Attributes:
        recording: folder of another extractor's output; left out where it is absent.
        out: result file; with --quick in the current folder.
        rounds: turns of each form; the time is the fastest.
        quick: the shipped clip alone, one round.
    """

    recording: Path = _SHARED / "dexmv_mustard"
    out: Path | None = None
    rounds: int = 3
    quick: bool = False


def main(config: ContactConfig) -> dict[str, Any]:
    """Measures, prints and writes."""
    if config.rounds < 1:
        raise OptionError(f"expected at least one round, got {config.rounds}")
    clips: dict[str, tuple[Interaction, tuple[str, ...]]] = {
        "synthetic": (placed(load_interaction(shipped_sample()), 0.0), ("bottle",))
    }
    if config.recording.is_dir() and not config.quick:
        # The person reaches from the side; the world is turned so that the robot can as well.
        clips["recorded"] = placed(load_interaction(config.recording), np.pi / 2), ("hull of its points", "bottle")
    rows = [
        row
        for clip, (interaction, objects) in clips.items()
        for row in measure(clip, interaction, objects, 1 if config.quick else config.rounds)
    ]
    chosen = [row for row in rows if row["form"] == "contact"]
    checks = [
        check
        for row in chosen
        for check in (
            Check(
                f"{row['clip']}, {row['object']}: mean overlap in contact, mm",
                row["mean overlap in contact, mm"],
                OVERLAP_TARGET_MM,
                "lower",
            ),
            Check(f"{row['clip']}, {row['object']}: pads off the surface, mm", row["pads off, mm"], PAD_TARGET_MM, "lower"),
        )
    ]
    settings = {"forms": {name: dataclasses.asdict(form) for name, form in FORMS.items()}, "rounds": config.rounds}
    out = config.out or (Path("retargeting_contact.json") if config.quick else RESULTS / "retargeting_contact.json")
    write_result(out, "retargeting_contact", settings, rows, checks)
    print(out.with_suffix(".md").read_text())
    return {"rows": rows, "checks": [check.to_json() for check in checks]}


def placed(interaction: Interaction, turned_rad: float) -> Interaction:
    """In the task's world at the control rate, from where the hand comes near; turned from the way of the carry."""
    yaw = displacement_yaw(interaction, _START, _TARGET) + turned_rad
    sampled = resample(aim(turn(interaction, yaw), _START, _TARGET), RetargetConfig.control_hz, RetargetConfig.max_duration_s)
    return select_frames(sampled, slice(approach_frame(sampled, PlanConfig.approach_distance_m), None))


def measure(clip: str, interaction: Interaction, objects: tuple[str, ...], rounds: int) -> list[dict[str, Any]]:
    """One row for each form and model of the object."""
    rows = []
    for form, settings in FORMS.items():
        times_ms: list[float] = []
        motion: RobotMotion | None = None
        for _ in range(rounds):
            began = time.perf_counter()
            motion = retarget(interaction, settings)
            times_ms.append(1e3 * (time.perf_counter() - began) / interaction.num_frames)
        assert motion is not None
        for name in objects:
            overlap_m, pad_m = overlaps(interaction, motion, name)
            held = interaction.contact
            rows.append(
                {
                    "clip": clip,
                    "object": name,
                    "form": form,
                    "mean overlap in contact, mm": round(1e3 * float(overlap_m[held].mean()), 2),
                    "largest overlap, mm": round(1e3 * float(overlap_m.max()), 1),
                    "pads off, mm": round(1e3 * float(np.abs(pad_m[held]).mean()), 2),
                    "from the person's fingertips, mm": round(1e3 * float(motion.error_m.mean()), 2),
                    "largest step, rad": round(float(np.abs(np.diff(motion.qpos, axis=0)).max()), 2),
                    "ms a frame": round(min(times_ms), 2),
                }
            )
            print(rows[-1], flush=True)
    return rows


def overlaps(interaction: Interaction, motion: RobotMotion, name: str) -> tuple[FloatArray, FloatArray]:
    """(T,) m deepest overlap of a link with the object, and (T, 4) m signed distance of each fingertip's pad from it."""
    spec = mujoco.MjSpec()
    spec.compiler.degree = False
    add_arm_hand(spec)
    if name == "bottle":
        add_bottle(spec, "object", BOTTLES[closest_bottle(interaction)])
    else:
        _add_hull(spec, object_points(interaction))
    model = spec.compile()
    data = mujoco.MjData(model)
    body = model.body("object").id
    objects = np.flatnonzero((model.geom_bodyid == body) & (model.geom_contype > 0))
    links = np.flatnonzero((model.geom_bodyid != body) & (model.geom_contype > 0))
    tip_bodies = model.site_bodyid[[model.site(site).id for site, _ in arm_hand().keypoint_map.fingertips]]
    # A pad is the capsule of the fingertip's link.
    pads = [int(links[model.geom_bodyid[links] == tip][0]) for tip in tip_bodies]
    near_m, ends = 0.1, np.empty(6)
    depth, pad = np.zeros(len(motion.qpos)), np.zeros((len(motion.qpos), len(pads)))
    for t, (qpos, pose) in enumerate(zip(motion.qpos, interaction.object_pose_world, strict=True)):
        data.qpos[: ARM_HAND.num_joints], data.qpos[-7:-4] = qpos, pose[:3, 3]
        mujoco.mju_mat2Quat(data.qpos[-4:], pose[:3, :3].ravel().copy())
        mujoco.mj_kinematics(model, data)
        distance = {
            int(link): min(mujoco.mj_geomDistance(model, data, int(link), int(geom), near_m, ends) for geom in objects)
            for link in links
        }
        depth[t] = max(0.0, -min(distance.values()))
        pad[t] = [distance[link] for link in pads]
    return depth, pad


def object_points(interaction: Interaction) -> FloatArray:
    """(P, 3) m points of the moved object in its frame."""
    return object_surface(interaction).points_object


def _add_hull(spec: mujoco.MjSpec, points: FloatArray) -> None:
    body = spec.worldbody.add_body(name="object")
    body.add_freejoint(name="object_joint")
    spec.add_mesh(name="hull", uservert=points[ConvexHull(points).vertices].ravel())
    geom = body.add_geom(name="hull", type=mujoco.mjtGeom.mjGEOM_MESH, meshname="hull")
    OBJECT_CONTACT.apply(geom)


if __name__ == "__main__":
    main(tyro.cli(ContactConfig, description=__doc__))
