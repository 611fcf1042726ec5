"""How far an extracted `Interaction` is from the truth of its synthetic clip.

Every figure is the median over a clip's frames of the frame's median (lengths in mm, angles in degrees). A frame in which
something is to be seen and the estimate has nothing counts as infinitely wrong, so leaving out what is hard gains nothing.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from benchmarks.reconstruction_pose import position_errors, rotation_errors
from benchmarks.reconstruction_truth import Attached, Clip, TrueMotion, attach, meant_for_a_part
from demos.camera import transform
from demos.interaction import FINGERTIPS, WRIST, Interaction
from demos.parts import image_points

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

#: World frames of an estimate: as the given extrinsics say, or found by itself, with free heading and origin.
World = Literal["given", "estimated"]

_HAND_NAMES = ("wrist", "thumb_tip", "index_tip", "middle_tip", "ring_tip", "little_tip")
_MIDDLE_NAME = "object_centroid"
#: Names of the extraction that mean the same as `<object>_...` of the truth. Left and right do not: they depend on who looks.
_SAME_PLACE = {_MIDDLE_NAME: "middle", "object_top": "top", "object_bottom": "base"}
_JITTER_RATE_HZ = 20.0
_ALIGNING_ROUNDS = 20


@dataclasses.dataclass(frozen=True)
class Score:
    """What is measured.

    Attributes:
        figures: by name; NaN where nothing could be measured, inf where the estimate lacks most of what is asked for.
        curves: errors over the frames, (N,) mm or degrees; NaN where there is none.
        points_mm: (N, P) error of each object point; NaN where it is not visible.
    """

    figures: dict[str, float]
    curves: dict[str, FloatArray]
    points_mm: FloatArray


def score(
    interaction: Interaction,
    clip: Clip,
    *,
    correspondence: bool = True,
    world: World = "given",
    shown: NDArray[np.int64] | None = None,
) -> Score:
    """Measures an interaction, as it is and with the one scale of the clip that suits it best.

    Args:
        interaction: of the clip's video.
        clip: the truth.
        correspondence: an object point is the same point of the object in all frames; otherwise the points of each frame are
            compared with the nearest surface.
        world: "estimated" is compared after a turn about the vertical and a shift, of which `height_mm` is told.
        shown: (T,) the clip's picture behind each picture of the video, where the video is not the clip's own.

    Returns:
        Figures; those that begin with `scaled_` are after the one scale about the camera's centre.
    """
    motion = TrueMotion.at(interaction, clip, shown)
    pixels = _to_image(interaction, interaction.object_points_world)
    points = attach(pixels, interaction.object_visible, clip, motion, clip.handled)
    named = _attach_named(interaction, clip, motion)
    comparison = _Comparison(clip, motion, points, named, correspondence, world)

    factor = comparison.best_scale(interaction)
    as_it_is, curves, points_mm = comparison.measure(interaction)
    scaled, _, _ = comparison.measure(in_camera_scale(interaction, factor))
    constant = ("hand_px", "contact_precision", "contact_recall", "parts_share", "gravity_deg", "object_share", "pose_share")
    figures = as_it_is | {f"scaled_{name}": value for name, value in scaled.items() if name not in constant}
    return Score(figures | {"scale": factor}, curves, points_mm)


def moved(interaction: Interaction, T_new_world: FloatArray) -> Interaction:
    """The same in another world frame, by (4, 4); further objects are left out."""
    return dataclasses.replace(
        interaction,
        hand_keypoints_world=transform(T_new_world, interaction.hand_keypoints_world),
        object_points_world=transform(T_new_world, interaction.object_points_world),
        object_pose_world=T_new_world @ interaction.object_pose_world,
        keypoints_world=transform(T_new_world, interaction.keypoints_world),
        T_world_camera=T_new_world @ interaction.T_world_camera,
        further_objects={},
    )


def in_camera_scale(interaction: Interaction, factor: float) -> Interaction:
    """The same, larger by a factor about the camera's centre, so that nothing moves in the picture."""
    centre = interaction.T_world_camera[:3, 3]
    poses = interaction.object_pose_world.copy()
    poses[:, :3, 3] = centre + factor * (poses[:, :3, 3] - centre)
    return dataclasses.replace(
        interaction,
        hand_keypoints_world=centre + factor * (interaction.hand_keypoints_world - centre),
        object_points_world=centre + factor * (interaction.object_points_world - centre),
        object_pose_world=poses,
        keypoints_world=centre + factor * (interaction.keypoints_world - centre),
        further_objects={},
    )


