"""The hand's flesh about its bones: where points of a depth camera lie on it, and how far it reaches into the table."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from demos.extract.hand.model import NUM_PARAMETERS, RADIUS_RATIOS, HandShape
from demos.interaction import HAND_BONES

FloatArray = NDArray[np.float64]

SURFACE_SIGMA_M = 0.004
SURFACE_REACH_M = 0.025  # a point farther from the hand belongs to something else
SURFACE_TRUST = 0.2  # neighbouring points of a depth picture err together


def surface_distances(
    points: FloatArray, surface: FloatArray, shape: HandShape
) -> tuple[FloatArray, NDArray[np.int64], FloatArray, FloatArray]:
    """Where surface points (T, M, 3) lie on the hand with key points (T, 21, 3).

    Returns:
        (T, M) signed distance from the flesh of the nearest bone in m (infinite where there is no point), the bone's number in
        `HAND_BONES`, the place along the bone in [0, 1], and (T, M, 3) the direction out of the bone.
    """
    radii = RADIUS_RATIOS * float(np.linalg.norm(shape.palm_m[2]))
    best = np.full(surface.shape[:2], np.inf)
    bone, along, outwards = np.zeros(best.shape, np.int64), np.zeros(best.shape), np.zeros(surface.shape)
    for number, (parent, child) in enumerate(HAND_BONES):
        axis = points[:, child] - points[:, parent]  # (T, 3)
        arm = surface - points[:, parent, None]
        share = np.einsum("tmi,ti->tm", arm, axis) / np.maximum((axis**2).sum(axis=-1), 1e-9)[:, None]
        share = np.clip(share, 0.0, 1.0)
        out = arm - share[..., None] * axis[:, None]
        length = np.linalg.norm(out, axis=-1)
        distance = length - (radii[parent] + share * (radii[child] - radii[parent]))
        nearer = np.abs(distance) < np.abs(best)  # NaN compares as farther
        best[nearer], bone[nearer], along[nearer] = distance[nearer], number, share[nearer]
        outwards[nearer] = out[nearer] / np.maximum(length[nearer], 1e-9)[:, None]
    return np.where(np.isfinite(best), best, 1e3), bone, along, outwards


def add_surface(
    normal: FloatArray, gradient: FloatArray, points: FloatArray, by_step: FloatArray, surface: FloatArray, shape: HandShape
) -> None:
    """Each surface point near the hand lies on the flesh of the bone that is nearest to it."""
    frames = len(points)
    distance, bone, along, outwards = surface_distances(points, surface, shape)
    weight = np.where(np.abs(distance) < SURFACE_REACH_M, 1.0, 0.0) / (1.0 + (distance / SURFACE_SIGMA_M) ** 2)
    weight *= SURFACE_TRUST * SURFACE_SIGMA_M**-2
    by_point = np.zeros((frames, 21, 3, 21, 3))  # curvature of the error by the key points' places
    pull = np.zeros((frames, 21, 3))
    for number, (parent, child) in enumerate(HAND_BONES):
        own = np.where(bone == number, weight, 0.0)
        for first, share in ((parent, 1.0 - along), (child, along)):
            pull[:, first] -= np.einsum("tm,tmi->ti", own * share * distance, outwards)
            for second, other in ((parent, 1.0 - along), (child, along)):
                by_point[:, first, :, second] += (outwards.swapaxes(-1, -2) * (own * share * other)[:, None]) @ outwards
    jacobian = by_step.reshape(frames, 63, NUM_PARAMETERS)
    normal += jacobian.swapaxes(-1, -2) @ by_point.reshape(frames, 63, 63) @ jacobian
    gradient += np.einsum("tkp,tk->tp", jacobian, pull.reshape(frames, 63))


def below_table(points: FloatArray, table: FloatArray, shape: HandShape) -> FloatArray:
    """How far (T, 21) the flesh about key points reaches into the table, m; 0 where it does not."""
    radii = RADIUS_RATIOS * float(np.linalg.norm(shape.palm_m[2]))
    return np.maximum(radii - (points @ table[:3] + table[3]), 0.0)
