"""The seam to the physics engine: N simulations of one model behind arrays with a leading axis N.

Tasks and controllers see arrays, never the engine. After `step` and `forward` every array describes the present state
(position and velocity stages are computed once after the last substep).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import mujoco
import numpy as np
from mujoco.batch import Batch
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
#: What a saved simulation holds: everything the next step depends on.
STATE_SPEC = mujoco.mjtState.mjSTATE_INTEGRATION
Rows = NDArray[np.int64]


class Simulation(Protocol):
    """N simulations of one model.

    Attributes:
        model: the nominal model (of simulation 0 where models differ).
        num_envs: N.
        qpos, qvel, ctrl: (N, nq), (N, nv), (N, nu) live arrays; writes take effect at the next call.
        time: (N,) s.
        xpos, xmat: (N, nbody, 3) m, (N, nbody, 9) body frames in the world.
        site_xpos: (N, nsite, 3) m.
        mocap_pos: (N, nmocap, 3) m; bodies that only show something, such as a target.
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

    def reset(self, rows: Rows) -> None:
        """Puts the rows into the model's default state; follow with writes and `forward`."""
        ...

    def forward(self, rows: Rows) -> None:
        """Computes the derived arrays of the rows from their state."""
        ...

    def step(self, substeps: int) -> None:
        """Advances every simulation, then computes the derived arrays."""
        ...

    def write_model(self, rows: Rows, fields: Mapping[str, FloatArray]) -> None:
        """Overwrites model fields, (len(rows), ...) each, for the rows only, and the constants derived from them."""
        ...

    def get_state(self, row: int) -> FloatArray:
        """A copy of the full integration state of one simulation."""
        ...

    def get_states(self) -> FloatArray:
        """(N, S) the integration states of all simulations."""
        ...

    def set_state(self, row: int, state: FloatArray) -> None:
        """Restores what `get_state` returned and computes the derived arrays."""
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
        self.mocap_pos = data.mocap_pos[None]

    def reset(self, rows: Rows) -> None:
        """See `Simulation`."""
        mujoco.mj_resetData(self.model, self.data)

    def forward(self, rows: Rows) -> None:
        """See `Simulation`."""
        mujoco.mj_step1(self.model, self.data)

    def step(self, substeps: int) -> None:
        """See `Simulation`."""
        mujoco.mj_step(self.model, self.data, substeps)
        mujoco.mj_step1(self.model, self.data)

    def write_model(self, rows: Rows, fields: Mapping[str, FloatArray]) -> None:
        """See `Simulation`."""
        for name, values in fields.items():
            getattr(self.model, name)[:] = values[0]
        state = self.get_state(0)
        mujoco.mj_setConst(self.model, self.data)
        mujoco.mj_setState(self.model, self.data, state, STATE_SPEC)

    def get_state(self, row: int) -> FloatArray:
        """See `Simulation`."""
        state = np.empty(mujoco.mj_stateSize(self.model, STATE_SPEC))
        mujoco.mj_getState(self.model, self.data, state, STATE_SPEC)
        return state

    def get_states(self) -> FloatArray:
        """See `Simulation`."""
        return self.get_state(0)[None]

    def set_state(self, row: int, state: FloatArray) -> None:
        """See `Simulation`."""
        mujoco.mj_setState(self.model, self.data, state, STATE_SPEC)
        self.forward(np.zeros(1, dtype=np.int64))


class BatchSimulation:
    """N simulations on MuJoCo's native thread pool; the only place that knows `mujoco.batch`."""

    def __init__(self, model: mujoco.MjModel, num_envs: int, num_threads: int = 0, model_fields: Sequence[str] = ()) -> None:
        """Args: `num_threads` 0 takes all cores; `model_fields` are those that `write_model` may set per simulation."""
        self.model = model
        self.num_envs = num_envs
        self._batch = Batch(model, num_envs, num_threads, persistent=True)
        self._expanded = {name: self._batch.expand(name) for name in model_fields}
        bind = self._batch.bind
        self.qpos, self.qvel, self.ctrl = bind("qpos"), bind("qvel"), bind("ctrl")
        self.xpos, self.xmat, self.site_xpos = bind("xpos"), bind("xmat"), bind("site_xpos")
        self.mocap_pos = bind("mocap_pos").reshape(num_envs, model.nmocap, 3)
        self._state_fields = _state_fields(model)

    def reset(self, rows: Rows) -> None:
        """See `Simulation`."""
        self._batch.reset(rows, stage=int(mujoco.mjtStage.mjSTAGE_NONE))

    def forward(self, rows: Rows) -> None:
        """See `Simulation`."""
        self._batch.forward(rows, stage=int(mujoco.mjtStage.mjSTAGE_VEL))

    def step(self, substeps: int) -> None:
        """See `Simulation`."""
        self._batch.step(nstep=substeps, stage=int(mujoco.mjtStage.mjSTAGE_VEL))

    def write_model(self, rows: Rows, fields: Mapping[str, FloatArray]) -> None:
        """See `Simulation`."""
        for name, values in fields.items():
            self._expanded[name][rows] = values
        self._batch.set_const(rows)

    def get_state(self, row: int) -> FloatArray:
        """See `Simulation`."""
        return self.get_states()[row]

    def get_states(self) -> FloatArray:
        """See `Simulation`."""
        parts = [self._batch.bind(name).reshape(self.num_envs, -1) for name in self._state_fields]
        return np.concatenate(parts, axis=-1)

    def set_state(self, row: int, state: FloatArray) -> None:
        """See `Simulation`."""
        start = 0
        for name, size in self._state_fields.items():
            field = self._batch.bind(name)
            field[row] = state[start : start + size].reshape(field.shape[1:])
            start += size
        self.forward(np.array([row]))

    def get_data(self, row: int) -> tuple[mujoco.MjModel, mujoco.MjData]:
        """Model and data of one simulation, ready for rendering."""
        model = self._batch.get_model(row)
        data = self._batch.get_data(row)
        mujoco.mj_forward(model, data)
        return model, data


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
