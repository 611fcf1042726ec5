"""Lifts followed task-relevant points to metres in the camera frame.

Points of the hand come from the hand track; points on an object ride on its rigid pose, at the depth at which their ray
meets the object's points. What stands still is looked up in the depth pictures. Without them it lies on the table if that is
where the moved object gets to, else where its ray passes nearest to an object: a thing matters because an object comes there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from demos.camera import project, transform, unproject
from demos.extract.task_points.task_points import HAND, HAND_POINTS, TARGET, TaskPointQuery
from demos.interaction import BoolArray, FloatArray, HandTrack, KeypointTrack, ObjectTrack
from demos.parts import DepthFrames, PixelTracks, resize_nearest

_NEIGHBOURS = 8
_INSIDE_SHARE = 0.25  # of the object's points that are around a point within it
_DEPTH_SAMPLES = 9  # depth pictures that are looked at for a point that stands still
_VIEWS = 40  # frames from which a point's place in its object is worked out
_INDEPENDENT_VIEWS = 6.0  # the errors of neighbouring frames are alike, so that many frames count as so few
_VIEW_SIGMA_PX = 2.0
_PLACE_SIGMA_M = 0.02  # of the place found in one frame, along its ray
_AT_OBJECT_M = 0.10  # a place on the table is believed if some object comes so near
_PASSING_POINTS = 200  # object points next to a ray that say its depth
_MAX_CLOUD = 20_000


def lift_task_points(
    tracks: PixelTracks,
    queries: Sequence[TaskPointQuery],
    on: Sequence[str | None],
    hand: HandTrack,
    objects: Mapping[str, ObjectTrack],
    K: FloatArray,
    T_world_camera: FloatArray | None = None,
    depth: DepthFrames | None = None,
    image_size: tuple[int, int] | None = None,
) -> KeypointTrack:
    """Task-relevant points in 3D.

    Args:
        tracks: (T, K) from `follow_points`, in px of the video (the kept pictures may be smaller: scale them first).
        queries: that were followed.
        on: what each rides on, from `carriers`.
        hand: in the camera frame.
        objects: by name; an object without an entry, or without any point, counts as unknown.
        K: (3, 3) px of the video.
        T_world_camera: (4, 4), the table being z = 0; None where nothing is known of it.
        depth: T depth pictures of the same view.
        image_size: (width, height) of the video; None where the depth pictures have its size.
    """
    frames, count = tracks.visible.shape
    points = np.full((frames, count, 3), np.nan)
    images, visible = tracks.pixels.copy(), tracks.visible.copy()
    cloud = _passing_cloud(objects)
    for number, (query, carrier) in enumerate(zip(queries, on, strict=True)):
        path, seen = tracks.pixels[:, number], tracks.visible[:, number]
        if carrier == HAND:
            points[:, number] = _hand_point(query, path, hand)
            visible[:, number] &= hand.confidence > 0.0
        elif carrier is not None and carrier in objects:
            points[:, number] = _object_point(query, path, seen, objects[carrier], K)
        elif carrier is None:
            points[:, number] = _standing_point(path[query.frame], seen, cloud, K, T_world_camera, depth, image_size)
        if carrier in objects:
            hidden = ~seen & np.isfinite(points[:, number]).all(axis=1) & (points[:, number, 2] > 0.0)
            images[hidden, number] = project(points[hidden, number], K)
    for part in {query.part for query, carrier in zip(queries, on, strict=True) if carrier is None}:
        own = {query.name: n for n, query in enumerate(queries) if query.part == part and on[n] is None}
        if depth is None and T_world_camera is not None:
            _place_rim(
                part, own, {name: tracks.pixels[queries[n].frame, n] for name, n in own.items()}, points, K, T_world_camera
            )
        elif TARGET in own and all(f"{part}_rim_{side}" in own for side in ("left", "right")):  # its pixel shows the far wall
            points[:, own[TARGET]] = np.mean([points[:, own[f"{part}_rim_{side}"]] for side in ("left", "right")], axis=0)
    visible &= np.isfinite(points).all(axis=-1)
    return KeypointTrack(points, images, visible, tuple(query.name for query in queries))


def _hand_point(query: TaskPointQuery, path: FloatArray, hand: HandTrack) -> FloatArray:
    """(T, 3) m: the key point of that name, or the mean of all shifted by what the query is away from the nearest."""
    index = HAND_POINTS.get(query.name)
    if index is None:
        distance = np.linalg.norm(hand.keypoints_image - path[:, None], axis=-1)
        index = int(np.nanargmin(np.append(np.nanmedian(distance, axis=0), np.inf)))
    return fill_path(hand.keypoints_camera[:, index])


def _object_point(query: TaskPointQuery, path: FloatArray, seen: BoolArray, track: ObjectTrack, K: FloatArray) -> FloatArray:
    """(T, 3) m of a point on an object: fixed to the rigid pose where there is one, else at the depth of its neighbours."""
    frames = len(path)
    points = np.full((frames, 3), np.nan)
    posed = np.isfinite(track.pose_camera[:, 0, 0])
    place = _place_in_object(query, path, seen, track, K)
    if place is not None:
        points[posed] = transform(track.pose_camera[posed], place[None])[:, 0]
    for frame in np.flatnonzero(seen if place is None else seen & ~posed):
        points[frame] = _on_ray(path[frame], track, int(frame), K, query.inside)
    return fill_path(points)


def _place_in_object(
    query: TaskPointQuery, path: FloatArray, seen: BoolArray, track: ObjectTrack, K: FloatArray
) -> FloatArray | None:
    """Place (3,) m in the object's frame; None where there is no pose.

    First from one frame near the query, then such that all views agree: one frame says the depth as well as the object's
    points around the ray do, and when the object turns, its poses say more.
    """
    posed = np.flatnonzero(np.isfinite(track.pose_camera[:, 0, 0]) & np.isfinite(path[:, 0]))
    usable = posed[seen[posed]] if seen[posed].any() else posed
    for frame in usable[np.argsort(np.abs(usable - query.frame), kind="stable")][:_DEPTH_SAMPLES]:
        point = _on_ray(path[frame], track, int(frame), K, query.inside)
        if query.inside and track.pose_camera[frame, 2, 3] > point[2]:  # points lie on the front, the pose's origin amid it
            point = point * (track.pose_camera[frame, 2, 3] / point[2])
        if np.isfinite(point).all():
            place = transform(np.linalg.inv(track.pose_camera[frame]), point[None])[0]
            views = usable[np.linspace(0, len(usable) - 1, min(_VIEWS, len(usable))).astype(int)]
            if query.inside:  # its pixels have followed the surface
                return place
            return _agreed_place(place, path[views], track.pose_camera[views], K)
    return None


def _agreed_place(place: FloatArray, pixels: FloatArray, poses: FloatArray, K: FloatArray) -> FloatArray:
    """The place (3,) m nearest to a first guess whose projections by poses (V, 4, 4) fall on the pixels (V, 2)."""
    first = place
    share = min(1.0, _INDEPENDENT_VIEWS / len(pixels)) / _VIEW_SIGMA_PX**2
    for _ in range(4):
        x, y, z = (poses[:, :3, :3] @ place + poses[:, :3, 3]).T
        if z.min() < 0.05:
            return first
        by_point = np.zeros((len(z), 2, 3))
        by_point[:, 0, 0], by_point[:, 0, 2] = K[0, 0] / z, -K[0, 0] * x / z**2
        by_point[:, 1, 1], by_point[:, 1, 2] = K[1, 1] / z, -K[1, 1] * y / z**2
        jacobian = by_point @ poses[:, :3, :3]
        error = np.stack([K[0, 0] * x / z + K[0, 2], K[1, 1] * y / z + K[1, 2]], axis=-1) - pixels
        weight = share / np.maximum(1.0, np.linalg.norm(error, axis=-1) / (2.0 * _VIEW_SIGMA_PX))
        normal = np.einsum("v,vki,vkj->ij", weight, jacobian, jacobian) + np.eye(3) / _PLACE_SIGMA_M**2
        gradient = np.einsum("v,vki,vk->i", weight, jacobian, error) + (place - first) / _PLACE_SIGMA_M**2
        place = place - np.linalg.solve(normal, gradient)
    return place


def _on_ray(pixel: FloatArray, track: ObjectTrack, frame: int, K: FloatArray, inside: bool) -> FloatArray:
    """Point (3,) m behind a pixel at the depth of the object's points next to the ray; for one inside, amid those around it."""
    known = np.isfinite(track.points_camera[frame]).all(axis=-1)
    cloud = track.points_camera[frame, known]
    cloud = cloud[cloud[:, 2] > 0.0]
    if len(cloud) == 0 or not np.isfinite(pixel).all():
        return np.full(3, np.nan)
    away = np.linalg.norm(project(cloud, K) - pixel, axis=-1)
    if inside:
        around = cloud[np.argsort(away)[: max(_NEIGHBOURS, round(_INSIDE_SHARE * len(cloud)))], 2]
        z = 0.5 * (around.min() + around.max())
    else:
        nearest = np.argsort(away)[:_NEIGHBOURS]
        z = np.average(cloud[nearest, 2], weights=1.0 / (away[nearest] + 1.0))
    return unproject(pixel, np.asarray(z), K)


