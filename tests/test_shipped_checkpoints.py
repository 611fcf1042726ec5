"""Every policy that comes with the project does what the evaluation beside it says; new ones are found by themselves."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from baselines.checkpoint import WEIGHTS_NAME, load_checkpoint
from baselines.evaluate import evaluate

FOLDER = Path(__file__).parents[1] / "baselines" / "checkpoints"
CHECKPOINTS = sorted(path.parent for path in FOLDER.glob(f"*/{WEIGHTS_NAME}"))
EPISODES = 48


def test_there_are_some_and_each_is_described() -> None:
    assert CHECKPOINTS
    described = (FOLDER / "README.md").read_text()
    assert all(f"`{path.name}/`" in described for path in CHECKPOINTS)


def test_reading_them_loads_no_compiler() -> None:
    """Which takes torch some seconds, and is never used."""
    code = f"""
import sys
from pathlib import Path
from baselines.checkpoint import load_checkpoint
for folder in {[str(path) for path in CHECKPOINTS]!r}:
    load_checkpoint(Path(folder))
print("torch._dynamo" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("folder", CHECKPOINTS, ids=lambda path: path.name)
def test_the_evaluation_beside_it_is_repeated(folder: Path) -> None:
    assert sum(path.stat().st_size for path in folder.iterdir()) < 5e6
    checkpoint = load_checkpoint(folder)
    told = json.loads((folder / "evaluation.json").read_text())
    assert told["env_id"] == checkpoint.env_id
    assert told["env_options"] == checkpoint.make_options()
    assert [one["seed"] for one in told["episodes"]] == list(range(10000, 10200))
    assert sum(one["success"] for one in told["episodes"]) == told["success"]["successes"]
    again = evaluate(checkpoint.policy(), checkpoint.env_id, episodes=EPISODES, env_options=checkpoint.make_options())
    expected = sum(one["success"] for one in told["episodes"][:EPISODES])
    assert abs(again.success.successes - expected) <= EPISODES / 8  # other processors round otherwise
