"""Puts an observation together: the mode's parts, seen through noise and delay, and the privileged vector beside them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import mujoco
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from dexvid_envs.errors import OptionError
from dexvid_envs.kernels import all_smaller
from dexvid_envs.observations import (
    Gather,
    ObjectPoints,
    Observation,
    ObservationField,
    PointVisibility,
    Sources,
    SourceVector,
    repeat_visible,
)
from dexvid_envs.options import EnvironmentOptions
from dexvid_envs.randomization import PICTURED, Randomizer
from dexvid_envs.relative import RelativeState
from dexvid_envs.rgbd import FAR_M, RgbdCameras
from dexvid_envs.simulation import Rows, Simulation
from dexvid_envs.tasks.task import Task

FloatArray = NDArray[np.float64]
#: Points of the robot's hand; the tips are named as those of a person are by extraction from videos.
HAND_KEYPOINT_NAMES = ("palm", "thumb_tip", "index_tip", "middle_tip", "ring_tip")
#: A number from which on MuJoCo takes a simulation for unstable.
_HUGE = float(mujoco.mjMAXVAL)
#: Of mass (kg), friction factor, disturbance force (N), share held; values outside are clipped.
_PRIVILEGED_BOUNDS = np.array([10.0, 10.0, 20.0, 20.0, 20.0, 1.0], dtype=np.float32)


class Observer:
    """Observations of N environments in one of the modes.

    Attributes:
        space: of one environment's observation.
        fields: the named parts, in the order of the `state` observation.
        relative: what follows them with `relative=True`; else None.
    """

    def __init__(self, task: Task, simulation: Simulation, randomizer: Randomizer, options: EnvironmentOptions) -> None:
        self._task, self._simulation, self._randomizer, self._options = task, simulation, randomizer, options
        self._check_cameras((options.point_camera, *options.cameras))
        self.fields = task.observation_fields()
        self.sources = SourceVector(simulation, task.memory, self.fields, simulation.model.body(task.moved_body).id)
        self._find_perceived_columns()
        self._state = Gather(self.fields, self.sources)
        self._proprioception = Gather(self._with_role("proprioception"), self.sources)
        self._goal = Gather(self._with_role("goal"), self.sources)
        parts: dict[str, spaces.Space[Any]] = {"proprioception": self._proprioception.space, "goal": self._goal.space}
        self.relative: RelativeState | None = None
        if options.relative:
            self.relative = RelativeState(self.fields, self.sources, simulation.model.body(task.moved_body).id)
        if options.observation_mode == "state":
            parts = {"state": self._state.space if self.relative is None else _joined(self._state.space, self.relative.space)}
        elif options.observation_mode == "pointcloud":
            parts |= self._add_points()
        elif options.observation_mode == "keypoints":
            parts |= self._add_keypoints()
        else:
            parts |= self._add_images()
        if options.privileged:
            low = np.concatenate([self._state.space.low, -_PRIVILEGED_BOUNDS])
            high = np.concatenate([self._state.space.high, _PRIVILEGED_BOUNDS])
            parts["privileged"] = spaces.Box(low, high, dtype=np.float32)
        self.flat = list(parts) == ["state"]
        self.space: spaces.Space[Any] = parts["state"] if self.flat else spaces.Dict(parts)
        self._values = self.sources.read()
        self._held_back = self.delayed_columns

    @property
    def delayed_columns(self) -> dict[str, NDArray[np.int64]]:
        """Columns of the source vector that an observation delay holds back: of the object and, for pictures, all positions."""
        held = {"seen": self._object_columns}
        if self._options.observation_mode == "rgbd":
            held[PICTURED] = np.arange(self.sources.size)[self.sources.columns("qpos", 0, self._simulation.model.nq)]
        return held

    @property
    def meanings(self) -> dict[str, str]:
        """What each part of the observation is, for the documentation, by the keys of a Dict space."""
        options = self._options
        texts = {
            "state": "the vector of the `state` mode" + (", then that of `relative=True`" if self.relative else ""),
            "proprioception": f"the robot itself: {_listed(self._with_role('proprioception'))}",
            "goal": f"the goal: {_listed(self._with_role('goal'))}",
            "points": f"surface points of the `{self._task.moved_body}` in the world, m; the same points in the same order at "
            "every step"
            + ("; unseen ones repeat seen ones, or are 0 where none is seen" if options.points == "partial" else ""),
            "keypoints": "points in the world, m, one row each: " + ", ".join(f"`{name}`" for name in self.keypoint_names),
            "visible": f"1 where the camera `{options.point_camera}` sees the point that belongs here",
            "privileged": "the true state, without noise or delay, then mass of the handled body (kg), factor on its friction, "
            "disturbance force on it (x, y, z in the world, N), share of `hold_steps` for which the criterion has held",
        }
        for camera in options.cameras:
            texts[f"rgb_{camera}"] = f"colours that the camera `{camera}` sees"
            texts[f"depth_{camera}"] = (
                f"depth along that camera's axis, m; what is farther than {FAR_M:g} m stands at {FAR_M:g}"
            )
        return {name: texts[name] for name in (["state"] if self.flat else self.space)}  # type: ignore[union-attr]

    def see(self, rows: Rows | None = None) -> None:
        """Reads the present state; the sensors of `rows` (None: all) take it in."""
        self.sources.read()
        if self._randomizer.delays:
            rows = np.arange(len(self._values)) if rows is None else rows
            self._randomizer.see(self._values, self._held_back, rows)

    def all_stable(self) -> bool:
        """Whether no number of the state that was read is NaN or huge, as MuJoCo understands it."""
        return all_smaller(self._values, _HUGE)

    def stable(self) -> NDArray[np.bool_]:
        """(N,) whether no number of the state that was read is NaN or huge."""
        return np.maximum.reduce(np.abs(self._values), axis=-1) < _HUGE

    def observe(self, rows: Rows | None = None) -> Observation:
        """The observation of the state that was read, with leading axis N, or that of `rows` where only theirs is wanted."""
        seen = values = self._values
        if self._randomizer.perceives:
            seen = self._randomizer.perceive(values, self._joint_columns, self._object_columns, self._place_columns)
        if self.flat:
            flat = self._seen_state(seen)
            return flat if rows is None else flat[rows]
        parts: dict[str, NDArray[Any]]
        if self._options.observation_mode == "state":
            parts = {"state": self._seen_state(seen)}
        else:
            parts = {"proprioception": self._proprioception(seen), "goal": self._goal(seen)}
            if self._options.observation_mode == "pointcloud":
                parts |= self._observe_points(seen, values)
            elif self._options.observation_mode == "keypoints":
                parts |= self._observe_keypoints(seen)
        if self._options.privileged:
            parts["privileged"] = self._privileged(values)
        if rows is not None:
            parts = {name: part[rows] for name, part in parts.items()}
        if self._options.observation_mode == "rgbd":
            parts |= self._observe_pictures(range(len(values)) if rows is None else rows)
        return parts

    def close(self) -> None:
        """Frees the renderer."""
        if self._options.observation_mode == "rgbd":
            self._cameras.close()

    def _seen_state(self, seen: FloatArray) -> NDArray[np.float32]:
        state = self._state(seen)
        return state if self.relative is None else np.concatenate([state, self.relative(seen)], axis=-1)

    # ---- parts ------------------------------------------------------------------------------------------------------

    def _with_role(self, role: str) -> list[ObservationField]:
        return [field for field in self.fields if field.role == role]

    def _find_perceived_columns(self) -> None:
        """Which columns noise and delay act on: everything that tells of the object and not of the robot or the goal."""

        def columns(role: str) -> set[int]:
            sources = [source for field in self._with_role(role) for source in (field.of, field.minus) if source is not None]
            return {int(place) for source in sources for place in self.sources.places(source)}

        body = self._simulation.model.body(self._task.moved_body).id
        pose = {*range(*self.sources.columns("xpos", 3 * body, 3).indices(self.sources.size))}
        pose |= {*range(*self.sources.columns("xmat", 9 * body, 9).indices(self.sources.size))}
        about_object = (columns("object") | pose) - columns("proprioception") - columns("goal")
        self._object_columns = np.array(sorted(about_object), dtype=np.int64)
        places = [column for column in sorted(about_object) if self.sources.array_at(column) in ("xpos", "site_xpos")]
        self._place_columns = np.array(places, dtype=np.int64)
        position = next(field for field in self.fields if field.name == "joint_position")
        self._joint_columns = self.sources.places(position.of)

    def _add_points(self) -> dict[str, spaces.Space[Any]]:
        task, count = self._task, self._task.config.num_points
        body = self._simulation.model.body(task.moved_body).id
        self._points = ObjectPoints(task.surface_points, body, self.sources, count)
        parts: dict[str, spaces.Space[Any]] = {"points": self._points.space}
        self._visibility = None
        if self._options.points == "partial":
            self._visibility = PointVisibility(self._simulation, self._options.point_camera, count)
            parts["visible"] = self._visibility.space
        return parts

    def _observe_points(self, seen: FloatArray, values: FloatArray) -> dict[str, NDArray[Any]]:
        points = self._points(seen)
        if self._visibility is None:
            return {"points": self._points.clipped(points)}
        # Rays meet the object where it is, not where it seems to be.
        visible = self._visibility(points if seen is values else self._points(values))
        return {"points": self._points.clipped(repeat_visible(points, visible)), "visible": visible}

    @property
    def keypoint_names(self) -> tuple[str, ...]:
        """Rows of the part `keypoints`, whether or not the mode has it."""
        return (*HAND_KEYPOINT_NAMES, *self._task.object_keypoint_names)

    def _add_keypoints(self) -> dict[str, spaces.Space[Any]]:
        task, model = self._task, self._simulation.model
        body = model.body(task.moved_body).id
        sites = Sources(model).site_positions(["palm", *(task.robot.fingertip_sites[i] for i in (3, 0, 1, 2))])
        field = ObservationField("hand", -ObjectPoints.BOUND_M, ObjectPoints.BOUND_M, "", "proprioception", sites)
        self._hand_keypoints = Gather([field], self.sources)
        self._object_keypoints = ObjectPoints(task.object_keypoints, body, self.sources, len(task.object_keypoint_names))
        bound = ObjectPoints.BOUND_M
        return {"keypoints": spaces.Box(-bound, bound, (len(self.keypoint_names), 3), dtype=np.float32)}

    def _observe_keypoints(self, seen: FloatArray) -> dict[str, NDArray[Any]]:
        hand = self._hand_keypoints(seen).reshape(len(seen), -1, 3)
        points = self._object_keypoints.clipped(self._object_keypoints(seen))
        return {"keypoints": np.concatenate([hand, points], axis=1)}

    def _add_images(self) -> dict[str, spaces.Space[Any]]:
        options = self._options
        self._cameras = RgbdCameras(options.cameras, options.image_height, options.image_width)
        return self._cameras.spaces()

    def _observe_pictures(self, rows: Iterable[int]) -> dict[str, NDArray[Any]]:
        late = self._randomizer.late(PICTURED) if self._randomizer.delays else None
        pictures = self._cameras.render(self._simulation, rows, late)
        self._randomizer.blur({name: part for name, part in pictures.items() if name.startswith("depth_")}, rows, FAR_M)
        return pictures

    def _check_cameras(self, names: tuple[str, ...]) -> None:
        model = self._simulation.model
        known = [model.camera(index).name for index in range(model.ncam)]
        for name in names:
            if name not in known:
                raise OptionError(f"unknown camera {name!r}: expected one of {', '.join(known)}")

    def _privileged(self, values: FloatArray) -> NDArray[np.float32]:
        """The true state, then the object's mass (kg), the friction factor, the disturbance force (N), the share held."""
        task, body = self._task, self._simulation.model.body(self._task.moved_body).id
        held = np.minimum(task.memory["held_steps"] / task.config.hold_steps, 1.0)
        force = self._simulation.xfrc_applied[:, body, :3]
        columns = [self._randomizer.mass_kg, self._randomizer.friction, *force.T, held]
        physics = np.stack(columns, axis=-1).astype(np.float32)
        physics = np.maximum(np.minimum(physics, _PRIVILEGED_BOUNDS), -_PRIVILEGED_BOUNDS)
        return np.concatenate([self._state(values), physics], axis=-1)


def _joined(first: spaces.Box, second: spaces.Box) -> spaces.Box:
    """The space of both vectors one after the other."""
    low, high = np.concatenate([first.low, second.low]), np.concatenate([first.high, second.high])
    return spaces.Box(low, high, dtype=np.float32)


def _listed(fields: list[ObservationField]) -> str:
    """Names and sizes of fields."""
    return ", ".join(f"`{field.name}` ({field.size})" for field in fields)
