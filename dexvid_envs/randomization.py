"""Domain randomisation: what may vary from episode to episode and within one, declared in a config and off by default.

Everything is drawn from the episode's own generator. What varies within an episode (noise, disturbances) comes from a
counter-based generator keyed by a seed drawn at the reset, so that a saved state continues with the same disturbances.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable, Mapping
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from dexvid_envs.errors import OptionError
from dexvid_envs.option_values import is_count, is_number, numbers
from dexvid_envs.simulation import Rows, Simulation

FloatArray = NDArray[np.float64]
Range = tuple[float, float]
_UNCHANGED: Range = (1.0, 1.0)


@dataclasses.dataclass(frozen=True)
class Randomization:
    """What is randomised, and how far; ranges are (low, high) and drawn uniformly for every episode.

    Friction, mass, size, gains and forces change what happens, however it is observed. `joint_noise_rad` acts on `state` and
    `proprioception`. `object_noise_m` and `object_delay_steps` act on what each mode shows of the object: its fields of the
    `state`, `points`, the object's `keypoints`, and the pictures of `rgbd`, which are late as a whole, the robot in them
    included, and whose depth is noisy (their colours are not). Camera shifts and turns act on what cameras see: the pictures of
    `rgbd`, those of `render`, and which points are `visible`. `privileged` always tells the truth of now.

    Attributes:
        friction: factor on the sliding friction of hand and object.
        mass: factor on the mass of the handled object (a bottle's filling, a drawer's content).
        size: factor on the size of the handled object, in five steps, since meshes are compiled; the cabinet keeps its
            size, also under a preset, and refuses any other.
        actuator_gain: factor on stiffness and damping of each servo, drawn joint by joint.
        joint_noise_rad: standard deviation of the noise on observed joint angles, drawn at every step.
        object_noise_m: the same for the observed place of the object, its points included; of pictures, for the depth of each
            pixel.
        object_delay_steps: (least, most) control steps by which the object is seen late, or pictures are; the robot feels
            itself at once.
        camera_shift_m: each camera is moved by up to this along each axis.
        camera_turn_rad: each camera is turned by up to this about each of its axes.
        force_m_per_s2: largest disturbance of the object, as acceleration; its force is this times the object's mass.
        force_probability: chance for each control step that a new disturbance (uniform direction and strength) starts.
        force_steps: control steps that a disturbance lasts.
    """

    friction: Range = _UNCHANGED
    mass: Range = _UNCHANGED
    size: Range = _UNCHANGED
    actuator_gain: Range = _UNCHANGED
    joint_noise_rad: float = 0.0
    object_noise_m: float = 0.0
    object_delay_steps: tuple[int, int] = (0, 0)
    camera_shift_m: float = 0.0
    camera_turn_rad: float = 0.0
    force_m_per_s2: float = 0.0
    force_probability: float = 0.05
    force_steps: int = 4

    def __post_init__(self) -> None:
        for name in ("friction", "mass", "size", "actuator_gain"):
            low, high = self._pair(name)
            if not 0 < low <= high < np.inf:
                raise OptionError(f"randomization {name}={getattr(self, name)!r}: expected (low, high) with 0 < low <= high")
            object.__setattr__(self, name, (low, high))
        least, most = self._pair("object_delay_steps")
        if not (0 <= least <= most <= 20 and least == int(least) and most == int(most)):
            raise OptionError(
                f"randomization object_delay_steps={self.object_delay_steps!r}: expected (least, most) control steps, 0 to 20"
            )
        object.__setattr__(self, "object_delay_steps", (int(least), int(most)))
        for name in ("joint_noise_rad", "object_noise_m", "camera_shift_m", "camera_turn_rad", "force_m_per_s2"):
            if not (is_number(getattr(self, name)) and 0 <= getattr(self, name) < np.inf):
                raise OptionError(f"randomization {name}={getattr(self, name)!r}: expected a finite number, 0 or more")
        if not (is_number(self.force_probability) and 0 <= self.force_probability <= 1):
            raise OptionError(f"randomization force_probability={self.force_probability!r}: expected a probability, 0 to 1")
        if not (is_count(self.force_steps) and self.force_steps <= 1000):
            raise OptionError(f"randomization force_steps={self.force_steps!r}: expected a whole number of steps, 1 to 1000")

    def _pair(self, name: str) -> tuple[float, float]:
        """A field's two numbers, or two NaN where it holds something else."""
        given = numbers(getattr(self, name))
        return (given[0], given[1]) if given is not None and len(given) == 2 else (np.nan, np.nan)

    @property
    def within_episodes(self) -> bool:
        """Whether anything is drawn at every step."""
        return self.joint_noise_rad > 0 or self.object_noise_m > 0 or self.force_m_per_s2 > 0

    @property
    def size_factors(self) -> tuple[float, ...]:
        """The sizes that occur."""
        low, high = self.size
        return (low,) if low == high else tuple(float(factor) for factor in np.linspace(low, high, 5))


