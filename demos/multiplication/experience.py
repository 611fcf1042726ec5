"""What the plays so far teach: where to aim and how to grip a copy, from what became of those most like it.

Aims follow a polynomial model of where objects ended; grips are searched locally, as in the cross-entropy method: around the
best of the nearest plays, and the wider the more of those failed.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from demos.multiplication.copies import CORRECTION_NAMES, CORRECTION_SCALE, start_transforms
from demos.multiplication.play import Scene
from demos.multiplication.source import SourceMotion
from demos.multiplication.starts import TaskStarts

FloatArray = NDArray[np.float64]
_NEIGHBOURS, _ELITES = 24, 6
_AIM_SAMPLES = 24  # known ends before an aim is changed
_WIDER = 0.4  # how much more widely grips are searched with each try
_RIDGE = 2.0
_UNTRIED, _UNTRIED_PLAYS = 0.7, 20.0  # success that is expected before anything is known, and how many plays that counts for
_OVERALL_PLAYS = 2.0  # for which the success of all plays counts where few were alike
_ALIKE = np.array([0.35, 0.35, 0.1])  # differences of place (both axes) and turn at which plays tell about each other
#: An object that ends further off did not arrive, and tells nothing about the aim.
_FAR_M, _FAR_THROW_M = 0.10, 0.40
_AIM_SHARE = 0.6  # of that distance, by which it is aimed elsewhere at most


@dataclasses.dataclass(frozen=True)
class Play:
    """One played copy.

    Attributes:
        draw, attempt: which draw of the task it is, and how often that has been tried before.
        features: (F,) of its scene, see `scene_features`.
        aim: (3,) m; correction: (C,), with which it was planned.
        miss: (3,) m from where the object should end to where it ended.
        standing: it ended as it stood, so that the miss tells about the aim.
        success: the task's.
        reached: the arm reaches all of the path; otherwise the copy was not played.
        mendable: should it have failed, another grip may help; where the arm does not reach, only if it may take another side.
        source: which of several demonstrations it followed.
        side: from which it took the object, the sides of all demonstrations counted through.
    """

    draw: int
    attempt: int
    features: list[float]
    aim: list[float]
    correction: list[float]
    miss: list[float]
    standing: bool
    success: bool
    reached: bool
    mendable: bool
    source: int = 0
    side: int = 0


def scene_features(source: SourceMotion, scene: Scene, values: list[FloatArray]) -> FloatArray:
    """(N, F) what sets copies apart, each about 1 at the rim of what is drawn: places, then size, mass and friction.

    Of the yaw it is the turn from the source's that counts, which an object's symmetry takes part of.
    """
    parts = []
    for box, value in zip(source.starts.boxes, values, strict=True):
        if box is source.starts.yaw:
            turns = start_transforms(source, scene)
            parts.append(2 * np.arctan2(turns[:, 1, 0], turns[:, 0, 0])[:, None] / box.size)
        else:
            parts.append(2 * (value - box.low) / np.maximum(box.size, 1e-9) - 1)
    size = scene.extents_m / source.scene.extents_m if scene.extents_m.shape[1] else np.ones((len(scene.mass_kg), 1))
    parts += [
        np.log(size).mean(axis=-1, keepdims=True) / np.log(1.15),
        (np.log(scene.mass_kg) - np.log(source.scene.mass_kg))[:, None],
        (scene.friction - 1.0)[:, None] / 0.2,
    ]
    return np.concatenate(parts, axis=-1)


class Experience:
    """Plays so far, and what follows from them."""

    def __init__(self, starts: TaskStarts) -> None:
        """Args: `starts` of the task, on whose goal it depends what can be aimed."""
        axes = 0 if starts.goal is None else len(starts.goal.low)
        self._aim_axes = {"place": axes, "bearing": 2, "start": 0}[starts.goal_kind]
        self._far_m = _FAR_THROW_M if starts.goal_kind == "bearing" else _FAR_M
        self._plays: list[Play] = []

    def add(self, plays: list[Play]) -> None:
        """Takes in what was played."""
        self._plays += plays

    def aims(self, features: FloatArray) -> FloatArray:
        """(N, 3) m where to aim beside the goals of scenes with features (N, F)."""
        aims = np.zeros((len(features), 3))
        known = [play for play in self._plays if play.standing and np.linalg.norm(play.miss) < self._far_m]
        if len(known) < _AIM_SAMPLES or not self._aim_axes:
            return aims
        wanted = np.array([play.aim for play in known]) - np.array([play.miss for play in known])
        terms = _terms(np.array([play.features for play in known]))
        weights = np.linalg.solve(terms.T @ terms + _RIDGE * np.eye(terms.shape[1]), terms.T @ wanted)
        aims[:, : self._aim_axes] = (_terms(features) @ weights)[:, : self._aim_axes]
        return np.clip(aims, -_AIM_SHARE * self._far_m, _AIM_SHARE * self._far_m)

    def promise(self, features: FloatArray, which: NDArray[np.int64]) -> FloatArray:
        """(N,) how likely copies of features (N, F) succeed, by the plays that were alike in the features `which`.

        Where few were, all count; and what was never tried is promising, so that it will be.
        """
        tried = [play for play in self._plays if play.mendable]
        if not tried:
            return np.full(len(features), _UNTRIED)
        way = (features[:, None, which] - np.array([play.features for play in tried])[:, which]) / _ALIKE[: len(which)]
        weight = np.exp(-0.5 * (way**2).sum(axis=-1))
        success = np.array([play.success for play in tried], dtype=np.float64)
        overall = (success.sum() + _UNTRIED * _UNTRIED_PLAYS) / (len(success) + _UNTRIED_PLAYS)
        return (weight @ success + overall * _OVERALL_PLAYS) / (weight.sum(axis=-1) + _OVERALL_PLAYS)

    def corrections(self, features: FloatArray, attempts: NDArray[np.int64], rng: np.random.Generator) -> FloatArray:
        """(N, C) grips for scenes with features (N, F), each tried without success `attempts` (N,) times before."""
        count = len(features)
        spread = CORRECTION_SCALE * rng.standard_normal((count, len(CORRECTION_NAMES)))
        if not self._plays:
            return np.zeros_like(spread)
        tried = np.array([play.correction for play in self._plays])
        success = np.array([play.success for play in self._plays], dtype=np.float64)
        score = success - np.minimum(np.linalg.norm([play.miss for play in self._plays], axis=-1), 0.3)
        way = (features[:, None] - np.array([play.features for play in self._plays])) * _weights(features.shape[1])
        nearest = np.argsort((way**2).sum(axis=-1), axis=-1, kind="stable")[:, :_NEIGHBOURS]
        best = np.take_along_axis(nearest, np.argsort(-score[nearest], axis=-1, kind="stable")[:, :_ELITES], axis=-1)
        failing = 1.0 - success[nearest].mean(axis=-1, keepdims=True)
        return tried[best].mean(axis=1) + np.maximum(failing, _WIDER * attempts[:, None]) * spread


def _terms(features: FloatArray) -> FloatArray:
    """(N, M) terms of the model: 1, the features, their squares and cubes (the hand follows a turn so far only)."""
    return np.concatenate([np.ones((len(features), 1)), features, features**2, features**3], axis=-1)


def _weights(count: int) -> FloatArray:
    """(F,) how much each feature counts for likeness of grips: what is gripped more than where it stands."""
    return np.where(np.arange(count) < count - 3, 0.3, 1.0)
