"""The seam to the physics engine: N simulations of one model behind arrays with a leading axis N.

Tasks and controllers see arrays, never the engine. After `step` and `forward` every array describes the present state
(position and velocity stages are computed once after the last substep).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import mujoco
import numpy as np
from mujoco.batch import Batch
from numpy.typing import NDArray

from dexvid_envs.errors import OptionError
from robots.object_switch import FIELDS_AFTER_SET_CONST

FloatArray = NDArray[np.float64]
#: What a saved simulation holds: everything the next step depends on.
STATE_SPEC = int(mujoco.mjtState.mjSTATE_INTEGRATION)
Rows = NDArray[np.int64]


class Simulation(Protocol):
    """N simulations of one model.

    Attributes:
        model: the nominal model (of simulation 0 where models differ).
        num_envs: N.
        qpos, qvel, ctrl: (N, nq), (N, nv), (N, nu) live arrays; writes take effect at the next call.
        xpos, xmat: (N, nbody, 3) m, (N, nbody, 9) body frames in the world.
        site_xpos: (N, nsite, 3) m.
        mocap_pos, mocap_quat: (N, nmocap, 3) m, (N, nmocap, 4) wxyz; bodies that are placed rather than moved.
        xfrc_applied: (N, nbody, 6) N, N m forces on bodies from outside.
    """

    model: mujoco.MjModel
    num_envs: int
    qpos: FloatArray
    qvel: FloatArray
    ctrl: FloatArray
    xpos: FloatArray
    xmat: FloatArray
    site_xpos: FloatArray
    mocap_pos: FloatArray
    mocap_quat: FloatArray
    xfrc_applied: FloatArray

    def reset(self, rows: Rows) -> None:
        """Puts the rows (R indices below N) into the model's default state; follow with writes and `forward`."""
        ...

    def forward(self, rows: Rows) -> None:
        """Computes the derived arrays of the rows from their state."""
        ...

    def step(self, substeps: int, rows: Rows | None = None) -> None:
        """Advances the rows (None: all of them), then computes their derived arrays."""
        ...

    def write_model(self, row: int, fields: Mapping[str, FloatArray]) -> None:
        """Overwrites whole model fields for one row only, and the constants derived from them.

        Args:
            row: index below N.
            fields: values by the fields' names in MjModel, in MjModel's shapes and units.
        """
        ...

    def model_values(self, field: str, row: int) -> FloatArray:
        """A field of MjModel, in its shape and unit, as one row has it; a view, not to be written to."""
        ...

    def make_reader(self, columns: Mapping[str, NDArray[np.int64]], out: FloatArray) -> Callable[[], None]:
        """A function that writes the present values of columns of live arrays into `out`.

        Args:
            columns: of the arrays of these names, flattened to (N, ...).
            out: (N, K) for all columns side by side; K is their number.
        """
        ...

    def camera_positions(self) -> FloatArray:
        """(N, ncam, 3) m cameras in the world."""
        ...

    def cast_rays(self, origin: FloatArray, directions: FloatArray) -> FloatArray:
        """(N, R) m to the first collision geometry along unit directions (N, R, 3) from origins (N, 3); -1 for a miss."""
        ...

    def get_state(self, row: int) -> FloatArray:
        """(S,) a copy of the full integration state (MuJoCo's `mjSTATE_INTEGRATION`) of one simulation."""
        ...

    def get_states(self) -> FloatArray:
        """(N, S) the integration states of all simulations."""
        ...

    def keep_states(self) -> None:
        """Takes note of the integration states, for `kept_states`."""
        ...

    def kept_states(self) -> FloatArray:
        """(N, S) the integration states at the last `keep_states`."""
        ...

    def set_state(self, row: int, state: FloatArray) -> None:
        """Restores what `get_state` returned, (S,), and computes the derived arrays."""
        ...

    def get_data(self, row: int) -> tuple[mujoco.MjModel, mujoco.MjData]:
        """Model and data of one simulation, for rendering or any of the engine's functions; not to be written to."""
        ...