def gravity_error_deg(interaction: Interaction, clip: Clip) -> float:
    """Angle between the estimated and the true vertical, seen from the camera."""
    cosine = interaction.T_world_camera[2, :3] @ clip.truth.T_world_camera[2, :3]  # z axis of the world in the camera frame
    return float(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0))))


def align_heading(source: FloatArray, target: FloatArray) -> FloatArray:
    """The turn about z and the shift (4, 4) that bring points (N, 3) m nearest to their targets; outliers count little."""
    weight = np.ones(len(source))
    pose = np.eye(4)
    for _ in range(_ALIGNING_ROUNDS):
        share = weight / weight.sum()
        a, b = source - share @ source, target - share @ target
        yaw = np.arctan2(share @ (a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]), share @ (a[:, 0] * b[:, 0] + a[:, 1] * b[:, 1]))
        pose[:2, :2] = [[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]]
        pose[:3, 3] = share @ target - pose[:3, :3] @ (share @ source)
        distance = np.linalg.norm(transform(pose, source) - target, axis=-1)
        weight = 1.0 / (distance + 0.1 * float(np.median(distance)) + 1e-6)
    return pose


@dataclasses.dataclass(frozen=True)
class _Named:
    """Key points with the true places that they are compared with.

    Attributes:
        places_world: (N, K, 3) m.
        of_hand: (K,) bool.
        of_things: (K,) bool, of the other parts; what lies on no part is neither.
        parts_share: share of the task-relevant parts that have a key point.
    """

    places_world: FloatArray
    of_hand: BoolArray
    of_things: BoolArray
    parts_share: float


def _attach_named(interaction: Interaction, clip: Clip, motion: TrueMotion) -> _Named:
    """By name, where the truth has the name; another point is compared with the surface on which it was first seen."""
    truth, parts = clip.truth, clip.parts()
    handled = truth.object_names[0]
    names = [f"{handled}_{_SAME_PLACE[name]}" if name in _SAME_PLACE else name for name in interaction.keypoint_names]
    pixels = _to_image(interaction, interaction.keypoints_world)
    attached = attach(pixels, interaction.keypoint_visible, clip, motion, range(len(truth.object_names)))
    places, meant = attached.places_world(motion), meant_for_a_part(attached, clip)
    seen = interaction.keypoint_visible.any(axis=0)
    of_hand, of_things = np.zeros(len(names), bool), np.zeros(len(names), bool)
    found: set[str] = set()
    for index, (name, given) in enumerate(zip(names, interaction.keypoint_names, strict=True)):
        if name in truth.keypoint_names:
            places[:, index] = motion.keypoints_world[:, truth.keypoint_names.index(name)]
        elif given == _MIDDLE_NAME:  # a drawer's middle has no name
            middle = 0.5 * (clip.surface_object.min(axis=0) + clip.surface_object.max(axis=0))
            places[:, index] = transform(motion.object_pose_world[0], middle[None])[:, 0]
        of_hand[index] = name in _HAND_NAMES
        on = {part for part, numbers in parts.items() if attached.number[index] in numbers and meant[index]}
        on |= {part for part, numbers in parts.items() if any(name.startswith(truth.object_names[o]) for o in numbers)}
        # a point that is called the object's counts as such wherever it lies
        of_things[index] = not of_hand[index] and (bool(on) or bool(meant[index]) or given.startswith("object"))
        if seen[index]:
            found |= {"hand"} if of_hand[index] else on
    return _Named(places, of_hand, of_things, len(found) / (1 + len(parts)))


