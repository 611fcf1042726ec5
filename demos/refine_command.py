"""`dexvid refine`: an extraction to one demonstration that holds in physics."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro

from demos.commands import REFINE
from demos.refine import RefineConfig
from dexvid_envs.cli import parse_config, parse_env_options


@dataclasses.dataclass(frozen=True)
class RefineArguments:
    """Arguments of `dexvid refine`."""

    source: tyro.conf.Positional[Path]
    """an extraction's folder, or a folder of another extractor's output"""
    out: Path
    """the dataset folder to write (one episode)"""
    env: str = "DexVid-BottlePickPlace-v0"
    """environment"""
    env_option: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """NAME=VALUE of an environment option, such as bottle=mustard; may be given several times"""
    importer: str | None = None
    """name of the importer; guessed from the folder's layout by default"""
    video: Path | None = None
    """also write a side-by-side video of human and robot"""
    config: Annotated[RefineConfig, tyro.conf.arg(name="")] = dataclasses.field(default_factory=RefineConfig)
    """size of the search"""


def main(arguments: Sequence[str]) -> int:
    """Runs the command; 0 if the demonstration succeeds, 1 if the search did not get there (it is saved all the same)."""
    config = parse_config(RefineArguments, REFINE, arguments)
    from demos.dataset import write_dataset
    from demos.pseudo_demonstration import place_and_retarget, refine_interaction
    from demos.source import load_interaction, warn_of_failed_gates
    from dexvid_envs.progress import progress_bar

    interaction = load_interaction(config.source, config.importer)
    warn_of_failed_gates(config.source)
    options = parse_env_options(config.env_option)
    with progress_bar("retarget"):
        placed = place_and_retarget(interaction, config.env, options)
    with progress_bar("refine") as report:
        result = refine_interaction(placed, config.env, options, config.config, progress=report)
    write_dataset(config.out, [result.demonstration])
    if config.video:
        from demos.side_by_side import render_side_by_side

        render_side_by_side(result.placed.interaction, result.demonstration, config.video)
    search, before = result.refinement, result.open_loop
    print(
        f"open-loop replay before the search: {'success' if before.success else 'no success'}, "
        f"lifted {100 * before.lift_m:.1f} cm, ends {100 * before.target_distance_m:.1f} cm from the target"
    )
    print(
        f"after {search.seconds:.0f} s of search: {'success' if search.succeeded else 'no success'}, "
        f"{1e3 * search.tracking_error_m:.1f} mm from the video's path on average, "
        f"{1e3 * search.end_error_m:.1f} mm at the end, "
        f"{search.acceptance:.0%} of moved and disturbed copies succeed"
    )
    print(f"written: {config.out} (tier {result.demonstration.tier})")
    return 0 if search.succeeded else 1
