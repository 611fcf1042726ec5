"""`render_mode="human"` in a real window, on a virtual screen where there is one to be had."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest

_SCREEN = "1280x800x24"
_SESSION = """
import json, subprocess, sys, time
import gymnasium, dexvid_envs
import numpy as np
from PIL import ImageGrab

def windows():
    tree = subprocess.run(["xwininfo", "-root", "-tree"], capture_output=True, text=True, check=True).stdout
    return sum('"MuJoCo : ' in line for line in tree.splitlines())

def wait_for(condition):  # a busy machine draws late
    until = time.monotonic() + 60.0
    while not condition() and time.monotonic() < until:
        time.sleep(0.2)

def screen():
    return np.asarray(ImageGrab.grab(), dtype=np.float64)

env = gymnasium.make("DexVid-BottlePickPlace-v0", render_mode="human")
env.reset(seed=0)
env.step(env.action_space.low)
wait_for(lambda: screen().std(axis=-1).any())  # the screen around the window is black, the scene is in colour
before, began = screen(), time.monotonic()
for _ in range(40):
    env.step(env.action_space.high)
seconds = time.monotonic() - began
drawn = before.std(axis=-1) > 0
wait_for(lambda: np.abs(screen() - before)[drawn].mean() > 1.0)
figures = {"seconds": seconds, "open": windows(), "drawn": drawn.mean(), "changed": np.abs(screen() - before)[drawn].mean()}
env.close()
wait_for(lambda: windows() == 0)
print(json.dumps(figures | {"closed": windows()}))
"""


@pytest.mark.skipif(
    not (shutil.which("xvfb-run") and shutil.which("xwininfo")),
    reason="needs a virtual screen (apt-get install xvfb x11-utils)",
)
def test_a_window_shows_the_robot_in_real_time_and_goes() -> None:
    command = ["xvfb-run", "-a", "-s", f"-screen 0 {_SCREEN}", sys.executable, "-c", _SESSION]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert ran.returncode == 0, ran.stderr
    figures = json.loads(ran.stdout.splitlines()[-1])
    assert figures["open"] == 1
    assert figures["closed"] == 0
    assert figures["seconds"] > 1.9  # forty steps of a twentieth of a second, no faster
    assert figures["drawn"] > 0.1
    assert figures["changed"] > 1.0  # the arm has moved
