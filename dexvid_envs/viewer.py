"""MuJoCo's interactive window on a running environment: what `render_mode="human"` and `dexvid play` show.

The window has data of its own, into which each state shown is copied: looking at a simulation never changes it.
"""

from __future__ import annotations

import atexit
import functools
import math
import os
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import mujoco
import numpy as np

from dexvid_envs.errors import OptionError, RenderingUnavailableError

WITHOUT_A_WINDOW = (
    "use render_mode='rgb_array' or `dexvid play ENV --video FILE.mp4` instead, or start it where there is a screen: on a "
    "desktop, through `ssh -X`, or in a virtual one (`sudo apt-get install -y xvfb libgl1`, then `xvfb-run -a COMMAND`)"
)
_PROBE_TIMEOUT_S = 60.0
_CLOSE_TIMEOUT_S = 5.0
_PROBE = """
import os, glfw
assert glfw.init(), "no display can be opened"
glfw.window_hint(glfw.VISIBLE, 0)
assert glfw.create_window(64, 64, "probe", None, None), "no OpenGL window can be made"
os._exit(0)  # what the driver does at exit is of no interest here
"""


class HumanViewer:
    """A window on one model, opened by the first `show` and gone after `close`, or when the user closes it.

    Args:
        model: the model shown; what a reset changes in it (an object's shape) is followed.
        fps: states a second in `show`, at which it keeps real time; None shows as fast as it is called.
        camera: the view to start from, a camera of the model; the user can turn it. None takes MuJoCo's own.

    Raises:
        OptionError: the model has no such camera.
    """

    def __init__(self, model: mujoco.MjModel, *, fps: float | None = 20.0, camera: str | None = "overview") -> None:
        if camera is not None and camera not in camera_names(model):
            raise OptionError(f"unknown camera {camera!r}: expected one of {', '.join(camera_names(model))}")
        self.model, self.camera = model, camera
        self._interval_s = None if fps is None else 1.0 / fps
        self._data: mujoco.MjData | None = None
        self._handle: Any = None
        self._threads: list[threading.Thread] = []  # of the window
        self._closed = False
        self._due_s = -math.inf

    @property
    def is_open(self) -> bool:
        """Whether there is something to show to: false once the window has been closed, by the user or by `close`."""
        return not self._closed and (self._handle is None or bool(self._handle.is_running()))

    def show(self, data: mujoco.MjData) -> bool:
        """Shows a state, then waits until it is time for the next; does nothing once the window is closed.

        Args:
            data: the state, brought up to date (`mj_forward` or a step); it is copied.

        Returns:
            `is_open`.

        Raises:
            RenderingUnavailableError: there is no display to open a window on.
        """
        if not self.is_open:
            self.close()
            return False
        handle = self._handle if self._handle is not None else self._open(data)
        with handle.lock():
            mujoco.mj_copyData(self._data, self.model, data)
        handle.sync()
        self._wait()
        return self.is_open

    def close(self) -> None:
        """Closes the window; calling it again does nothing."""
        self._closed = True
        atexit.unregister(self.close)
        if self._handle is not None:
            self._handle.close()
            self._handle = None
        for thread in self._threads:  # left running, they crash the interpreter at its exit
            thread.join(_CLOSE_TIMEOUT_S)
        self._threads = []

    def _open(self, data: mujoco.MjData) -> Any:
        """Opens the window and returns its handle."""
        why = why_no_window()
        if why:
            raise RenderingUnavailableError(f"no window can be opened ({why}); {WITHOUT_A_WINDOW}")
        import mujoco.viewer

        self._data = mujoco.MjData(self.model)
        mujoco.mj_copyData(self._data, self.model, data)
        before = set(threading.enumerate())
        try:
            handle = mujoco.viewer.launch_passive(self.model, self._data, show_left_ui=False, show_right_ui=False)
        except RuntimeError as error:  # macOS lets windows be opened by its own interpreter alone
            raise RenderingUnavailableError(f"no window can be opened ({error}); {WITHOUT_A_WINDOW}") from error
        if self.camera is not None:
            with handle.lock():
                aim_like(handle.cam, self.model, data, self.camera)
        self._threads = [thread for thread in threading.enumerate() if thread not in before]
        self._handle = handle
        atexit.register(self.close)  # before mujoco's own handlers, where nobody closes it
        return handle

    def _wait(self, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep) -> None:
        """Until one interval after the last state was due; lost time is not made up for."""
        if self._interval_s is None:
            return
        now = clock()
        self._due_s = max(self._due_s + self._interval_s, now)
        if self._due_s > now:
            sleep(self._due_s - now)

    def __enter__(self) -> HumanViewer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def camera_names(model: mujoco.MjModel) -> tuple[str, ...]:
    """The names of a model's cameras."""
    return tuple(model.camera(index).name for index in range(model.ncam))


def aim_like(view: mujoco.MjvCamera, model: mujoco.MjModel, data: mujoco.MjData, camera: str) -> None:
    """Makes a free view look from where a camera of the model is, so that the user can turn it about what is in its middle."""
    eye_world = data.camera(camera).xpos  # (3,) m
    forward_world = -data.camera(camera).xmat.reshape(3, 3)[:, 2]
    distance = max(float(np.dot(model.stat.center - eye_world, forward_world)), 0.1)
    view.type = mujoco.mjtCamera.mjCAMERA_FREE
    view.lookat[:] = eye_world + distance * forward_world
    view.distance = distance
    view.azimuth = math.degrees(math.atan2(forward_world[1], forward_world[0]))
    view.elevation = math.degrees(math.asin(float(np.clip(forward_world[2], -1.0, 1.0))))


def why_no_window() -> str:
    """Why no window can be opened here, in a few words; "" where one can.

    It is really tried, in a process of its own and once: without a display mujoco's viewer waits for ever, and a graphics
    driver may crash instead of failing.
    """
    if platform.system() == "Linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return "neither DISPLAY nor WAYLAND_DISPLAY is set"
    return _probe(os.environ.get("DISPLAY", ""), os.environ.get("WAYLAND_DISPLAY", ""))


@functools.cache
def _probe(display: str, wayland_display: str) -> str:
    command = [sys.executable, "-P", "-W", "ignore", "-c", _PROBE]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PROBE_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if done.returncode == 0:
        return ""
    lines = done.stderr.strip().splitlines()
    reason = lines[-1].strip() if lines else f"the process ended with {done.returncode}"
    return f"DISPLAY is {display!r}: {reason.removeprefix('AssertionError: ')}"