def _standing_point(
    pixel: FloatArray,
    seen: BoolArray,
    cloud: FloatArray,
    K: FloatArray,
    T_world_camera: FloatArray | None,
    depth: DepthFrames | None,
    image_size: tuple[int, int] | None,
) -> FloatArray:
    """(3,) m of what stands still: by the depth of the frames that show it, on the table, or next to where an object comes."""
    if depth is not None and seen.any():
        shown = np.flatnonzero(seen)
        chosen = shown[np.linspace(0, len(shown) - 1, min(_DEPTH_SAMPLES, len(shown))).astype(int)]
        z = np.array([_depth_at(depth.read_m(int(frame)), pixel, image_size) for frame in chosen])
        if np.isfinite(z).any():
            return unproject(pixel, np.asarray(np.nanmedian(z)), K)
    lying = on_table(pixel, K, T_world_camera) if T_world_camera is not None else np.full(3, np.nan)
    if len(cloud) == 0 or np.linalg.norm(cloud - lying, axis=-1).min() < _AT_OBJECT_M:
        return lying
    ray = unproject(pixel, np.asarray(1.0), K)
    along = cloud @ ray / (ray @ ray)
    away = np.linalg.norm(cloud - along[:, None] * ray, axis=-1)
    nearest = np.argsort(away)[:_PASSING_POINTS]
    beside = ray * np.average(along[nearest], weights=1.0 / (away[nearest] + 0.01))
    return lying if np.isfinite(lying[2]) and lying[2] < beside[2] else beside  # nothing is below the table