PRESETS: dict[str, Randomization] = {
    "none": Randomization(),
    "physics": Randomization(friction=(0.8, 1.2), mass=(0.7, 1.3), size=(0.95, 1.05), actuator_gain=(0.9, 1.1)),
    "full": Randomization(
        friction=(0.8, 1.2),
        mass=(0.7, 1.3),
        size=(0.95, 1.05),
        actuator_gain=(0.9, 1.1),
        joint_noise_rad=0.005,
        object_noise_m=0.003,
        object_delay_steps=(0, 2),
        camera_shift_m=0.02,
        camera_turn_rad=0.03,
        force_m_per_s2=2.0,
    ),
    # HOP's test: random forces on the object of up to twice its mass in newtons.
    "disturbance": Randomization(force_m_per_s2=2.0, force_probability=0.25, force_steps=2),
}


def make_randomization(given: Randomization | Mapping[str, Any] | str | None) -> Randomization:
    """The randomisation that an option names: an instance, its fields as a mapping, a preset's name, or None.

    Raises:
        OptionError: there is no such preset or field, or a value makes no sense.
    """
    if given is None:
        return PRESETS["none"]
    if isinstance(given, Randomization):
        return given
    if isinstance(given, str):
        if given not in PRESETS:
            raise OptionError(f"unknown randomization {given!r}: expected one of {', '.join(PRESETS)}, or a mapping of fields")
        return PRESETS[given]
    if not isinstance(given, Mapping):
        raise OptionError(f"randomization={given!r}: expected a preset ({', '.join(PRESETS)}) or a mapping of fields to values")
    known = [field.name for field in dataclasses.fields(Randomization)]
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise OptionError(f"unknown randomization field {name!r}: expected one of {', '.join(known)}{hint}")
    return Randomization(**given)


#: Past positions behind late pictures: part of the memory in the `rgbd` mode alone, so that states may lack it.
PICTURED = "pictured"


