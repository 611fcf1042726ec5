"""`dexvid refine`: an extraction to one demonstration that holds in physics."""

from __future__ import annotations

import dataclasses
import math
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from demos.commands import REFINE
from demos.refinement.settings import RefineConfig
from demos.scale.command import folders_with, refuse_options, run_and_tell
from demos.scale.job import Job
from demos.scale.options import ManySources
from dexvid_envs.cli import parse_config, parse_env_options
from dexvid_envs.files import write_alone
from dexvid_envs.json_output import json_output

if TYPE_CHECKING:
    from demos.pseudo_demonstration import PseudoDemonstration

_FIGURES = ("tracking_error_m", "end_error_m", "acceptance", "robustness", "hold")


@dataclasses.dataclass(frozen=True)
class RefineArguments:
    """Arguments of `dexvid refine`."""

    source: tyro.conf.Positional[Path]
    """an extraction's folder, a folder of such folders, or a folder of another extractor's output"""
    out: Path
    """the dataset folder to write (one episode); of several sources each gets one in it"""
    env: str | None = None
    """environment, by default that of the task which the recording shows; "DexVid-" and the version may be left out"""
    env_option: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """NAME=VALUE of an environment option, such as bottle=mustard; may be given several times"""
    importer: str | None = None
    """name of the importer; guessed from the folder's layout by default"""
    object: str | None = None
    """name of the object to take; by default the one nearest in size"""
    turn_deg: float | None = None
    """turn of the recording about the vertical, by which the object is taken from another side; by default the one that the
    robot reaches best"""
    until_highest: bool = False
    """end the recording where the hand holds the object highest: what is put back afterwards becomes a lift"""
    rounds: Path | None = None
    """folder for finished rounds, from which a stopped search goes on; by default beside `out`, removed at the end"""
    video: Path | None = None
    """also write a side-by-side video of human and robot"""
    json: Path | None = None
    """file for the outcome in figures; - or nothing prints them"""
    config: Annotated[RefineConfig, tyro.conf.arg(name="")] = dataclasses.field(default_factory=RefineConfig)
    """size of the search"""
    many: Annotated[ManySources, tyro.conf.arg(name="")] = dataclasses.field(default_factory=ManySources)
    """for several sources"""


def main(arguments: Sequence[str]) -> int:
    """Runs the command; 0 if the demonstration succeeds, 1 if the search did not get there (it is saved all the same).

    Of several sources, 1 if any has no result.
    """
    config = parse_config(RefineArguments, REFINE, arguments)
    from dexvid_envs.environment_ids import find_environment_id

    if config.env is not None:
        config = dataclasses.replace(config, env=find_environment_id(config.env))
    sources = folders_with("interaction.npz", config.source, config.many.more)
    if sources is not None:
        return _refine_many(sources, config)
    with json_output(config.json) as write:
        with write_alone(config.out):
            result = _refine(config)
        search, before = result.refinement, result.open_loop
        print(
            f"open-loop replay before the search: {'success' if before.success else 'no success'}, "
            f"lifted {100 * before.lift_m:.1f} cm, ends {100 * before.target_distance_m:.1f} cm from the target"
        )
        print(
            f"after {search.seconds:.0f} s of search: {'success' if search.succeeded else 'no success'}, "
            f"{1e3 * search.tracking_error_m:.1f} mm from the video's path on average, "
            f"{1e3 * search.end_error_m:.1f} mm at the end, "
            f"{search.acceptance:.0%} of moved copies and {search.robustness:.0%} of disturbed ones succeed"
        )
        print(f"hold: {search.hold}, grip {search.grip_force_n:.1f} N on average while the object is carried")
        print(f"written: {config.out} (tier {result.demonstration.tier})")
        write(_outcome(config, result))
    return 0 if search.succeeded else 1


def _outcome(config: RefineArguments, result: PseudoDemonstration) -> dict[str, Any]:
    """What `--json` writes."""
    from demos.provenance import to_json

    search, demonstration = result.refinement, result.demonstration
    return {
        "out": str(config.out),
        "environment": demonstration.env_id,
        "env_options": to_json(demonstration.env_options),
        "success": bool(search.succeeded),
        "tier": demonstration.tier,
        "seconds": float(search.seconds),
        **to_json({name: getattr(search, name) for name in (*_FIGURES, "grip_force_n")}),
        "open_loop": to_json(result.open_loop),
    }


def _refine_many(sources: Mapping[str, Path], config: RefineArguments) -> int:
    refuse_options(config, ("rounds", "video", "json"))
    settings = {
        name: getattr(config, name) for name in ("env", "env_option", "importer", "object", "turn_deg", "until_highest")
    }
    settings["config"] = dataclasses.asdict(config.config)
    jobs = [Job(name, "demos.refine_command:refine_job", {"source": path}, settings) for name, path in sources.items()]
    return run_and_tell("refine", jobs, config.out, config.many, {"success": "successful"})


def refine_job(out: Path, inputs: Mapping[str, Path], config: Mapping[str, Any], **settings: Any) -> dict[str, Any]:
    """The refinement of one of many sources; tells how well it went."""
    from demos.provenance import to_json

    result = _refine(RefineArguments(inputs["source"], out, config=RefineConfig(**config), **settings))
    search = result.refinement
    chosen = {name: getattr(search, name) for name in _FIGURES}
    return {"success": bool(search.succeeded), "tier": result.demonstration.tier, **to_json(chosen)}


def _refine(config: RefineArguments) -> PseudoDemonstration:
    """One source; writes the dataset."""
    from demos.checks import check_interaction
    from demos.dataset import write_dataset
    from demos.goals import find_goal, lifting_part
    from demos.provenance import extraction_facts
    from demos.pseudo_demonstration import closest_options, place_and_retarget, refine_interaction
    from demos.source import load_interaction, warn_of_failed_gates
    from dexvid_envs.progress import progress_bar

    interaction = load_interaction(config.source, config.importer)
    if config.until_highest:
        interaction = lifting_part(interaction)
    warn_of_failed_gates(config.source)
    env_id = config.env
    if env_id is None:
        goal = find_goal(interaction)
        env_id = goal.environment
        print(f"the recording shows: {goal.kind}, by {', '.join(goal.keypoints)}; environment {env_id}")
    doubts = [str(finding) for finding in check_interaction(interaction, env_id)]
    for doubt in doubts:
        print(f"warning: {doubt}", file=sys.stderr)
    given = parse_env_options(config.env_option)
    if config.object is not None:
        given |= {"bottle": config.object} if "Bottle" in env_id else {"objects": (config.object,)}
    options = closest_options(interaction, env_id, given)
    with progress_bar("retarget") as report:
        turn = None if config.turn_deg is None else math.radians(config.turn_deg)
        placed = place_and_retarget(interaction, env_id, options, yaw_rad=turn, report=report)
    rounds = config.rounds or config.out.with_name(config.out.name + ".rounds")
    with progress_bar("refine") as report:
        result = refine_interaction(placed, env_id, options, config.config, progress=report, store=rounds)
    facts = (
        extraction_facts(config.source, interaction)
        | {"doubts": doubts, "until_highest": config.until_highest}
        | dict(result.demonstration.provenance)
    )
    write_dataset(config.out, [dataclasses.replace(result.demonstration, provenance=facts)])
    if config.rounds is None:
        shutil.rmtree(rounds, ignore_errors=True)
    if config.video:
        from demos.side_by_side import render_side_by_side

        with progress_bar("video") as report:
            render_side_by_side(result.placed.interaction, result.demonstration, config.video, report=report)
    return result
