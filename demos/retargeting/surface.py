"""An object's surface from points on it, without a mesh: signed distance and outward direction of any place near it.

The surface is the zero of a smooth function through the points (cubic radial basis functions, with one more point on either
side of each along its normal), so that 128 points of a bottle are enough for a millimetre.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from dexvid_envs.errors import DexVidError

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
_NEIGHBOURS = 10  # of a point, to which its tangent plane is fitted
_MOST_POINTS = 160  # more are thinned out: a distance costs as much as there are points
_OFFSET_M = 0.01  # of the points on either side
_LENGTH_M = 0.1  # unit of the basis functions
_SMOOTHING = 0.01  # tracked points are a few millimetres off; of true ones this costs a tenth of a millimetre


@dataclasses.dataclass(frozen=True)
class Nearness:
    """Where places are relative to a surface.

    Attributes:
        distance_m: (N,) signed distance, negative inside.
        outward: (N, 3) unit vectors away from the object.
        beside: (N,) the surface is known there: seen points lie under or above the place.
    """

    distance_m: FloatArray
    outward: FloatArray
    beside: BoolArray


class ObjectSurface:
    """The surface through points (P, 3) m in the object's frame; NaN rows are left out.

    Normals point away from the points' middle, so that the inner walls of an open vessel count as its inside.

    Raises:
        DexVidError: too few points are known.
    """

    def __init__(self, points_object: FloatArray) -> None:
        points = points_object[np.isfinite(points_object).all(axis=1)]
        if len(points) < _NEIGHBOURS + 1:
            raise DexVidError(
                f"an object's surface needs at least {_NEIGHBOURS + 1} known points, got {len(points)}; "
                "retarget without contact, or track more points"
            )
        normals = _fitted_normals(points)
        kept = _spread(points, _MOST_POINTS)
        self.points_object, self.normals_object = points[kept], normals[kept]
        lower, upper = self.points_object.min(axis=0), self.points_object.max(axis=0)
        self._box_centre, self._box_half = (lower + upper) / 2, (upper - lower) / 2
        self._tree = KDTree(self.points_object)
        self._spacing_m = float(np.median(self._tree.query(self.points_object, k=4)[0][:, 3]))
        self._fit()

    def near(self, places_object: FloatArray, distance_m: FloatArray) -> BoolArray:
        """(N,) whether places (N, 3) lie within distances (N,) of the points' box, a quick first look."""
        outside = np.maximum(np.abs(places_object - self._box_centre) - self._box_half, 0.0)
        return (outside * outside).sum(axis=1) < distance_m * distance_m

    def nearness(self, places_object: FloatArray) -> Nearness:
        """Nearness of places (N, 3) m in the object's frame."""
        squares = self._squares(places_object)
        roots = np.sqrt(squares)
        value = (roots * squares) @ self._weights + places_object @ self._slope + self._level
        # The gradient of |x - c|^3 is 3 |x - c| (x - c).
        roots *= self._weights
        gradient = 3.0 * (roots.sum(axis=1)[:, None] * places_object - roots @ self._centres) + self._slope
        steepness = np.maximum(np.sqrt((gradient * gradient).sum(axis=1)), 1e-9)
        distance = value / np.maximum(steepness, 0.5)
        nearest, _ = self._tree.query(places_object)
        # Beyond the rim of what was seen the function goes on into the air; that is no surface.
        aside = np.sqrt(np.maximum(nearest**2 - distance**2, 0.0))
        return Nearness(distance, gradient / steepness[:, None], aside < 2 * self._spacing_m)

    def _squares(self, places: FloatArray) -> FloatArray:
        """(N, C) squared distances in m^2 of places (N, 3) from the centres."""
        squares = -2.0 * places @ self._centres.T
        squares += (places * places).sum(axis=1)[:, None]
        squares += (self._centres * self._centres).sum(axis=1)
        return np.maximum(squares, 0.0, out=squares)

    def _fit(self) -> None:
        points, sides = self.points_object, _OFFSET_M * self.normals_object
        self._centres = np.concatenate([points, points + sides, points - sides])
        values = np.repeat([0.0, _OFFSET_M, -_OFFSET_M], len(points))
        count = len(values)
        system = np.zeros((count + 4, count + 4))
        system[:count, :count] = self._squares(self._centres) ** 1.5 / _LENGTH_M**3 + _SMOOTHING * np.eye(count)
        system[:count, count : count + 3], system[:count, count + 3] = self._centres, 1.0
        system[count:, :count] = system[:count, count:].T
        solved = np.linalg.solve(system, np.concatenate([values, np.zeros(4)]))
        self._weights, self._slope, self._level = solved[:count] / _LENGTH_M**3, solved[count:-1], solved[-1]


def _fitted_normals(points: FloatArray) -> FloatArray:
    """(P, 3) unit normals of planes through each point's neighbours, away from the middle of all."""
    _, index = KDTree(points).query(points, k=_NEIGHBOURS)
    offsets = points[index] - points[index].mean(axis=1, keepdims=True)
    _, axes = np.linalg.eigh(np.einsum("pki,pkj->pij", offsets, offsets))
    normals: FloatArray = axes[:, :, 0]
    inward = np.einsum("pi,pi->p", normals, points - points.mean(axis=0)) < 0
    normals[inward] *= -1.0
    return normals


def _spread(points: FloatArray, count: int) -> NDArray[np.int64]:
    """Indices of so many points that lie far from each other, each the furthest from those before it."""
    if len(points) <= count:
        return np.arange(len(points))
    chosen = [0]
    nearest = np.full(len(points), np.inf)
    while len(chosen) < count:
        nearest = np.minimum(nearest, np.linalg.norm(points - points[chosen[-1]], axis=1))
        chosen.append(int(nearest.argmax()))
    return np.array(chosen, dtype=np.int64)