def _passing_cloud(objects: Mapping[str, ObjectTrack]) -> FloatArray:
    """Where object points ever are (N, 3) m, thinned evenly."""
    clouds = [track.points_camera.reshape(-1, 3) for track in objects.values()]
    cloud = np.concatenate([np.zeros((0, 3)), *clouds])
    cloud = cloud[np.isfinite(cloud).all(axis=-1)]
    return cloud[:: max(1, len(cloud) // _MAX_CLOUD)]


def _place_rim(
    part: str,
    own: Mapping[str, int],
    pixel: Mapping[str, FloatArray],
    points: FloatArray,
    K: FloatArray,
    T_world_camera: FloatArray,
) -> None:
    """Places the rim (T, K, 3) of an open container whose middle is known, because the moved object comes there.

    The left and right end lie in the upright plane through the middle that faces the camera, and give the height of the rim,
    at which the rest of it lies. Changes `points` in place; does nothing without middle and both ends.
    """
    rim = {name: n for name, n in own.items() if name.startswith(f"{part}_rim_")}
    ends = [f"{part}_rim_left", f"{part}_rim_right"]
    if TARGET not in own or not all(name in rim for name in ends):
        return
    middle = points[0, own[TARGET]]
    eye = T_world_camera[:3, 3]
    ahead = (transform(T_world_camera, middle[None])[0] - eye)[:2]
    if not np.isfinite(middle).all() or np.linalg.norm(ahead) < 1e-6:
        return
    facing = T_world_camera[:2, :3].T @ (ahead / np.linalg.norm(ahead))  # horizontal, in the camera frame
    rays = np.array([unproject(pixel[name], np.asarray(1.0), K) for name in ends])
    reach = rays @ facing
    if (reach < 1e-6).any():
        return
    placed = rays * (float(middle @ facing) / reach)[:, None]
    height_m = float(transform(T_world_camera, placed)[:, 2].mean())
    points[:, own[TARGET]] = placed.mean(axis=0)
    for name, n in rim.items():
        points[:, n] = on_table(pixel[name], K, T_world_camera, height_m)


def _depth_at(picture: FloatArray, pixel: FloatArray, image_size: tuple[int, int] | None) -> float:
    """Depth m at a pixel (2,) of the video; NaN where there is none.

    Task-relevant points lie on edges and corners of things, where many of the pixels around show what is behind: the near
    part of the 5 x 5 pixels counts.
    """
    if image_size is not None:
        picture = resize_nearest(picture, (image_size[1], image_size[0]))
    x, y = (max(0, round(float(value))) for value in pixel)
    around = picture[max(0, y - 2) : y + 3, max(0, x - 2) : x + 3]
    around = around[np.isfinite(around) & (around > 0.0)]
    return float(np.percentile(around, 10)) if len(around) else float("nan")


def on_table(pixel: FloatArray, K: FloatArray, T_world_camera: FloatArray, height_m: float = 0.0) -> FloatArray:
    """Point (3,) m in the camera frame where a pixel's ray meets the plane z = `height_m` of the world; NaN if it does not."""
    ray = unproject(pixel, np.asarray(1.0), K)
    falls = float(T_world_camera[2, :3] @ ray)
    z = (height_m - T_world_camera[2, 3]) / falls if abs(falls) > 1e-6 else -1.0
    return ray * z if z > 0.0 else np.full(3, np.nan)


def fill_path(path: FloatArray) -> FloatArray:
    """A path (T, D) with unknown (NaN) frames interpolated, and held before the first and after the last known one."""
    known = np.isfinite(path).all(axis=1)
    if not known.any() or known.all():
        return path
    frames = np.arange(len(path))
    return np.stack([np.interp(frames, frames[known], column[known]) for column in path.T], axis=-1)