class Randomizer:
    """Draws, applies and remembers the randomisation of N episodes.

    Attributes:
        memory: what was drawn and what is pending, (N, ...) each; saved and restored with the state.
        model_fields: model fields that differ between simulations.
        delays: whether the object is seen late.
        perceives: whether observations differ from the truth, by delay or noise.
        mass_kg: (N,) of the handled body.
    """

    def __init__(self, config: Randomization, model: mujoco.MjModel, body: str, robot_geoms: NDArray[np.int64]) -> None:
        """Args: `body` is the handled body, `robot_geoms` the hand's collision geoms."""
        self.config, self._model = config, model
        self._body_id = model.body(body).id
        self._geom_ids = np.union1d(robot_geoms, np.flatnonzero(model.geom_bodyid == self._body_id))
        fields: list[str] = []
        if config.friction != _UNCHANGED:
            fields += ["geom_friction"]
        if config.mass != _UNCHANGED:
            fields += ["body_mass", "body_inertia"]
        if config.actuator_gain != _UNCHANGED:
            fields += ["actuator_gainprm", "actuator_biasprm"]
        if config.camera_shift_m > 0 or config.camera_turn_rad > 0:
            fields += ["cam_pos", "cam_quat"]
        self.model_fields = tuple(fields)
        self.memory: dict[str, NDArray[Any]] = {}
        self.delays = config.object_delay_steps[1] > 0
        self._held_back: tuple[str, ...] = ()
        self.perceives = self.delays or config.joint_noise_rad > 0 or config.object_noise_m > 0

    def bind(self, num_envs: int, delayed_sizes: Mapping[str, int]) -> None:
        """Makes the memory; `delayed_sizes` are the numbers of values that the observation delay holds back, by name."""
        config, memory = self.config, self.memory
        self.mass_kg = np.full(num_envs, self._model.body_mass[self._body_id])
        self._nominal_friction = np.ones(num_envs)
        if config.friction != _UNCHANGED:
            memory["friction"] = np.ones(num_envs)
        if config.mass != _UNCHANGED:
            memory["mass"] = np.ones(num_envs)
        if config.actuator_gain != _UNCHANGED:
            memory["actuator_gain"] = np.ones((num_envs, self._model.nu))
        if "cam_pos" in self.model_fields:
            memory["camera_shift"] = np.zeros((num_envs, self._model.ncam, 3))
            memory["camera_turn"] = np.zeros((num_envs, self._model.ncam, 3))
        if config.object_delay_steps[1]:
            memory["delay_steps"] = np.zeros(num_envs, dtype=np.int64)
            self._held_back = tuple(delayed_sizes)
            for name, size in delayed_sizes.items():
                memory[name] = np.zeros((num_envs, config.object_delay_steps[1] + 1, size))
        if config.within_episodes:
            memory["step"] = np.zeros(num_envs, dtype=np.int64)
            memory["noise_seed"] = np.zeros(num_envs, dtype=np.int64)
        if config.force_m_per_s2 > 0:
            memory["force_steps_left"] = np.zeros(num_envs, dtype=np.int64)

    @property
    def friction(self) -> FloatArray:
        """(N,) factor on the sliding friction."""
        return self.memory.get("friction", self._nominal_friction)

    @property
    def active(self) -> bool:
        """Whether anything is randomised here (the size is the task's business)."""
        return bool(self.memory)

    def draw(self, row: int, rng: np.random.Generator) -> None:
        """Draws a new episode's values."""
        config, memory = self.config, self.memory
        if "friction" in memory:
            memory["friction"][row] = rng.uniform(*config.friction)
        if "mass" in memory:
            memory["mass"][row] = rng.uniform(*config.mass)
        if "actuator_gain" in memory:
            memory["actuator_gain"][row] = rng.uniform(*config.actuator_gain, self._model.nu)
        if "camera_shift" in memory:
            memory["camera_shift"][row] = rng.uniform(-1, 1, (self._model.ncam, 3)) * config.camera_shift_m
            memory["camera_turn"][row] = rng.uniform(-1, 1, (self._model.ncam, 3)) * config.camera_turn_rad
        if "delay_steps" in memory:
            memory["delay_steps"][row] = rng.integers(config.object_delay_steps[0], config.object_delay_steps[1] + 1)
            self.forget(row)
        if "step" in memory:
            memory["step"][row] = 0
            memory["noise_seed"][row] = rng.integers(2**62)
        if "force_steps_left" in memory:
            memory["force_steps_left"][row] = 0

    def apply(self, row: int, fields: dict[str, NDArray[Any]]) -> None:
        """Scales the nominal model fields (this row's, full arrays) by what was drawn, in place."""
        memory = self.memory
        if "friction" in memory:
            fields["geom_friction"][self._geom_ids, 0] *= memory["friction"][row]
        if "mass" in memory:
            fields["body_mass"][self._body_id] *= memory["mass"][row]
            fields["body_inertia"][self._body_id] *= memory["mass"][row]
        if "body_mass" in fields:
            self.mass_kg[row] = fields["body_mass"][self._body_id]
        if "actuator_gain" in memory:
            gain = memory["actuator_gain"][row]
            fields["actuator_gainprm"][:, 0] *= gain
            fields["actuator_biasprm"][:, 1:3] *= gain[:, None]
        if "camera_shift" in memory:
            fields["cam_pos"] += memory["camera_shift"][row]
            for camera, turn in enumerate(memory["camera_turn"][row]):
                angle = float(np.linalg.norm(turn))
                if angle > 0:
                    rotation, turned = np.empty(4), np.empty(4)
                    mujoco.mju_axisAngle2Quat(rotation, turn / angle, angle)
                    mujoco.mju_mulQuat(turned, fields["cam_quat"][camera], rotation)
                    fields["cam_quat"][camera] = turned

    def disturb(self, simulation: Simulation, rows: Rows) -> None:
        """Starts and ends disturbance forces of the rows for the coming control step."""
        config, memory = self.config, self.memory
        if "force_steps_left" not in memory:
            return
        left = memory["force_steps_left"]
        for row in rows:
            if left[row] > 0:
                left[row] -= 1
                continue
            force = np.zeros(3)
            rng = self._step_rng(int(row), stream=1)
            if rng.random() < config.force_probability:
                direction = rng.normal(size=3)
                strength = rng.random() * config.force_m_per_s2 * self.mass_kg[row]
                force = strength * direction / np.linalg.norm(direction)
                left[row] = config.force_steps - 1
            simulation.xfrc_applied[row, self._body_id, :3] = force

    def perceive(
        self,
        values: FloatArray,
        joint_columns: NDArray[np.int64],
        object_columns: NDArray[np.int64],
        place_columns: NDArray[np.int64],
    ) -> FloatArray:
        """Source vectors (N, F) as the sensors give them: delayed where they tell of the object, with noise.

        Args:
            values: the true ones; not changed.
            joint_columns: of joint angles, which get `joint_noise_rad`.
            object_columns: everything known of the object, delayed together.
            place_columns: the object's place (K times x, y, z), which gets `object_noise_m`, the same for all K.
        """
        config, memory = self.config, self.memory
        values = values.copy()
        rows = np.arange(len(values))
        if "seen" in memory:
            values[:, object_columns] = self.late("seen")
        if config.joint_noise_rad > 0 or config.object_noise_m > 0:
            for row in rows:
                noise = self._step_rng(int(row), stream=0).normal(size=len(joint_columns) + 3)
                values[row, joint_columns] += config.joint_noise_rad * noise[3:]
                shift = np.tile(noise[:3], len(place_columns) // 3)
                values[row, place_columns] += config.object_noise_m * shift
        return values

    def late(self, name: str) -> FloatArray:
        """(N, K) what was held back under that name, as old as each row's delay says."""
        memory = self.memory
        return memory[name][np.arange(len(memory[name])), memory["delay_steps"]]

    def blur(self, depths: Mapping[str, NDArray[np.float32]], rows: Iterable[int], far_m: float) -> None:
        """Adds noise to each pixel of the rows' depth pictures (len(rows), H, W, 1) m, in place, within 0 to `far_m`."""
        if self.config.object_noise_m == 0:
            return
        for index, row in enumerate(rows):
            rng = self._step_rng(int(row), stream=2)
            for depth in depths.values():
                noise = rng.standard_normal(depth.shape[1:], dtype=np.float32)
                depth[index] = np.clip(depth[index] + np.float32(self.config.object_noise_m) * noise, 0.0, far_m)

    def advance(self, rows: Rows) -> None:
        """Counts a control step of the rows."""
        if "step" in self.memory:
            self.memory["step"][rows] += 1

    def see(self, values: FloatArray, columns: Mapping[str, NDArray[np.int64]], rows: Rows) -> None:
        """Remembers what the sensors saw in the rows' present state, for delayed observation: columns of (N, F) values by name.

        Rows whose sensors have seen nothing yet take the present state for their past, whether among `rows` or not.
        """
        for name in self._held_back:
            seen, now = self.memory[name], values[:, columns[name]]
            fresh = np.isnan(seen[:, 0, 0])
            for row in rows:
                if not fresh[row]:
                    seen[row, 1:] = seen[row, :-1].copy()
                    seen[row, 0] = now[row]
            seen[fresh] = now[fresh][:, None]

    def forget(self, row: int) -> None:
        """Forgets what a row's sensors have seen; what they see next fills the past."""
        for name in self._held_back:
            self.memory[name][row] = np.nan

    def _step_rng(self, row: int, stream: int) -> np.random.Generator:
        """The generator of this row, step and purpose."""
        key = (int(self.memory["noise_seed"][row]), stream)
        return np.random.Generator(np.random.Philox(key=key, counter=(0, int(self.memory["step"][row]), 0, 0)))
