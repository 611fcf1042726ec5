"""Off-screen rendering: finds a graphics library that really works (EGL, then OSMesa) and makes MuJoCo renderers on it.

`MUJOCO_GL` decides when it is set. Otherwise each library is tried once in a process of its own, and only when something is
rendered, because a graphics driver may crash instead of failing. It does not matter whether mujoco was imported before: the
context class is handed to each renderer as it is made, and neither mujoco's nor the process's own choice is changed.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import importlib
import os
import platform
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dexvid_envs.errors import RenderingUnavailableError

if TYPE_CHECKING:
    import mujoco

HEADLESS_BACKENDS = ("egl", "osmesa")  # in the order in which they are tried
INSTALL_HINT = (
    "install one, for example with `sudo apt-get install -y libegl1 libgl1`, else `libosmesa6` (Debian, Ubuntu), or with "
    "`sudo dnf install mesa-libEGL mesa-libOSMesa` (Fedora); everything but rendering works without"
)

_CONTEXT_MODULES = {
    "egl": "mujoco.egl",
    "osmesa": "mujoco.osmesa",
    "glfw": "mujoco.glfw",
    "glx": "mujoco.glfw",
    "wgl": "mujoco.glfw",
    "cgl": "mujoco.cgl",
}
_CHOOSE_BY_ITSELF = ("", "1", "on", "true", "enable", "enabled")
_SWITCHED_OFF = ("0", "off", "false", "disable", "disabled")
_PROBE_TIMEOUT_S = 60.0
_PROBE = """
import os, mujoco
model = mujoco.MjModel.from_xml_string("<mujoco><worldbody><light pos='0 0 3'/><geom size='.1'/></worldbody></mujoco>")
data = mujoco.MjData(model)
mujoco.mj_forward(model, data)
renderer = mujoco.Renderer(model, 16, 16)
renderer.update_scene(data)
assert renderer.render().max() > 0, "the picture is black"
from OpenGL import GL
print(GL.glGetString(GL.GL_RENDERER).decode(), flush=True)
os._exit(0)  # what the driver does at exit is of no interest here
"""


@dataclass(frozen=True)
class Probe:
    """What trying a backend gave.

    Attributes:
        usable: whether a picture was rendered.
        detail: the device's name, or why it failed.
    """

    usable: bool
    detail: str


@functools.cache
def probe_backend(backend: str) -> Probe:
    """Renders a tiny picture with `backend` ("egl", "osmesa") in a new process, once per process (about 0.5 s)."""
    environment = {name: value for name, value in os.environ.items() if name != "PYOPENGL_PLATFORM"}
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", _PROBE],
            env=environment | {"MUJOCO_GL": backend},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PROBE_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Probe(False, str(error))
    if done.returncode == 0:
        return Probe(True, done.stdout.strip())
    lines = done.stderr.strip().splitlines()
    return Probe(False, lines[-1].strip() if lines else f"the process ended with {done.returncode}")


def choose_backend() -> str | None:
    """The backend to render with: `MUJOCO_GL` if it is set, else the first of EGL and OSMesa that works.

    Returns:
        A value that `MUJOCO_GL` takes, or None where nothing works or `MUJOCO_GL` switches rendering off. A value that the user
        has set is returned untried.

    Raises:
        RenderingUnavailableError: `MUJOCO_GL` is set to something unknown.
    """
    requested = os.environ.get("MUJOCO_GL", "").lower().strip()
    if requested in _SWITCHED_OFF:
        return None
    if requested in _CONTEXT_MODULES:
        return requested
    if requested not in _CHOOSE_BY_ITSELF:
        expected = ", ".join((*HEADLESS_BACKENDS, "glfw"))
        raise RenderingUnavailableError(
            f"MUJOCO_GL is {requested!r}; expected one of {expected}, or unset it to have the renderer chosen"
        )
    if platform.system() == "Darwin":
        return "cgl"
    if platform.system() == "Windows":
        return "wgl"
    return next((backend for backend in HEADLESS_BACKENDS if probe_backend(backend).usable), None)


def make_renderer(model: mujoco.MjModel, height: int = 480, width: int = 640, *, fast: bool = False) -> Any:
    """Makes a renderer on the chosen backend; it is closed in good order at exit, also when nobody closes it.

    The image may be larger than the model's own off-screen buffer (`<global offwidth=... offheight=...>`).

    Args:
        model: the model to draw.
        height: of the image [px].
        width: of the image [px].
        fast: without shadows and smoothed edges, which cost most of the time in software.

    Returns:
        A `mujoco.Renderer` that has also `render_rgbd`.

    Raises:
        RenderingUnavailableError: there is no backend, or the one asked for by `MUJOCO_GL` fails.
    """
    backend = choose_backend()
    if backend is None:
        raise RenderingUnavailableError(_why_unavailable())
    try:
        with _mujoco_context(backend), _buffer_size(model, height, width, smooth=not fast):
            renderer = _renderer_class()(model, height, width)
    except Exception as error:  # PyOpenGL and the drivers raise nearly anything, AttributeError among it
        raise RenderingUnavailableError(
            f"the off-screen renderer {backend!r} failed ({type(error).__name__}: {_first_line(error)}); "
            + ("unset MUJOCO_GL to have one chosen, or " if os.environ.get("MUJOCO_GL") else "")
            + INSTALL_HINT
        ) from error
    if fast:
        import mujoco

        renderer.scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = False
    _close_at_exit(renderer)
    return renderer


@functools.cache
def _renderer_class() -> type[Any]:
    """mujoco's renderer, but one that frees its textures in its own context, and gives colour and depth of one drawing.

    mujoco's frees them in whichever context is current, so that closing one renderer turned the pictures of another to garbage.
    """
    import mujoco

    class Renderer(mujoco.Renderer):
        def show(self, model: mujoco.MjModel, data: mujoco.MjData, camera: str) -> None:
            """`update_scene` for a variant of the model with the same meshes, such as one row of a batch."""
            shown = mujoco.MjvCamera()
            shown.type, shown.fixedcamid = mujoco.mjtCamera.mjCAMERA_FIXED, model.camera(camera).id
            category = mujoco.mjtCatBit.mjCAT_ALL
            # The scene is laid out as seen by the camera that it has: without this, by that of the picture before.
            mujoco.mjv_updateCamera(model, data, shown, self._scene)
            mujoco.mjv_updateScene(model, data, self._scene_option, None, shown, category, self._scene)

        def render_rgbd(self) -> tuple[np.ndarray, np.ndarray]:
            """(H, W, 3) uint8 colours and (H, W, 1) float32 m depth along the optical axis, from one drawing."""
            if self._gl_context:
                self._gl_context.make_current()
            colours = np.empty((self._height, self._width, 3), dtype=np.uint8)
            reading = np.empty((self._height, self._width), dtype=np.float32)  # 1 at the near plane, 0 at the far one
            mujoco.mjr_render(self._rect, self._scene, self._mjr_context)
            mujoco.mjr_readPixels(colours, reading, self._rect, self._mjr_context)
            near, far = (plane * self._model.stat.extent for plane in (self._model.vis.map.znear, self._model.vis.map.zfar))
            depth = near * far / (near + reading.astype(np.float64) * (far - near))
            flip = slice(None, None, -1) if self._gl_context else slice(None)
            return np.ascontiguousarray(colours[flip]), depth[flip, :, None].astype(np.float32)

        def close(self) -> None:
            if self._mjr_context and self._gl_context:
                self._gl_context.make_current()
            super().close()

    return Renderer


class OffscreenRenderer:
    """Pictures of a fixed size from any model; the graphics context is made at the first picture and again for another model.

    Attributes:
        height: of the images [px].
        width: of the images [px].
    """

    def __init__(self, height: int = 480, width: int = 640) -> None:
        self.height = height
        self.width = width
        self._renderer: mujoco.Renderer | None = None

    def render(
        self,
        model: mujoco.MjModel,
        data: mujoco.MjData,
        camera: int | str | mujoco.MjvCamera = -1,
        scene_option: mujoco.MjvOption | None = None,
    ) -> np.ndarray:
        """Draws the state in `data`, which the caller has brought up to date (`mj_forward`).

        Args:
            model: the model that `data` belongs to.
            data: the state to draw.
            camera: number or name of one of the model's cameras, a free camera, or -1 for the model's default view.
            scene_option: which groups and decorations are drawn.

        Returns:
            A new array (height, width, 3) uint8, RGB.
        """
        renderer = self._renderer
        if renderer is None or renderer.model is not model:
            self.close()
            renderer = self._renderer = make_renderer(model, self.height, self.width)
        renderer.update_scene(data, camera=camera, scene_option=scene_option)
        return renderer.render()

    def close(self) -> None:
        """Gives the graphics context back; a later `render` makes a new one."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None

    def __enter__(self) -> OffscreenRenderer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _why_unavailable() -> str:
    """One sentence on what was tried and what to do."""
    requested = os.environ.get("MUJOCO_GL", "")
    if requested.lower().strip() in _SWITCHED_OFF:
        return f"MUJOCO_GL is {requested!r}, which switches rendering off; unset it to have the renderer chosen"
    tried = "; ".join(f"{backend}: {probe_backend(backend).detail}" for backend in HEADLESS_BACKENDS)
    return f"rendering needs an off-screen OpenGL library and none works here ({tried}); {INSTALL_HINT}"