@dataclasses.dataclass(frozen=True)
class _Comparison:
    """Everything that is known before the estimate's gauge is chosen."""

    clip: Clip
    motion: TrueMotion
    points: Attached
    named: _Named
    correspondence: bool
    world: World

    def best_scale(self, interaction: Interaction) -> float:
        """The factor about the camera's centre that brings hand and object points nearest; robust over the frames."""
        T_camera_world = np.linalg.inv(interaction.T_world_camera)
        T_camera_true = np.linalg.inv(self.clip.truth.T_world_camera)
        pairs = [(interaction.hand_keypoints_world, self.motion.hand_world, np.ones((interaction.num_frames, 21), bool))]
        if self.correspondence:
            pairs.append((interaction.object_points_world, self.points.places_world(self.motion), interaction.object_visible))
        ratios = []
        for estimated, true, visible in pairs:
            a, b = transform(T_camera_world, estimated), transform(T_camera_true, true)
            used = visible & np.isfinite(a).all(axis=-1) & np.isfinite(b).all(axis=-1)
            a, b = np.where(used[..., None], a, 0.0), np.where(used[..., None], b, 0.0)
            some = used.any(axis=1)
            ratios.append(np.einsum("npi,npi->n", a, b)[some] / np.einsum("npi,npi->n", a, a)[some])
        together = np.concatenate(ratios)
        return float(np.median(together)) if len(together) else 1.0

    def measure(self, interaction: Interaction) -> tuple[dict[str, float], dict[str, FloatArray], FloatArray]:
        """Figures, curves and the error of each object point, in the interaction's own scale."""
        figures: dict[str, float] = {"gravity_deg": gravity_error_deg(interaction, self.clip)}
        if self.world == "estimated":
            T_true_world = self._heading(interaction)
            figures["height_mm"] = 1e3 * abs(float(T_true_world[2, 3]))
            interaction = moved(interaction, T_true_world)
        hand, hand_curves = self._hand(interaction)
        target, target_curves, points_mm = self._object(interaction)
        figures |= hand | target | self._keypoints(interaction) | self._contact(interaction)
        return figures, hand_curves | target_curves, points_mm

    def _heading(self, interaction: Interaction) -> FloatArray:
        """The estimated world in the true one, by hand and object points."""
        source = [interaction.hand_keypoints_world.reshape(-1, 3)]
        target = [self.motion.hand_world.reshape(-1, 3)]
        if self.correspondence:
            places = self.points.places_world(self.motion)
            used = interaction.object_visible & np.isfinite(places).all(axis=-1)
            source.append(interaction.object_points_world[used])
            target.append(places[used])
        a, b = np.concatenate(source), np.concatenate(target)
        finite = np.isfinite(a).all(axis=-1)
        return align_heading(a[finite], b[finite]) if finite.any() else np.eye(4)

    def _hand(self, interaction: Interaction) -> tuple[dict[str, float], dict[str, FloatArray]]:
        estimated, true = interaction.hand_keypoints_world, self.motion.hand_world
        tips = _distance_mm(estimated[:, FINGERTIPS], true[:, FINGERTIPS])
        relative = [points[:, FINGERTIPS] - points[:, [WRIST]] for points in (estimated, true)]
        tips_relative = _distance_mm(relative[0], relative[1])
        misses_px = np.linalg.norm(_to_image(interaction, estimated) - self.clip.truth.to_image(true), axis=-1)
        seen = self.motion.hand_seen
        figures = {
            "fingertips_mm": _typical(tips, seen),
            "fingertips_to_wrist_mm": _typical(tips_relative, seen),
            "hand_px": _typical(misses_px, seen),
        }
        return figures, {"fingertips_mm": _by_frame(tips)}

    def _object(self, interaction: Interaction) -> tuple[dict[str, float], dict[str, FloatArray], FloatArray]:
        motion, clip = self.motion, self.clip
        seen = motion.object_seen[list(clip.handled)].any(axis=0)
        true_pose = motion.object_pose_world[0]
        visible = interaction.object_visible & np.isfinite(interaction.object_points_world).all(axis=-1)
        points = np.where(visible[..., None], interaction.object_points_world, np.nan)
        places = self.points.places_world(motion)
        surface = self._to_surface_mm(points, visible, true_pose)
        own = _distance_mm(points, places) if self.correspondence else surface
        complete, middle = self._completeness_mm(points, visible), self._middle_mm(points, places)
        unknown = np.full_like(self.points.place_object, np.nan)
        poses, place_object = interaction.object_pose_world, self.points.place_object if self.correspondence else unknown
        position = 1e3 * position_errors(poses, true_pose, points, visible, place_object, clip.symmetry)
        path = 1e3 * position_errors(poses, true_pose, points, visible, unknown, clip.symmetry)
        turn = np.degrees(rotation_errors(interaction.object_pose_world[:, :3, :3], true_pose[:, :3, :3], clip.symmetry))
        has_pose = np.isfinite(interaction.object_pose_world).all(axis=(1, 2))
        figures = {
            "object_share": float(visible.any(axis=1)[seen].mean()) if seen.any() else np.nan,
            "points_mm": _typical(own, seen),
            "surface_mm": _typical(surface, seen),
            "uncovered_mm": _typical(complete, seen),
            "middle_mm": _typical(middle[:, None], seen),
            "pose_share": float(has_pose[seen].mean()) if seen.any() else np.nan,
            "position_mm": _typical(position[:, None], seen),
            "path_mm": _typical(path[:, None], seen),  # apart from the offset that suits best, which may hide a wrong depth
            "rotation_deg": _typical(turn[:, None], seen),
            "jitter_mm": self._jitter_mm(points, visible, places, interaction.fps),
        }
        curves = {"points_mm": _by_frame(own), "surface_mm": _by_frame(surface), "rotation_deg": turn}
        return figures, curves, own

    def _to_surface_mm(self, points: FloatArray, visible: BoolArray, pose: FloatArray) -> FloatArray:
        """(N, P) distance to the nearest true surface point."""
        distance = np.full(visible.shape, np.nan)
        in_object = transform(np.linalg.inv(pose), points)
        distance[visible] = 1e3 * self.clip.surface_tree.query(in_object[visible])[0]
        return distance

    def _completeness_mm(self, points: FloatArray, visible: BoolArray) -> FloatArray:
        """(N, Q) from the true points that are in sight to the nearest estimated one."""
        truth, motion = self.clip.truth, self.motion
        handled = list(self.clip.handled)
        true = transform(motion.object_pose_world[handled], truth.object_points_object[handled, None])  # (H, N, Q, 3)
        true = true.swapaxes(0, 1).reshape(len(motion.frame), -1, 3)
        in_sight = truth.object_visible[handled][:, motion.frame].swapaxes(0, 1).reshape(len(motion.frame), -1)
        distance = np.full(in_sight.shape, np.nan)
        for n in np.flatnonzero(visible.any(axis=1)):
            between = np.linalg.norm(true[n, in_sight[n], None] - points[n, visible[n]][None], axis=-1)
            if between.size:
                distance[n, in_sight[n]] = 1e3 * between.min(axis=1)
        return distance

    def _middle_mm(self, points: FloatArray, places: FloatArray) -> FloatArray:
        """(N,) how far the middle of the visible points is from the middle of what they stand for."""
        middle = _mean(points)
        if self.correspondence:
            known = np.isfinite(points).all(axis=-1, keepdims=True)
            return 1e3 * np.linalg.norm(middle - _mean(np.where(known, places, np.nan)), axis=-1)
        true = np.full_like(middle, np.nan)
        for n, frame in enumerate(self.motion.frame):
            cloud, number = self.clip.seen_cloud(int(frame), self.clip.handled)
            if len(cloud):
                true[n] = transform(self.motion.object_pose_world[number[0], n], cloud).mean(axis=0)
        return 1e3 * np.linalg.norm(middle - true, axis=-1)

    def _jitter_mm(self, points: FloatArray, visible: BoolArray, places: FloatArray, fps: float) -> float:
        """Root mean square over time of the second difference of the error of the object's place, as at 20 Hz.

        The place is the middle of the points: with correspondence of those seen in all three frames, otherwise of each frame's.
        What truly moved is taken off.
        """
        if self.correspondence:
            errors = points - places
            second = _mean(errors[2:] - 2.0 * errors[1:-1] + errors[:-2])
        else:
            errors = _mean(points) - self.motion.object_pose_world[0, :, :3, 3]
            second = errors[2:] - 2.0 * errors[1:-1] + errors[:-2]
        squares = (second**2).sum(axis=-1)
        if not np.isfinite(squares).any():
            return np.inf
        return float(1e3 * np.sqrt(np.nanmean(squares)) * (fps / _JITTER_RATE_HZ) ** 2)

    def _keypoints(self, interaction: Interaction) -> dict[str, float]:
        motion, named = self.motion, self.named
        visible = interaction.keypoint_visible
        misses_mm = np.where(visible, _distance_mm(interaction.keypoints_world, named.places_world), np.nan)
        misses_px = np.linalg.norm(
            _to_image(interaction, interaction.keypoints_world) - self.clip.truth.to_image(named.places_world), axis=-1
        )
        misses_px = np.where(visible, misses_px, np.nan)
        seen = motion.object_seen[list(self.clip.handled)].any(axis=0)
        figures: dict[str, float] = {}
        for part, chosen, expected in (("hand", named.of_hand, motion.hand_seen), ("object", named.of_things, seen)):
            figures[f"{part}_keypoints_px"] = _typical(misses_px[:, chosen], expected)
            figures[f"{part}_keypoints_mm"] = _typical(misses_mm[:, chosen], expected)
        return figures | {"parts_share": named.parts_share}

    def _contact(self, interaction: Interaction) -> dict[str, float]:
        both = float((interaction.contact & self.motion.contact).sum())
        said, true = int(interaction.contact.sum()), int(self.motion.contact.sum())
        return {"contact_precision": both / said if said else np.nan, "contact_recall": both / true if true else np.nan}


