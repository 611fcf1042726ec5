"""The page: a 3D scene with person, object, key points and robot, the film and curves beside it, and one slider over the time.

Served by viser on the loopback interface only.
"""

from __future__ import annotations

import socket
import threading
import time
from typing import Any

import gymnasium
import mujoco
import numpy as np
from numpy.typing import NDArray

from demos.human_scene import FINGER_RGBA
from demos.interaction import HAND_BONES, Interaction
from demos.view.meshes import body_meshes
from demos.view.story import Story
from dexvid_envs.errors import MissingExtraError
from dexvid_envs.registration import register_environments

FloatArray = NDArray[np.float64]
LOOPBACK = "127.0.0.1"
_STATE = mujoco.mjtState.mjSTATE_INTEGRATION
_OBJECT_RGB, _HIDDEN_RGB = np.array([40, 110, 200], np.uint8), np.array([170, 185, 205], np.uint8)
_KEYPOINT_RGB = (200, 40, 120)
_FILM_PX = 640  # longer side of the film beside the scene
_SPEEDS = ("0.25", "0.5", "1", "2")


def free_port() -> int:
    """A port of the loopback interface that nobody uses now."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


class StoryPage:
    """Serves a story until it is closed.

    Attributes:
        url: where the page is.
        step: what is shown now.

    Args:
        story: what is shown.
        port: on the loopback interface; a free one if None.

    Raises:
        MissingExtraError: viser is not installed.
    """

    def __init__(self, story: Story, port: int | None = None) -> None:
        try:
            import viser
        except ImportError as error:
            raise MissingExtraError(
                "the viewer needs viser: pip install -c constraints.txt -e '.[view]' in the project's checkout"
            ) from error
        self.story = story
        port = port or free_port()
        self.server = viser.ViserServer(host=LOOPBACK, port=port, label=story.title, verbose=False)
        self.url = f"http://{LOOPBACK}:{port}"
        self.step = 0
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._robot = _RobotScene(self.server, story) if story.demonstration is not None else None
        self._person = _PersonScene(self.server, story.interaction) if story.interaction is not None else None
        self._surroundings()
        self._controls()
        self.show(0)
        self._player = threading.Thread(target=self._play, daemon=True)
        self._player.start()

    def show(self, step: int) -> None:
        """Shows a step everywhere."""
        story = self.story
        with self._lock, self.server.atomic():
            self.step = step
            if self._robot is not None:
                self._robot.show(step)
            frame = int(story.frame[step])
            if self._person is not None and frame >= 0:
                self._person.show(frame)
            if self._film is not None and story.film is not None and story.picture[step] >= 0:
                self._film.image = _reduced(story.film.rgb(int(story.picture[step])))
            figures = [
                f"{curve.name}: **{curve.values[step]:.3g}**" for curve in story.curves if np.isfinite(curve.values[step])
            ]
            when = f"step {step} of {story.num_steps - 1}, {step / story.rate_hz:.2f} s"
            beside = "" if frame >= 0 or self._person is None else "the film has no picture of this moment"
            self._figures.content = "\n\n".join(line for line in (when, *figures, beside) if line)

    def close(self) -> None:
        """Ends the page."""
        self._ended.set()
        self._player.join(timeout=2.0)
        self.server.stop()
        self.story.close()

    def wait(self) -> None:
        """Until it is interrupted."""
        while not self._ended.wait(0.2):
            pass

    # ---- parts ------------------------------------------------------------------------------------------------------

    def _surroundings(self) -> None:
        scene = self.server.scene
        scene.set_up_direction("+z")
        if self._robot is None:
            scene.add_grid("/table", width=2.0, height=2.0, cell_size=0.1, section_size=0.5, plane_opacity=0.6)
        look_at = self._middle()
        camera = self.server.initial_camera
        camera.look_at, camera.position = tuple(look_at), tuple(look_at + np.array([0.55, -0.75, 0.45]))

    def _middle(self) -> FloatArray:
        """(3,) m where it happens."""
        if self.story.demonstration is not None:
            return np.median(self.story.demonstration.object_pos_world, axis=0)
        assert self.story.interaction is not None
        return np.nanmedian(self.story.interaction.hand_keypoints_world.reshape(-1, 3), axis=0)

    def _controls(self) -> None:
        gui, story = self.server.gui, self.story
        gui.configure_theme(control_width="large", show_logo=False, show_share_button=False)
        gui.main_panel.dock_right()
        gui.add_markdown(f"**{story.title}**")
        self._film = None
        if story.film is not None:
            first = next(int(number) for number in story.picture if number >= 0)
            self._film = gui.add_image(_reduced(story.film.rgb(first)), label="film", format="jpeg")
        self.slider = gui.add_slider("step", min=0, max=story.num_steps - 1, step=1, initial_value=0)
        self.slider.on_update(lambda _: self.show(int(self.slider.value)))
        self.playing = gui.add_checkbox("play", initial_value=False)
        self.speed = gui.add_dropdown("speed", options=_SPEEDS, initial_value="1")
        self._figures = gui.add_markdown("")
        with gui.add_folder("show"):
            parts = [] if self._person is None else self._person.parts()
            for name, handles in (*parts, *([] if self._robot is None else self._robot.parts())):
                box = gui.add_checkbox(name, initial_value=True)
                box.on_update(lambda _, box=box, handles=handles: _set_visible(handles, box.value))
        time_s = np.arange(story.num_steps) / story.rate_hz
        for curve, colour in zip(story.curves, ("#c2410c", "#2563eb", "#15803d"), strict=False):
            if np.isfinite(curve.values).any():
                self._plot(time_s, curve.name, curve.values, colour)

    def _plot(self, time_s: FloatArray, name: str, values: FloatArray, colour: str) -> None:
        from viser import uplot

        known = np.isfinite(values)
        self.server.gui.add_uplot(
            data=(time_s[known], np.asarray(values[known], dtype=np.float64)),
            series=(uplot.Series(label="s"), uplot.Series(label=name, stroke=colour, width=2)),
            scales={"x": uplot.Scale(time=False, auto=True), "y": uplot.Scale(auto=True)},
            title=name,
            aspect=2.6,
        )

    def _play(self) -> None:
        while not self._ended.is_set():
            began = time.monotonic()
            if self.playing.value:
                following = self.step + 1
                self.slider.value = following if following < self.story.num_steps else 0  # shows it, too
            pause = 1.0 / (self.story.rate_hz * float(self.speed.value)) if self.playing.value else 0.1
            self._ended.wait(max(0.0, pause - (time.monotonic() - began)))


class _RobotScene:
    """The environment of a demonstration in its stored states."""

    def __init__(self, server: Any, story: Story) -> None:
        register_environments()
        assert story.demonstration is not None
        self.demonstration = story.demonstration
        env: Any = gymnasium.make(self.demonstration.env_id, **dict(self.demonstration.env_options)).unwrapped
        env.reset(options=self.demonstration.reset_options(0))  # gives the model the episode's object
        self.model, self.data = env.model, mujoco.MjData(env.model)
        moved = self.model.body(env.task.moved_body).id
        self._handles: list[tuple[int, Any]] = []
        self._object_handles: list[Any] = []
        for mesh in body_meshes(self.model):
            colour = tuple(round(255 * value) for value in mesh.rgba[:3])
            handle = server.scene.add_mesh_simple(
                f"/world/{mesh.name}",
                mesh.vertices.astype(np.float32),
                mesh.faces.astype(np.uint32),
                color=colour,
                opacity=mesh.rgba[3] if mesh.rgba[3] < 1.0 else None,
                flat_shading=True,
            )
            self._handles.append((mesh.body, handle))
            if mesh.body == moved:
                self._object_handles.append(handle)

    def parts(self) -> list[tuple[str, list[Any]]]:
        """What can be hidden."""
        robot = [handle for body, handle in self._handles if body and handle not in self._object_handles]
        return [("robot", robot), ("simulated object", self._object_handles)]

    def show(self, step: int) -> None:
        """Puts all bodies where they were."""
        mujoco.mj_setState(self.model, self.data, self.demonstration.states[step], _STATE)
        mujoco.mj_kinematics(self.model, self.data)
        for body, handle in self._handles:
            handle.position, handle.wxyz = tuple(self.data.xpos[body]), tuple(self.data.xquat[body])


class _PersonScene:
    """Hand, object points and key points of a recording."""

    def __init__(self, server: Any, interaction: Interaction) -> None:
        self.interaction = interaction
        colours = np.array([FINGER_RGBA[(child - 1) // 4 + 1][:3] for _, child in HAND_BONES])
        bones = np.repeat((255 * colours).astype(np.uint8)[:, None], 2, axis=1)
        scene = server.scene
        self.hand = scene.add_line_segments("/person/hand", self._bones(0), bones, thickness=0.008)
        points, visible = self._object(0)
        self.points = scene.add_point_cloud(
            "/person/object", points, visible, point_size=0.006, point_shape="circle", precision="float32"
        )
        self.keypoints = None
        if interaction.keypoints_world.shape[1]:
            self.keypoints = scene.add_point_cloud(
                "/person/keypoints",
                self._keypoints(0),
                _KEYPOINT_RGB,
                point_size=0.014,
                point_shape="diamond",
                precision="float32",
            )

    def parts(self) -> list[tuple[str, list[Any]]]:
        """What can be hidden."""
        known = [("hand", [self.hand]), ("object points", [self.points])]
        return known + ([("key points", [self.keypoints])] if self.keypoints is not None else [])

    def show(self, frame: int) -> None:
        """Shows a frame."""
        self.hand.points = self._bones(frame)
        self.points.points, self.points.colors = self._object(frame)
        if self.keypoints is not None:
            self.keypoints.points = self._keypoints(frame)

    def _bones(self, frame: int) -> NDArray[np.float32]:
        hand = np.nan_to_num(self.interaction.hand_keypoints_world[frame], nan=-10.0)
        return hand[np.array(HAND_BONES)].astype(np.float32)

    def _object(self, frame: int) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        points = np.nan_to_num(self.interaction.object_points_world[frame], nan=-10.0).astype(np.float32)
        seen = self.interaction.object_visible[frame][:, None]
        return points, np.where(seen, _OBJECT_RGB, _HIDDEN_RGB)

    def _keypoints(self, frame: int) -> NDArray[np.float32]:
        return np.nan_to_num(self.interaction.keypoints_world[frame], nan=-10.0).astype(np.float32)


def _set_visible(handles: list[Any], visible: bool) -> None:
    for handle in handles:
        handle.visible = visible


def _reduced(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    step = -(-max(rgb.shape[:2]) // _FILM_PX)
    return np.ascontiguousarray(rgb[::step, ::step])
