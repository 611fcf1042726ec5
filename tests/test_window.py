"""`render_mode="human"` in a real window, on a virtual screen where there is one to be had."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import pytest

_SCREEN = "1280x800x24"
_SESSION = """
import json, subprocess, sys, time
import gymnasium, dexvid_envs
from PIL import ImageGrab

def windows():
    tree = subprocess.run(["xwininfo", "-root", "-tree"], capture_output=True, text=True, check=True).stdout
    return sum('"MuJoCo : ' in line for line in tree.splitlines())

env = gymnasium.make("DexVid-BottlePickPlace-v0", render_mode="human")
env.reset(seed=0)
began, shots = time.monotonic(), []
for step in range(40):
    env.step(env.action_space.low if step < 20 else env.action_space.high)
    if step in (5, 35):
        shots.append(ImageGrab.grab())
figures = {"seconds": time.monotonic() - began, "open": windows()}
env.close()
time.sleep(0.5)
for number, shot in enumerate(shots):
    shot.save(f"{sys.argv[1]}/{number}.png")
print(json.dumps(figures | {"closed": windows()}))
"""


@pytest.mark.skipif(
    not (shutil.which("xvfb-run") and shutil.which("xwininfo")),
    reason="needs a virtual screen (apt-get install xvfb x11-utils)",
)
def test_a_window_shows_the_robot_in_real_time_and_goes(tmp_path: Path) -> None:
    command = ["xvfb-run", "-a", "-s", f"-screen 0 {_SCREEN}", sys.executable, "-c", _SESSION, str(tmp_path)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert ran.returncode == 0, ran.stderr
    figures = json.loads(ran.stdout.splitlines()[-1])
    assert figures["open"] == 1
    assert figures["closed"] == 0
    assert figures["seconds"] > 1.9  # forty steps of a twentieth of a second, no faster
    before, after = (np.asarray(imageio.imread(tmp_path / f"{number}.png"), dtype=np.float64) for number in (0, 1))
    drawn = before.std(axis=-1) > 0  # the screen around the window is black, the scene is in colour
    assert drawn.mean() > 0.1
    assert np.abs(before - after)[drawn].mean() > 1.0  # the arm has moved
