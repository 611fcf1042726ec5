"""`dexvid synthesize`: synthetic human videos with exact truth."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro

from demos.commands import SYNTHESIZE
from demos.synthetic.settings import Corpus, Pictures
from dexvid_envs.cli import parse_config
from dexvid_envs.errors import OptionError
from dexvid_envs.json_output import json_output


@dataclasses.dataclass(frozen=True)
class SynthesizeArguments:
    """Arguments of `dexvid synthesize`.

    Attributes:
        out: folder of the corpus; clips that are complete there stay as they are.
        corpus: the fixed one for evaluation, one of the same kinds for training, wild: everyday handling that is none of the
            tasks, or bottles: another one is placed by somebody else in each; they share no person, thing, camera or seed.
        count: how many clips; all 24 of the evaluation corpus by default, and 24 of the others.
        seed: of a corpus other than that for evaluation, 0 to 1999.
        first: number of the first clip, to share the work between machines.
        pictures: their size and rate.
        json: file for what was made; - or nothing prints it.
    """

    out: Path
    corpus: Corpus = "evaluation"
    count: int = 24
    seed: int = 0
    first: int = 0
    pictures: Annotated[Pictures, tyro.conf.arg(name="")] = dataclasses.field(default_factory=Pictures)
    json: Path | None = None


def main(arguments: Sequence[str]) -> int:
    """Runs the command; stopped and run again, it goes on with the clip that it was making."""
    config = parse_config(SynthesizeArguments, SYNTHESIZE, arguments)
    if config.count < 1:
        raise OptionError(f"expected a positive --count, got {config.count}")
    from demos.synthetic.corpus import make_corpus
    from dexvid_envs.progress import progress_bar

    with progress_bar("synthesize") as report:
        made = make_corpus(
            config.corpus,
            config.count,
            config.out,
            config.seed,
            pictures=config.pictures,
            first=config.first,
            report=report,
        )
    there = len(made.folders) - made.made
    with json_output(config.json) as write:
        print(f"{made.made} clips made, {there} were there: {config.out}")
        if made.left_out:
            print(f"left out, no sound motion found: {', '.join(made.left_out)}")
        clips = [str(folder) for folder in made.folders]
        write({"out": str(config.out), "made": made.made, "clips": clips, "left_out": list(made.left_out)})
    return 0