def _first_line(error: Exception) -> str:
    """The start of an error's text; some of PyOpenGL's errors cannot even be printed."""
    try:
        return (str(error).strip().splitlines() or ["no message"])[0]
    except Exception:
        return "no message"


_context_lock = threading.Lock()


@contextlib.contextmanager
def _mujoco_context(backend: str) -> Iterator[None]:
    """Lets renderers made inside use `backend`, whatever mujoco chose when it was imported."""
    gl_context: Any = importlib.import_module("mujoco.rendering.classic.gl_context")
    with _context_lock:
        context_class = _context_class(backend)
        missing = object()
        before = getattr(gl_context, "GLContext", missing)
        gl_context.GLContext = context_class
        try:
            yield
        finally:
            if before is missing:
                del gl_context.GLContext
            else:
                gl_context.GLContext = before


def _context_class(backend: str) -> type:
    """mujoco's class of graphics contexts for `backend`.

    The modules of mujoco read and set PYOPENGL_PLATFORM as they are imported. It is put back afterwards, so that it neither
    contradicts the backend nor decides for child processes.
    """
    before = os.environ.pop("PYOPENGL_PLATFORM", None)
    try:
        return importlib.import_module(_CONTEXT_MODULES[backend]).GLContext
    finally:
        os.environ.pop("PYOPENGL_PLATFORM", None)
        if before is not None:
            os.environ["PYOPENGL_PLATFORM"] = before


@contextlib.contextmanager
def _buffer_size(model: mujoco.MjModel, height: int, width: int, *, smooth: bool) -> Iterator[None]:
    """Makes the off-screen buffer of a renderer made inside large enough, and leaves the model as it was."""
    size: Any = model.vis.global_
    quality: Any = model.vis.quality
    before = (size.offheight, size.offwidth, quality.offsamples)
    size.offheight, size.offwidth = max(before[0], height), max(before[1], width)
    quality.offsamples = before[2] if smooth else 0
    try:
        yield
    finally:
        size.offheight, size.offwidth, quality.offsamples = before


_open_renderers: weakref.WeakSet[Any] = weakref.WeakSet()


def _close_all() -> None:
    for renderer in list(_open_renderers):
        renderer.close()


def _close_at_exit(renderer: mujoco.Renderer) -> None:
    """Closes `renderer` before mujoco's own exit handler ends EGL, after which freeing a context would print a traceback."""
    _open_renderers.add(renderer)
    atexit.unregister(_close_all)
    atexit.register(_close_all)  # the last one registered runs first
