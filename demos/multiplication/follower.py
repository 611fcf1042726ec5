"""One demonstration whose motion copies follow, and what became of those copies so far."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from demos.multiplication.copies import CORRECTION_NAMES, plan_copies, start_transforms
from demos.multiplication.experience import Experience, Play, scene_features
from demos.multiplication.pace import paced
from demos.multiplication.play import Played, Scene
from demos.multiplication.source import SourceMotion, landing
from demos.multiplication.symmetry import turned_alike
from dexvid_envs.control import ControlMode
from robots.arm_hand import ARM_HAND

FloatArray = NDArray[np.float64]
_UNREACHED_M = 0.03  # a plan whose palm stays this far from its path is not played; a radian counts as 0.15 m
_STANDING_COSINE = 0.98
_LESS_TURN_RAD = (0.3, 0.6)  # by which the hand follows an object's turn less, where the arm does not reach otherwise
_NOISE_SHARES = np.where(np.arange(ARM_HAND.num_joints) < ARM_HAND.arm_joints, 0.25, 1.0)


@dataclasses.dataclass(frozen=True)
class Noise:
    """Noise on servo targets.

    Attributes:
        std_rad: standard deviation for the fingers; the arm's is a quarter of it.
        free_fraction: share of copies without any.
    """

    std_rad: float
    free_fraction: float


@dataclasses.dataclass(frozen=True)
class PlannedRows:
    """Copies of one demonstration in some rows of a batch.

    Attributes:
        rows: (n,) of the batch.
        scene: what they begin with.
        features: (n, F), see `scene_features`.
        aim: (n, 3) m by which goals are aimed at elsewhere.
        correction: (n, C), see `copies.CORRECTION_NAMES`.
        reached: (n,) whether the arm reaches all of the path.
        servo_targets: (n, T', 23) rad.
        noise: (n, T', 23) rad on them.
        source_step: (n, T') step of the demonstration behind each, a real number.
    """

    rows: NDArray[np.int64]
    scene: Scene
    features: FloatArray
    aim: FloatArray
    correction: FloatArray
    reached: NDArray[np.bool_]
    servo_targets: FloatArray
    noise: FloatArray
    source_step: FloatArray

    def lengthened(self, steps: int) -> PlannedRows:
        """The same, held in the last targets until so many steps are over."""
        more = steps - self.servo_targets.shape[1]
        return dataclasses.replace(
            self,
            servo_targets=np.pad(self.servo_targets, ((0, 0), (0, more), (0, 0)), mode="edge"),
            noise=np.pad(self.noise, ((0, 0), (0, more), (0, 0))),
            source_step=np.pad(self.source_step, ((0, 0), (0, more)), mode="edge"),
        )


class Follower:
    """Plans copies of one demonstration and learns from them.

    Args:
        source: the motion to carry.
        control: of the environment that plays the copies.
        most_steps: of an episode.
        noise: on the targets of copies.
    """

    def __init__(self, source: SourceMotion, control: ControlMode, most_steps: int, noise: Noise) -> None:
        self.source, self.experience = source, Experience(source.starts)
        self._control, self._most_steps, self._noise = control, most_steps, noise

    def ways(self, scene: Scene) -> list[Scene]:
        """From which sides the objects can be taken: as they stand, turned as far as that looks the same; the nearest first."""
        source = self.source
        pose, like = scene.T_world_object, source.scene.T_world_object[0, :3, :3]
        both = source.symmetry == "half turn" and source.starts.yaw is not None
        sides = []
        for farther in (False, True)[: 1 + both]:
            turned = pose.copy()
            turned[:, :3, :3] = turned_alike(source.symmetry, pose[:, :3, :3], like, np.full(len(pose), farther))
            sides.append(dataclasses.replace(scene, T_world_object=turned))
        return sides

    def turn_rad(self, scene: Scene) -> FloatArray:
        """(N,) how far objects are turned from the demonstration's about the vertical, within half a turn either way."""
        turned = start_transforms(self.source, scene)
        return np.arctan2(turned[:, 1, 0], turned[:, 0, 0])

    def promise(self, scene: Scene, values: list[FloatArray]) -> FloatArray:
        """(N,) how likely copies succeed, by those before at like places and turns."""
        starts = self.source.starts
        which = np.arange(len(starts.start.low) + (starts.yaw is not None))  # place and turn
        return self.experience.promise(scene_features(self.source, scene, values), which)

    def plan(
        self,
        rows: NDArray[np.int64],
        scene: Scene,
        values: list[FloatArray],
        attempts: NDArray[np.int64],
        rng: np.random.Generator,
        noise_rngs: Sequence[np.random.Generator],
    ) -> PlannedRows:
        """Copies for some rows of a batch.

        Args:
            rows: (n,) of the batch; all else is of these rows alone.
            scene: what they begin with.
            values: what was drawn, by box of the starts.
            attempts: (n,) how often each has been tried before.
            rng: of the corrections that are tried.
            noise_rngs: n, of each row's noise.
        """
        source, control = self.source, self._control
        features = scene_features(source, scene, values)
        aim = self.experience.aims(features)
        correction = self.experience.corrections(features, attempts, rng)
        plan = plan_copies(source, scene, aim, correction)
        targets, reach_error_m = plan.servo_targets, plan.reach_error_m
        for less in _LESS_TURN_RAD:
            far = np.flatnonzero(reach_error_m > _UNREACHED_M)
            if not len(far) or source.starts.goal_kind != "place":
                break
            aside = correction[far]
            aside[:, CORRECTION_NAMES.index("turn")] -= less * np.sign(self.turn_rad(scene.rows(far)))
            plan = plan_copies(source, scene.rows(far), aim[far], aside)
            nearer = plan.reach_error_m < reach_error_m[far]
            targets[far[nearer]], reach_error_m[far[nearer]] = plan.servo_targets[nearer], plan.reach_error_m[nearer]
            correction[far[nearer]] = aside[nearer]
        own = paced(targets, control.robot.arm_joints, control.target_step_rad, source.paced_steps, self._most_steps)
        noise = [self._noise_of(one, steps) for one, steps in zip(noise_rngs, own.source_step, strict=True)]
        reached = reach_error_m <= _UNREACHED_M
        return PlannedRows(rows, scene, features, aim, correction, reached, own.servo_targets, np.stack(noise), own.source_step)

    def _noise_of(self, rng: np.random.Generator, source_step: FloatArray) -> FloatArray:
        """(T', 23) rad on the targets of one copy; none from the release on, after which nothing can be mended."""
        noise = self._noise.std_rad * _NOISE_SHARES * rng.standard_normal((len(source_step), ARM_HAND.num_joints))
        noise[source_step >= self.source.quiet] = 0.0
        return np.zeros_like(noise) if rng.random() < self._noise.free_fraction else noise

    # ---- what became of them ------------------------------------------------------------------------------------------------

    def missed(self, planned: PlannedRows, played: Played) -> FloatArray:
        """(n, 3) m from where the moved body should end, or come down, to where it did."""
        if self.source.starts.goal_kind == "bearing" and played.batch:
            landed = landing(played.batch["object_pos_world"][:, planned.rows])
            return (landed - planned.scene.goal) * np.array([1.0, 1.0, 0.0])
        return played.end_pose[planned.rows, :3, 3] - self._wanted_end(planned.scene)

    def _wanted_end(self, scene: Scene) -> FloatArray:
        """(n, 3) m where the moved body should end."""
        source = self.source
        if source.starts.goal_kind == "start":
            pose = start_transforms(source, scene)
            return pose[:, :3, :3] @ source.end + pose[:, :3, 3]
        wanted = np.tile(source.end, (len(scene.goal), 1))
        axes = 2 if source.starts.goal_kind == "bearing" else scene.goal.shape[1]
        wanted[:, :axes] = scene.goal[:, :axes]
        if source.starts.on_table:
            wanted[:, 2] = scene.T_world_object[:, 2, 3]
        return wanted

    def standing(self, planned: PlannedRows, played: Played) -> NDArray[np.bool_]:
        """(n,) whether the object ended as upright as it began, where it is set down."""
        if not self.source.starts.on_table:
            return np.ones(len(planned.rows), dtype=bool)
        return played.end_pose[planned.rows, 2, 2] > _STANDING_COSINE

    def plays(
        self, number: int, planned: PlannedRows, played: Played, tries: Sequence[tuple[int, int]], mend_reach: bool
    ) -> list[Play]:
        """The copies as plays; `tries` are the batch's draws and attempts, `number` is the demonstration's."""
        miss, standing = self.missed(planned, played), self.standing(planned, played)
        return [
            Play(
                draw=tries[row][0],
                attempt=tries[row][1],
                features=planned.features[index].tolist(),
                aim=planned.aim[index].tolist(),
                correction=planned.correction[index].tolist(),
                miss=miss[index].tolist(),
                standing=bool(standing[index]),
                success=bool(played.success[row]),
                reached=bool(planned.reached[index]),
                mendable=bool(planned.reached[index]) or mend_reach,
                source=number,
            )
            for index, row in enumerate(planned.rows)
        ]
