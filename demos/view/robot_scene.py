"""The robot in the viewer's scene, in its environment or alone over a table."""

from __future__ import annotations

from typing import Any

import gymnasium
import mujoco
import numpy as np
from numpy.typing import NDArray

from demos.view.meshes import body_meshes
from demos.view.stages import Stage
from demos.view.story import Story
from dexvid_envs.registration import register_environments
from robots.arm_hand import ARM_HAND, add_arm_hand
from robots.scene import add_scenery

_STATE = mujoco.mjtState.mjSTATE_INTEGRATION
_BASE = "arm_base"


class RobotScene:
    """Robot, object and furniture, put where a stage has them.

    Attributes:
        robot, object: handles of the robot's bodies, and of the moved object's with what is fixed to it.

    Args:
        server: viser's.
        story: with at least one stage.
    """

    def __init__(self, server: Any, story: Story) -> None:
        self.model, self._robot_qposadr, moved = _world(story)
        self.data = mujoco.MjData(self.model)
        self._still = None if story.world is None else story.world.states[0]
        base = self.model.body(_BASE).id
        self._handles: list[tuple[int, Any]] = []
        self.robot: list[Any] = []
        self.object: list[Any] = []
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
            carriers = _carriers(self.model, mesh.body)
            if moved in carriers:
                self.object.append(handle)
            elif base in carriers:
                self.robot.append(handle)

    def show(self, step: int, stage: Stage) -> None:
        """Puts all bodies where they were; in a stage without a simulated object all but the robot stays at its start."""
        step = min(step, stage.num_steps - 1)
        state = self._still if stage.states is None else stage.states[step]
        if state is not None:
            mujoco.mj_setState(self.model, self.data, state, _STATE)
        if stage.qpos is not None:
            self.data.qpos[self._robot_qposadr] = stage.qpos[step]
        mujoco.mj_kinematics(self.model, self.data)
        for body, handle in self._handles:
            handle.position, handle.wxyz = tuple(self.data.xpos[body]), tuple(self.data.xquat[body])


def _carriers(model: mujoco.MjModel, body: int) -> set[int]:
    """The body and all that it hangs on, but for the world."""
    carriers = set()
    while body:
        carriers.add(body)
        body = int(model.body_parentid[body])
    return carriers


def _world(story: Story) -> tuple[mujoco.MjModel, NDArray[np.int64], int]:
    """What is drawn, the places of the robot's joints in `qpos`, and the body that is moved (-1 where there is none)."""
    if story.world is None:
        spec = mujoco.MjSpec()
        spec.compiler.degree = False
        add_scenery(spec)
        add_arm_hand(spec)
        return spec.compile(), np.arange(ARM_HAND.num_joints), -1
    register_environments()
    env: Any = gymnasium.make(story.world.env_id, **dict(story.world.env_options)).unwrapped
    try:
        env.reset(options=story.world.reset_options(0))  # gives the model the episode's object
        return env.model, np.asarray(env.task.joint_qposadr), int(env.model.body(env.task.moved_body).id)
    finally:
        env.close()  # the model lives on
