"""How the front of a rigid object leans: points that moved far in the picture say it for those that were seen for a moment.

The ellipsoid that a mask suggests faces the camera. A drawer's front or a box seen from the corner does not; each of its points
that is followed through a motion tells its own distance, and together they tell the slant of all.
"""

from __future__ import annotations

import numpy as np

from demos.camera import FloatArray
from demos.extract.objects.rigid_sightings import Sightings
from demos.extract.objects.rigid_start import Body
from demos.extract.objects.rigid_structure import PointPrior

_SLOPE_SIGMA = 1.0  # how much a front may lean: 45 degrees are usual
_OUTLYING = 0.1  # of the half extent, beyond which a point does not belong to the surface
_FAR_SIZES = 0.3  # half extents that a point has to move in the picture for its distance to be sure
_LEAST_POINTS = 6
_ROUNDS = 6  # of reweighting


def lean(prior: PointPrior, points: FloatArray, sightings: Sightings, body: Body, distance_m: float) -> PointPrior:
    """The prior with its places leaned as the points (P + 1, 3) m are that moved far; the last one is the origin.

    Args:
        prior: of all points, on the front of the body.
        points: as they were found.
        sightings: of all points.
        body: the ellipsoid.
        distance_m: of the object.
    """
    sure = _moved(sightings, len(points)) > _FAR_SIZES * body.half[0] / distance_m
    sure[-1] = False
    if sure.sum() < _LEAST_POINTS:
        return prior
    scale = float(body.half[0])
    beside = points @ body.axes[:, :2] / scale
    rows = np.column_stack([np.ones(len(points)), beside])
    off = ((points - prior.place) * prior.direction).sum(axis=1) / scale
    weight, fitted = np.ones(int(sure.sum())), np.zeros(3)
    expected = np.diag(_OUTLYING**2 / np.array([1.0, _SLOPE_SIGMA**2, _SLOPE_SIGMA**2]))
    for _ in range(_ROUNDS):
        weighted = rows[sure] * weight[:, None]
        fitted = np.linalg.solve(weighted.T @ rows[sure] + expected, weighted.T @ off[sure])
        weight = 1.0 / (1.0 + ((off[sure] - rows[sure] @ fitted) / _OUTLYING) ** 2)
    place = prior.place + (rows @ fitted * scale)[:, None] * prior.direction
    place[-1] = prior.place[-1]
    return PointPrior(place, prior.direction, prior.sigma, prior.across_sigma)


def _moved(sightings: Sightings, count: int) -> FloatArray:
    """(count,) extent in rays over which each point is sighted."""
    low, high = np.full((count, 2), np.inf), np.full((count, 2), -np.inf)
    np.minimum.at(low, sightings.point, sightings.ray)
    np.maximum.at(high, sightings.point, sightings.ray)
    return np.linalg.norm(np.maximum(high - low, 0.0), axis=-1)