class SingleSimulation:
    """One simulation on MjModel and MjData, which stay live for the user."""

    def __init__(self, model: mujoco.MjModel) -> None:
        self.model = model
        self.data = mujoco.MjData(model)
        self.num_envs = 1
        data = self.data
        self.qpos, self.qvel, self.ctrl = data.qpos[None], data.qvel[None], data.ctrl[None]
        self.xpos, self.xmat, self.site_xpos = data.xpos[None], data.xmat[None], data.site_xpos[None]
        self.mocap_pos, self.mocap_quat = data.mocap_pos[None], data.mocap_quat[None]
        self.xfrc_applied = data.xfrc_applied[None]
        self._bias = data.qfrc_bias
        self._kept = np.zeros(mujoco.mj_stateSize(model, STATE_SPEC))
        self._computed_for = _NOTHING

    def reset(self, rows: Rows) -> None:
        """See `Simulation`."""
        mujoco.mj_resetData(self.model, self.data)
        self._computed_for = _NOTHING

    def forward(self, rows: Rows) -> None:
        """See `Simulation`."""
        mujoco.mj_step1(self.model, self.data)
        self._computed_for = self._fingerprint()

    def step(self, substeps: int, rows: Rows | None = None) -> None:
        """See `Simulation`.

        The first half of a physics step has been computed already by the previous call, for the observation. It is used again
        unless somebody has written to positions, velocities or mocap bodies since, or has computed with the live data. What is
        written to the model counts there from the second physics step on; `mj_forward` after it makes it count at once.
        """
        model, data = self.model, self.data
        if self._fingerprint() == self._computed_for:
            mujoco.mj_step2(model, data)
            substeps -= 1
        if substeps:
            mujoco.mj_step(model, data, substeps)
        mujoco.mj_step1(model, data)
        self._computed_for = self._fingerprint()

    def _fingerprint(self) -> tuple[bytes, ...]:
        """What the first half of a physics step depends on, and some of what it leaves.

        The latter tells that somebody has computed with the live data (a look ahead, inverse kinematics) and put the state
        back.
        """
        inputs = self.qpos.tobytes(), self.qvel.tobytes(), self.mocap_pos.tobytes(), self.mocap_quat.tobytes()
        return (*inputs, self.xpos.tobytes(), self._bias.tobytes())

    def write_model(self, row: int, fields: Mapping[str, FloatArray]) -> None:
        """See `Simulation`."""
        for name, values in fields.items():
            getattr(self.model, name)[:] = values
        self._computed_for = _NOTHING
        if _CONSTANTS_FOLLOW.intersection(fields):
            state = self.get_state(0)
            mujoco.mj_setConst(self.model, self.data)
            mujoco.mj_setState(self.model, self.data, state, STATE_SPEC)

    def model_values(self, field: str, row: int) -> FloatArray:
        """See `Simulation`."""
        return getattr(self.model, field)

    def make_reader(self, columns: Mapping[str, NDArray[np.int64]], out: FloatArray) -> Callable[[], None]:
        """See `Simulation`.

        All arrays of an MjData lie in one buffer; seen as one long array, they are read with one call.
        """
        arrays = {name: getattr(self, name).ravel() for name in columns}
        begins = {name: array.ctypes.data for name, array in arrays.items()}
        first = min(arrays, key=begins.__getitem__)
        last = max(arrays, key=begins.__getitem__)
        length = (begins[last] - begins[first]) // out.itemsize + arrays[last].size
        buffer = np.lib.stride_tricks.as_strided(arrays[first], (1, length), writeable=False)
        offsets = {name: (begin - begins[first]) // out.itemsize for name, begin in begins.items()}
        places = np.concatenate([offsets[name] + indices for name, indices in columns.items()])

        def read() -> None:
            buffer.take(places, 1, out, "clip")  # all are within; to be told so spares numpy a copy

        return read

    def camera_positions(self) -> FloatArray:
        """See `Simulation`."""
        return self.data.cam_xpos[None]

    def cast_rays(self, origin: FloatArray, directions: FloatArray) -> FloatArray:
        """See `Simulation`."""
        count = directions.shape[1]
        geom_ids, distances = np.empty(count, dtype=np.int32), np.empty(count)
        mujoco.mj_multiRay(
            self.model, self.data, origin[0], directions[0].ravel(), _RAY_GROUPS, 1, -1, geom_ids, distances, None, count, 10.0
        )
        return distances[None]

    def get_state(self, row: int) -> FloatArray:
        """See `Simulation`."""
        state = np.empty_like(self._kept)
        mujoco.mj_getState(self.model, self.data, state, STATE_SPEC)
        return state

    def get_states(self) -> FloatArray:
        """See `Simulation`."""
        return self.get_state(0)[None]

    def keep_states(self) -> None:
        """See `Simulation`."""
        mujoco.mj_getState(self.model, self.data, self._kept, STATE_SPEC)

    def kept_states(self) -> FloatArray:
        """See `Simulation`."""
        return self._kept[None].copy()

    def set_state(self, row: int, state: FloatArray) -> None:
        """See `Simulation`."""
        mujoco.mj_setState(self.model, self.data, state, STATE_SPEC)
        self.forward(np.zeros(1, dtype=np.int64))

    def get_data(self, row: int) -> tuple[mujoco.MjModel, mujoco.MjData]:
        """See `Simulation`."""
        return self.model, self.data


def _threads_asked_for() -> int:
    """What the variable `DEXVID_NUM_THREADS` says; 0, all cores, without it.

    Raises:
        OptionError: it is no whole number of 0 or more.
    """
    given = os.environ.get("DEXVID_NUM_THREADS", "").strip() or "0"
    if not given.isdecimal():
        raise OptionError(f"DEXVID_NUM_THREADS={given!r}: expected a whole number of threads, 0 for all cores; or unset it")
    return int(given)


class BatchSimulation:
    """N simulations on MuJoCo's native thread pool; the only place that knows `mujoco.batch`."""

    def __init__(self, model: mujoco.MjModel, num_envs: int, num_threads: int = 0, model_fields: Sequence[str] = ()) -> None:
        """Args: `num_threads` 0 takes all cores, or as many as the variable `DEXVID_NUM_THREADS` says; `model_fields` are those
        that `write_model` may set per simulation.

        Raises:
            OptionError: the variable is no whole number.
        """
        self.model = model
        self.num_envs = num_envs
        self._batch = Batch(model, num_envs, num_threads or _threads_asked_for(), persistent=True)
        self._expanded = {name: self._batch.expand(name) for name in model_fields}
        bind = self._batch.bind
        self.qpos, self.qvel, self.ctrl = bind("qpos"), bind("qvel"), bind("ctrl")
        self.xpos, self.xmat, self.site_xpos = bind("xpos"), bind("xmat"), bind("site_xpos")
        self.mocap_pos = bind("mocap_pos").reshape(num_envs, model.nmocap, 3)
        self.mocap_quat = bind("mocap_quat").reshape(num_envs, model.nmocap, 4)
        self.xfrc_applied = bind("xfrc_applied").reshape(num_envs, model.nbody, 6)
        self._state_fields = _state_fields(model)
        self._kept = self.get_states()
        self._shown: tuple[mujoco.MjModel, mujoco.MjData] | None = None  # made at the first picture

    def reset(self, rows: Rows) -> None:
        """See `Simulation`."""
        self._batch.reset(rows, stage=int(mujoco.mjtStage.mjSTAGE_NONE))

    def forward(self, rows: Rows) -> None:
        """See `Simulation`."""
        self._batch.forward(rows, stage=int(mujoco.mjtStage.mjSTAGE_VEL))

    def step(self, substeps: int, rows: Rows | None = None) -> None:
        """See `Simulation`."""
        self._batch.step(rows, nstep=substeps, stage=int(mujoco.mjtStage.mjSTAGE_VEL))

    def write_model(self, row: int, fields: Mapping[str, FloatArray]) -> None:
        """See `Simulation`."""
        for name, values in fields.items():
            self._expanded[name][row] = values
        if _CONSTANTS_FOLLOW.intersection(fields):
            self._batch.set_const(np.array([row]))
            for name in fields.keys() & set(FIELDS_AFTER_SET_CONST):
                self._expanded[name][row] = fields[name]

    def bind(self, name: str) -> FloatArray:
        """(N, ...) live array of a field of the data."""
        return self._batch.bind(name)

    def expanded(self, field: str) -> FloatArray:
        """(N, ...) live array of a model field that differs between simulations."""
        return self._expanded[field]

    def model_values(self, field: str, row: int) -> FloatArray:
        """See `Simulation`."""
        return self._expanded[field][row] if field in self._expanded else getattr(self.model, field)

    def make_reader(self, columns: Mapping[str, NDArray[np.int64]], out: FloatArray) -> Callable[[], None]:
        """See `Simulation`."""
        ends = np.cumsum([len(indices) for indices in columns.values()])
        parts = [
            (getattr(self, name).reshape(self.num_envs, -1), indices, out[:, end - len(indices) : end])
            for (name, indices), end in zip(columns.items(), ends, strict=True)
        ]

        def read() -> None:
            for array, indices, place in parts:
                place[...] = array[:, indices]

        return read

    def camera_positions(self) -> FloatArray:
        """See `Simulation`."""
        return self._batch.bind("cam_xpos").reshape(self.num_envs, -1, 3)

    def cast_rays(self, origin: FloatArray, directions: FloatArray) -> FloatArray:
        """See `Simulation`."""
        distances, _ = self._batch.ray(origin[:, None], directions, geomgroup=_RAY_GROUPS)
        return distances

    def get_state(self, row: int) -> FloatArray:
        """See `Simulation`."""
        return np.concatenate([self._batch.bind(name)[row].ravel() for name in self._state_fields])

    def get_states(self) -> FloatArray:
        """See `Simulation`."""
        parts = [self._batch.bind(name).reshape(self.num_envs, -1) for name in self._state_fields]
        return np.concatenate(parts, axis=-1)

    def keep_states(self) -> None:
        """See `Simulation`."""
        self._kept = self.get_states()

    def kept_states(self) -> FloatArray:
        """See `Simulation`."""
        return self._kept

    def set_state(self, row: int, state: FloatArray) -> None:
        """See `Simulation`."""
        start = 0
        for name, size in self._state_fields.items():
            field = self._batch.bind(name)
            field[row] = state[start : start + size].reshape(field.shape[1:])
            start += size
        self.forward(np.array([row]))

    def get_data(self, row: int) -> tuple[mujoco.MjModel, mujoco.MjData]:
        """See `Simulation`; the same two objects at every call."""
        if self._shown is None:
            self._shown = self._batch.get_model(row), self._batch.get_data(row)
        model, data = self._shown
        return self._batch.get_model(row, model), self._batch.get_data(row, data)


#: A fingerprint that no state has.
_NOTHING: tuple[bytes, ...] = ()
#: Fields of which other constants of the model are derived.
_CONSTANTS_FOLLOW = frozenset({"body_mass", "body_inertia", "body_pos", "body_quat", "body_ipos", "body_iquat"})
#: Rays see collision geometry alone: it is convex and simple, and what they hit is what the hand would hit.
_RAY_GROUPS = np.array([0, 0, 0, 1, 0, 0], dtype=np.uint8)

#: The parts of the integration state in the engine's order, with the field that holds each.
_STATE_PARTS = (
    (mujoco.mjtState.mjSTATE_TIME, "time"),
    (mujoco.mjtState.mjSTATE_QPOS, "qpos"),
    (mujoco.mjtState.mjSTATE_QVEL, "qvel"),
    (mujoco.mjtState.mjSTATE_ACT, "act"),
    (mujoco.mjtState.mjSTATE_WARMSTART, "qacc_warmstart"),
    (mujoco.mjtState.mjSTATE_CTRL, "ctrl"),
    (mujoco.mjtState.mjSTATE_QFRC_APPLIED, "qfrc_applied"),
    (mujoco.mjtState.mjSTATE_XFRC_APPLIED, "xfrc_applied"),
    (mujoco.mjtState.mjSTATE_MOCAP_POS, "mocap_pos"),
    (mujoco.mjtState.mjSTATE_MOCAP_QUAT, "mocap_quat"),
)


def _state_fields(model: mujoco.MjModel) -> dict[str, int]:
    """Fields behind the flat integration state and their sizes, in the engine's order."""
    sizes = {name: mujoco.mj_stateSize(model, part) for part, name in _STATE_PARTS}
    fields = {name: size for name, size in sizes.items() if size}
    if sum(fields.values()) != mujoco.mj_stateSize(model, STATE_SPEC):
        raise NotImplementedError("the scene has state that BatchSimulation does not carry (equalities, user data or plugins)")
    return fields
