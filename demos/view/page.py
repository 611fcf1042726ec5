"""The page: a 3D scene with person, objects and robot, the film and curves beside it, and one slider over the time.

The robot is shown in one of its stages, or not at all. Served by viser on the loopback interface only.
"""

from __future__ import annotations

import itertools
import threading
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demos.view.person_scene import PersonScene
from demos.view.robot_scene import RobotScene
from demos.view.stages import Stage, fingertips
from demos.view.story import Story
from dexvid_envs.errors import MissingExtraError, OptionError

FloatArray = NDArray[np.float64]
LOOPBACK = "127.0.0.1"
#: The choice in which no robot is shown.
EXTRACTION = "extraction alone"
_FILM_PX = 640  # longer side of the film beside the scene
_SPEEDS = ("0.25", "0.5", "1", "2")
_COLOURS = ("#c2410c", "#2563eb", "#15803d", "#7c3aed", "#b45309")


class StoryPage:
    """Serves a story until it is closed.

    Attributes:
        url: where the page is.
        step: what is shown now.
        stage: of the robot; None where it is not shown.
        robot, person: their parts of the scene; None where there is none.

    Args:
        story: what is shown.
        port: on the loopback interface; a free one if None.

    Raises:
        MissingExtraError: viser is not installed.
        OptionError: the port is taken.
    """

    def __init__(self, story: Story, port: int | None = None) -> None:
        try:
            import viser
        except ImportError as error:
            raise MissingExtraError(
                "the viewer needs viser: pip install -c constraints.txt -e '.[view]' in the project's checkout"
            ) from error
        self.story = story
        self.server = viser.ViserServer(host=LOOPBACK, port=port or 0, label=story.title, verbose=False)  # 0: any free one
        bound = self.server.get_port()
        if port is not None and bound != port:  # viser goes on to the next free one
            self.server.stop()
            raise OptionError(f"--port {port} is taken; expected a free one; leave it out to have one chosen")
        self.url = f"http://{LOOPBACK}:{bound}"
        self.step = 0
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self.robot = RobotScene(self.server, story) if story.stages else None
        self.person = PersonScene(self.server, story.interaction) if story.interaction is not None else None
        self.stage: Stage | None = story.stages[-1] if story.stages else None
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
            if self.robot is not None and self.stage is not None:
                self.robot.show(step, self.stage)
            frame = int(story.frame[step])
            if self.person is not None and frame >= 0:
                self.person.show(frame)
            picture = int(story.picture[step])
            if self._film is not None and story.film is not None and picture >= 0 and picture != self._pictured:
                self._film.image, self._pictured = _reduced(story.film.rgb(picture)), picture
            figures = [
                f"{curve.name}: **{curve.values[step]:.3g}**" for curve in story.curves if np.isfinite(curve.values[step])
            ]
            when = f"step {step} of {story.num_steps - 1}, {step / story.rate_hz:.2f} s"
            beside = "" if frame >= 0 or self.person is None else "the film has no picture of this moment"
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
        if self.robot is None:
            scene.add_grid("/table", width=2.0, height=2.0, cell_size=0.1, section_size=0.5, plane_opacity=0.6)
        look_at = self._middle()
        camera = self.server.initial_camera
        camera.look_at, camera.position = tuple(look_at), tuple(look_at + np.array([0.42, -0.58, 0.34]))

    def _middle(self) -> FloatArray:
        """(3,) m where it happens."""
        story = self.story
        if story.world is not None:
            return np.median(story.world.object_pos_world, axis=0)
        if story.interaction is not None:
            return np.nanmedian(story.interaction.hand_keypoints_world.reshape(-1, 3), axis=0)
        qpos = story.stages[-1].qpos
        assert qpos is not None
        return np.median([fingertips(row).mean(axis=0) for row in qpos], axis=0)

    def _controls(self) -> None:
        gui, story = self.server.gui, self.story
        gui.configure_theme(control_width="large", show_logo=False, show_share_button=False)
        gui.main_panel.dock_right()
        gui.add_markdown(f"**{story.title}**")
        self._film, self._pictured = None, -1
        if story.film is not None:
            self._pictured = next(int(number) for number in story.picture if number >= 0)
            self._film = gui.add_image(_reduced(story.film.rgb(self._pictured)), label="film", format="jpeg")
        self.slider = gui.add_slider("step", min=0, max=story.num_steps - 1, step=1, initial_value=0)
        self.slider.on_update(lambda _: self.show(int(self.slider.value)))
        self.playing = gui.add_checkbox("play", initial_value=False)
        self.speed = gui.add_dropdown("speed", options=_SPEEDS, initial_value="1")
        self._figures = gui.add_markdown("")
        self._stages = {stage.name: stage for stage in story.stages}
        names = [*([] if self.person is None else [EXTRACTION]), *self._stages] if story.stages else []
        if len(names) > 1:
            self.chosen = gui.add_dropdown("stage", options=names, initial_value=names[-1])
            self.chosen.on_update(lambda _: self._choose(self.chosen.value))
        with gui.add_folder("show"):
            for name, handles in [] if self.person is None else self.person.parts():
                box = gui.add_checkbox(name, initial_value=True)
                box.on_update(lambda _, box=box, handles=handles: _set_visible(handles, box.value))
            self._boxes: dict[str, Any] = {}
            for name, handles in self._robot_parts():
                if handles:
                    self._boxes[name] = gui.add_checkbox(name, initial_value=True)
                    self._boxes[name].on_update(lambda _: self._show_robot_parts())
        time_s = np.arange(story.num_steps) / story.rate_hz
        for curve, colour in zip(story.curves, itertools.cycle(_COLOURS), strict=False):
            if np.isfinite(curve.values).any():
                self._plot(time_s, curve.name, curve.values, colour)

    def _robot_parts(self) -> list[tuple[str, list[Any]]]:
        """What of the robot's world can be hidden."""
        return [] if self.robot is None else [("robot", self.robot.robot), ("simulated object", self.robot.object)]

    def _choose(self, name: str) -> None:
        """Shows another stage at the same step."""
        self.stage = self._stages.get(name)
        self._show_robot_parts()
        self.show(self.step)

    def _show_robot_parts(self) -> None:
        """A robot has to have a stage, its object to be simulated in it, and both their boxes checked."""
        simulated = self.stage is not None and self.stage.states is not None
        there = {"robot": self.stage is not None, "simulated object": simulated}
        for name, handles in self._robot_parts():
            _set_visible(handles, there[name] and name in self._boxes and bool(self._boxes[name].value))

    def _plot(self, time_s: FloatArray, name: str, values: FloatArray, colour: str) -> None:
        from viser import uplot

        known = np.isfinite(values)
        self.server.gui.add_uplot(
            data=(time_s[known], np.asarray(values[known], dtype=np.float64)),
            series=(uplot.Series(label="s"), uplot.Series(label=name, stroke=colour, width=2)),
            scales={"x": uplot.Scale(time=False, auto=True), "y": uplot.Scale(auto=True)},
            title=name,
            legend=uplot.Legend(show=False),
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


def _set_visible(handles: list[Any], visible: bool) -> None:
    for handle in handles:
        handle.visible = visible


def _reduced(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    step = -(-max(rgb.shape[:2]) // _FILM_PX)
    return np.ascontiguousarray(rgb[::step, ::step])