def _to_image(interaction: Interaction, points_world: FloatArray) -> FloatArray:
    """(N, P, 2) px by the interaction's own camera."""
    return image_points(transform(np.linalg.inv(interaction.T_world_camera), points_world), interaction.K)


def _distance_mm(a: FloatArray, b: FloatArray) -> FloatArray:
    return 1e3 * np.linalg.norm(a - b, axis=-1)


def _by_frame(errors: FloatArray) -> FloatArray:
    """(N,) median of errors (N, P) that are known; NaN where none is."""
    result = np.full(len(errors), np.nan)
    known = np.isfinite(errors).any(axis=1)
    result[known] = np.nanmedian(errors[known], axis=1)
    return result


def _typical(errors: FloatArray, expected: BoolArray) -> float:
    """Median over the frames (N,) in which something is expected; one without any known error counts as infinitely wrong."""
    if not expected.any():
        return np.nan
    by_frame = _by_frame(errors)[expected]
    return float(np.median(np.where(np.isfinite(by_frame), by_frame, np.inf)))


def _mean(points: FloatArray) -> FloatArray:
    """(N, 3) mean of the known ones of points (N, P, 3); NaN where there is none."""
    known = np.isfinite(points).all(axis=-1)
    count = known.sum(axis=1)
    total = np.where(known[..., None], points, 0.0).sum(axis=1)
    return np.where((count > 0)[:, None], total / np.maximum(count, 1)[:, None], np.nan)
