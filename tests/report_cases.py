"""What the tests of `dexvid report` share: the command, a page as it should be, and a run that took no time."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

from html_page import HtmlPage

from dexvid_envs.cli import main

CHECKPOINTS = Path(__file__).parents[1] / "baselines" / "checkpoints"


def report(*arguments: object) -> int:
    return main(["report", *map(str, arguments)])


def page_at(path: Path) -> HtmlPage:
    """The page, which is whole, runs nothing and loads nothing."""
    content = path.read_text(encoding="utf-8")
    page = HtmlPage(content)
    assert not page.open
    assert page.resources == []
    assert page.handlers == []
    assert not page.tags & {"script", "link", "img", "iframe", "object", "embed", "form", "base"}
    assert not re.search(r"url\(|@import", content)
    assert 'name="viewport" content="width=device-width' in content
    return page


def listing(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def made_up_run(folder: Path) -> Path:
    """The folder of a clone, as `dexvid train bc` leaves it."""
    shutil.copytree(CHECKPOINTS / "grasp_lift", folder / "checkpoint", ignore=shutil.ignore_patterns("evaluation.json"))
    training = json.loads((folder / "checkpoint" / "config.json").read_text())["training"]
    content = {"algorithm": "bc", "seed": 0, "config": training["config"], "env_id": "DexVid-GraspLift-v0"}
    (folder / "config.json").write_text(json.dumps(content))
    (folder / "progress.csv").write_text("step,loss,held_out_loss,elapsed_s\n10,0.5,0.6,1.0\n20,0.25,0.4,2.0\n")
    return folder
