"""`dexvid quickstart`: from one human demonstration to an evaluated policy, in one go.

Sample, retarget, refine, multiply, clone, fine-tune, evaluate, report. Every stage leaves its result in the output folder, so
that an interrupted run goes on with `--resume`, and every stage can be repeated alone with its own command.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro

from baselines.commands import QUICKSTART
from dexvid_envs.cli import parse_config
from dexvid_envs.errors import DexVidError


@dataclasses.dataclass(frozen=True)
class QuickstartArguments:
    """Arguments of `dexvid quickstart`."""

    source: Path | None = None
    """an extraction, or a folder of another extractor's output; the recording that comes with the project by default"""
    out: Path = Path("runs/quickstart")
    """folder for everything that is made"""
    env: str = "DexVid-BottlePickPlace-v0"
    """environment; "DexVid-" and the version may be left out"""
    env_option: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """NAME=VALUE of an environment option; by default bottle=NAME of the bottle nearest in size to the recorded one"""
    count: int = 1200
    """demonstrations to make from the one"""
    episodes: int = 200
    """episodes of each evaluation, at fixed published seeds"""
    refine_rounds: int = 14
    """largest number of rounds of the search in physics"""
    clone_steps: int = 6000
    """gradient steps of the cloning"""
    fine_tune_steps: int = 160_000
    """environment steps of the fine-tuning; 0 leaves it out"""
    seed: int = 0
    """of everything"""
    quick: bool = False
    """a small run of everything in about a minute, to see that it works; its policy is not meant to be good"""
    video: bool = True
    """render videos for the report, where an off-screen OpenGL library is found"""
    resume: bool = False
    """go on with the interrupted run in --out"""
    json: Path | None = None
    """file for the report's figures, as in the run's own report.json; - or nothing prints them"""

    def scaled(self) -> QuickstartArguments:
        """The arguments of the quick form, where it was asked for."""
        if not self.quick:
            return self
        return dataclasses.replace(
            self,
            count=min(self.count, 12),
            episodes=min(self.episodes, 8),
            clone_steps=min(self.clone_steps, 200),
            fine_tune_steps=min(self.fine_tune_steps, 6400),
        )


def main(arguments: Sequence[str]) -> int:
    """Runs the command; returns the exit code."""
    config = parse_config(QuickstartArguments, QUICKSTART, arguments)
    from dexvid_envs.environment_ids import find_environment_id

    config = dataclasses.replace(config, env=find_environment_id(config.env))
    from baselines.quickstart_stages import QuickstartRun
    from dexvid_envs.files import clear_up_inside, write_alone
    from dexvid_envs.json_file import read_json
    from dexvid_envs.json_output import json_output

    with json_output(config.json) as write, write_alone(config.out):
        for folder in (config.out, config.out / "stages", config.out / "clone", config.out / "finetuned"):
            clear_up_inside(folder)
        code = QuickstartRun(config.scaled()).run()
        write(read_json(config.out / "report.json", "run the quickstart again"))
    return code


class StageStore:
    """Results of finished stages as JSON files, so that an interrupted run can go on."""

    def __init__(self, folder: Path, resume: bool) -> None:
        self.folder, self.resume = folder, resume
        self.seconds: dict[str, float] = {}

    def stage(self, name: str, make: Callable[[], Any]) -> Any:
        """The JSON value of a stage: read if it was finished before, else made, timed and written."""
        from dexvid_envs.files import atomic_path

        path = self.folder / f"{name}.json"
        if self.resume and path.is_file():
            try:
                content = json.loads(path.read_text())
                self.seconds[name] = float(content["seconds"])
                return content["result"]
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                raise DexVidError(f"{path} is damaged ({error}); remove it, and that stage is done again") from error
        begin = time.monotonic()
        result = make()
        self.seconds[name] = time.monotonic() - begin
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps({"seconds": self.seconds[name], "result": result}))
        return result
