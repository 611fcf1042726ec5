"""What a quickstart's report says in words: the summary and the honest differences."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from baselines.reports.page import duration, millimetres, percent
from baselines.reports.quickstart import QuickstartReport
from robots.objects import BOTTLES


def what_happened(data: QuickstartReport) -> str:
    """The story in a few sentences, from what really ran."""
    said = [f"The source is {data.source_kind} ({data.source_name}{_length(data)})."]
    if data.pseudo is not None:
        before, after = data.pseudo.open_loop, data.pseudo.refinement
        outcome = "already succeeds" if before.success else "fails"
        said.append(
            f"Its hand motion was transferred to a simulated arm with a four-fingered hand; played as it is, it {outcome}."
        )
        found = "made it succeed" if after.succeeded else "did not find a motion that succeeds"
        said.append(f"A search in physics ({duration(after.seconds)}) {found}.")
    if data.multiplication is not None:
        said.append(f"The refined motion was carried to new starts and targets: {data.kept_copies} successful copies.")
    if data.clone_evaluation is not None:
        rate = data.clone_evaluation.success
        said.append(f"A policy cloned from them succeeds in {percent(rate.rate)} of {rate.trials} new episodes.")
    if data.final_evaluation is not None and data.fine_tuning is not None:
        rate = data.final_evaluation.success
        said.append(f"After a short fine-tuning, the policy that was kept succeeds in {percent(rate.rate)} of {rate.trials}.")
    said += [f"Left out: {stage} ({reason})." for stage, reason in data.skipped.items()]
    return " ".join(said)


def differences(data: QuickstartReport) -> list[str]:
    """What differs between the video, the simulation and reality, with figures where they are known."""
    items = [
        "No real robot: every success here is one in the MuJoCo simulator, with its contact model and without sensor noise."
    ]
    if "synthetic" in data.source_kind:
        items.append("The recording is synthetic: a scripted hand in a made-up film, cleaner than any real video.")
    items += _object_difference(data)
    if data.pseudo is not None:
        placed, demonstration = data.pseudo.placed, data.pseudo.demonstration
        filmed = int((demonstration.source_frame >= 0).sum())
        items.append(
            "Another hand: the human's five fingers became four. Fingertips are matched to "
            f"{millimetres(float(placed.motion.error_m.mean()))} on average before the search; the little finger is not used."
        )
        items.append(
            f"Another place: the recording was turned by {math.degrees(placed.yaw_rad):.0f} degrees and shifted so that the "
            "object goes from the middle of the task's starts to the middle of its targets; heights and the hand's pose "
            "relative to the object stayed."
        )
        items.append(
            f"{filmed} of {len(demonstration.source_frame)} steps have a frame of the video behind them; the approach and what "
            "the video lacks of pauses, release and retreat are planned."
        )
    items.append(
        "The policies see the simulator's state (joints, pose and speed of the object, target), not camera pictures. Starts "
        "and targets are those of the environment's distribution; outside of it nothing was measured."
    )
    items.append("One run with one seed. Another seed gives other figures; the intervals cover only the choice of episodes.")
    return items


def _length(data: QuickstartReport) -> str:
    if data.pseudo is None:
        return ""
    frames = data.pseudo.placed.interaction
    return f", {frames.duration_s:.1f} s of it used"


def _object_difference(data: QuickstartReport) -> Sequence[str]:
    """Sizes of the recorded and the simulated object."""
    name = data.env_options.get("bottle", "pet")
    shape = BOTTLES.get(str(name))
    if shape is None:
        return ()
    simulated = (
        f"the simulated bottle ({name}) is {2000 * shape.half_width_m:.0f} x {2000 * shape.half_depth_m:.0f} x "
        f"{1000 * shape.height_m:.0f} mm, {shape.mass_kg:.2f} kg and rigid"
    )
    if data.pseudo is None:
        return (f"Another object: {simulated}; a recording says nothing of mass and friction.",)
    from demos.human_scene import object_points

    points = object_points(data.pseudo.placed.interaction)
    if len(points) < 4:
        return (f"Another object: {simulated}; the recording gives neither size nor mass nor friction.",)
    across, along, high = 1000 * np.ptp(points, axis=0)
    return (
        f"Another object: the points recorded on the filmed one span {across:.0f} x {along:.0f} x {high:.0f} mm; {simulated}. "
        "A recording says nothing of mass and friction.",
    )
