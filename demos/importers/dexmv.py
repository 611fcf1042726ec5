"""Imports a recording in the folder layout of the DexMV project: hand and object tracks seen by two cameras, and a mesh.

    FOLDER/hand_pose/joints_{i}.npy   (21, 3) m, hand camera, wrist then thumb to little finger, each from base to tip
    FOLDER/object_pose/{i}.npy        pickled {object id: (3, 4)} `T_objectcamera_mesh`, m
    FOLDER/*.msh (or .obj, .ply, .stl)  the object's surface in its mesh frame, m

World frame of the result: z up, origin on the table under the object's first rest place, +y towards its last one. Object frame:
origin at the centre of the mesh's bounding box, z along the mesh's z (upwards at rest), x along the wide horizontal side.
Placing all this in a robot's world is left to the retargeting.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import trimesh
from scipy.spatial import KDTree
from scipy.spatial.transform import Rotation

from demos.importers import cleaning, mesh_files
from demos.importers.dexmv_recording import DexmvConfig, RawRecording, read_recording
from demos.interaction import FINGERTIPS, BoolArray, FloatArray, Interaction

FREE_HAND_M = 0.10  # a rest counts as seen freely when the fingertips stay this far from the surface
CONTACT_M = 0.025  # fingertip to surface; the published alignment of the two cameras is not better than this
CONTACT_TIPS = 3
DRIFT_M = 0.025  # a hand that slides further than this over a carried object is a wrong track
KEYPOINT_NAMES = (
    "wrist",
    *(f"{finger}_tip" for finger in ("thumb", "index", "middle", "ring", "little")),
    "object_base",
    "object_top",
    "target",
)


def load_dexmv(folder: Path, config: DexmvConfig | None = None) -> Interaction:
    """Imports the recording in `folder`.

    Raises:
        InputFileError: files are missing, have wrong shapes or gaps in their numbers, or the object is not carried.
    """
    return import_with_quality(folder, config)[0]


def quality(folder: Path, config: DexmvConfig | None = None) -> dict[str, float]:
    """Figures on how far the import of `folder` can be believed; see `import_with_quality`."""
    return import_with_quality(folder, config)[1]


def import_with_quality(folder: Path, config: DexmvConfig | None = None) -> tuple[Interaction, dict[str, float]]:
    """Imports the recording in `folder` and measures it.

    Returns:
        The interaction, and a dict of figures (frames, m, degrees) described in `_measure`.
    """
    config = config or DexmvConfig()
    raw = read_recording(folder, config)
    centre = raw.pose[:, :3, 3]
    rests = cleaning.find_rests(centre)
    surface = mesh_files.sample_surface(raw.mesh, 20_000, config.seed)
    gaps = _tip_distances(raw.hand, raw.pose, surface)
    free = tuple(float(np.median(part.min(axis=1))) > FREE_HAND_M for part in (gaps[: rests.lift // 2], gaps[rests.place :]))
    up = cleaning.find_up(raw.pose[:, :3, 2], centre, rests, (free[0], free[1]))
    T_world_camera = _world_from_camera(up, centre, rests, half_height=float(raw.mesh.extents[2]) / 2)
    hand = cleaning.clean_hand(_transform(T_world_camera, raw.hand), _transform(T_world_camera, centre), config.smooth)
    raw_pose = T_world_camera @ raw.pose
    pose = _clean_pose(raw_pose, rests, raw.mesh, config)
    drift = cleaning.grasp_drift(hand.keypoints[:, FINGERTIPS].mean(axis=1), pose[:, :3, 3], rests)
    if config.smooth and config.hold_grasp:
        drifted = np.linalg.norm(drift, axis=1) > DRIFT_M
        hand = dataclasses.replace(hand, keypoints=hand.keypoints - drift[:, None], drifted=drifted)
    distances = _tip_distances(hand.keypoints, pose, surface)
    contact = _find_contact(distances, rests)
    interaction = _assemble(raw, config, hand, pose, contact, T_world_camera)
    return interaction, _measure(interaction, raw_pose, rests, hand, distances, raw.mesh, drift)


def _transform(T: FloatArray, points: FloatArray) -> FloatArray:
    """Maps points (..., 3) by T (4, 4)."""
    return points @ T[:3, :3].T + T[:3, 3]


def _tip_distances(hand: FloatArray, pose: FloatArray, surface: FloatArray) -> FloatArray:
    """Unsigned distance (T, 5) m of the fingertips to surface points (N, 3); hand and pose in one frame."""
    tips = hand[:, FINGERTIPS] - pose[:, None, :3, 3]
    return np.asarray(KDTree(surface).query(np.einsum("tij,tki->tkj", pose[:, :3, :3], tips))[0])


def _world_from_camera(up: FloatArray, centre: FloatArray, rests: cleaning.Rests, half_height: float) -> FloatArray:
    """`T_world_camera` (4, 4): z along `up`, +y from the first rest to the last, origin under the first."""
    start = np.median(centre[: rests.lift], axis=0)
    y = cleaning.unit(np.median(centre[rests.place :], axis=0) - start)
    T = np.eye(4)
    T[:3, :3] = np.stack([np.cross(y, up), y, up])
    T[:3, 3] = -T[:3, :3] @ (start - half_height * up)
    return T


def _clean_pose(raw: FloatArray, rests: cleaning.Rests, mesh: trimesh.Trimesh, config: DexmvConfig) -> FloatArray:
    """Object poses (T, 4, 4) in the world frame, made upright and smooth as the config says."""
    axis, heading = cleaning.split_heading(raw[:, :3, :3])
    if config.upright:
        axis = _upright_axis(axis, raw[:, :3, 3], rests)
    centre = raw[:, :3, 3].copy()
    if config.smooth:
        still = [slice(0, rests.lift), slice(rests.place, len(raw))]
        axis, centre = cleaning.running_median(axis), cleaning.running_median(centre)
        for rest in still:
            axis[rest], centre[rest] = np.median(axis[rest], axis=0), np.median(raw[rest, :3, 3], axis=0)
        axis, centre = cleaning.unit(cleaning.smooth(axis)), cleaning.smooth(centre)
        moving = np.ones(len(raw), dtype=bool)
        moving[: rests.lift] = False
        heading, _ = cleaning.steady_heading(heading, moving)
    pose = np.tile(np.eye(4), (len(raw), 1, 1))
    pose[:, :3, :3] = cleaning.join_heading(cleaning.unit(axis), heading)
    pose[:, :3, 3] = centre
    if config.smooth:
        pose[:, 2, 3] += np.maximum(0.0, -_lowest(pose, mesh))
    return pose


def _upright_axis(axis: FloatArray, centre: FloatArray, rests: cleaning.Rests) -> FloatArray:
    """Turns the axis (T, 3) so that it is vertical in both rests; in between the turn fades over the length of the path."""
    turns = [
        cleaning.tilt_to(cleaning.unit(np.median(part, axis=0))).inv().as_rotvec()
        for part in (axis[: rests.lift], axis[rests.place :])
    ]
    path = cleaning.smooth(cleaning.running_median(centre))[rests.lift : rests.place]
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
    share = np.zeros((len(axis), 1))
    share[rests.lift : rests.place, 0] = length / max(float(length[-1]), 1e-9)
    share[rests.place :] = 1.0
    return Rotation.from_rotvec((1 - share) * turns[0] + share * turns[1]).apply(axis)


def _lowest(pose: FloatArray, mesh: trimesh.Trimesh) -> FloatArray:
    """Height (T,) m of the lowest point of the mesh above the table."""
    return (np.asarray(mesh.convex_hull.vertices) @ pose[:, 2, :3].T).min(axis=0) + pose[:, 2, 3]


def _find_contact(distances: FloatArray, rests: cleaning.Rests) -> BoolArray:
    """Frames (T,) around the carried part in which enough fingertips, seen over three frames, are near the surface."""
    near = cleaning.running_median((np.sort(distances, axis=1)[:, CONTACT_TIPS - 1] < CONTACT_M).astype(float), 3) > 0.5
    contact = near.copy()
    first, last = rests.lift, rests.place
    while first > 0 and near[first - 1]:
        first -= 1
    while last < len(near) and near[last]:
        last += 1
    contact[:first] = False
    contact[last:] = False
    return contact


def _assemble(
    raw: RawRecording,
    config: DexmvConfig,
    hand: cleaning.CleanHand,
    pose: FloatArray,
    contact: BoolArray,
    T_world_camera: FloatArray,
) -> Interaction:
    """Puts the pieces, all in the world frame, into the project's data type."""
    surface = mesh_files.sample_surface(raw.mesh, config.surface_points, config.seed)
    points = np.einsum("tij,pj->tpi", pose[:, :3, :3], surface) + pose[:, None, :3, 3]
    half = np.array([[0.0, 0.0, -raw.mesh.extents[2] / 2], [0.0, 0.0, raw.mesh.extents[2] / 2]])
    ends = np.einsum("tij,pj->tpi", pose[:, :3, :3], half) + pose[:, None, :3, 3]
    target = np.broadcast_to(ends[-1, 0], (len(pose), 1, 3))
    keypoints = np.concatenate([hand.keypoints[:, [0, *FINGERTIPS]], ends, target], axis=1)
    return Interaction(
        fps=config.fps,
        hand_keypoints_world=hand.keypoints,
        hand_confidence=np.where(hand.drifted, np.minimum(hand.confidence, 0.5), hand.confidence),
        hand_side=cleaning.hand_side(raw.hand),
        object_names=(config.object_name,),
        object_points_world=points,
        object_visible=np.ones(points.shape[:2], dtype=bool),
        object_pose_world=pose,
        keypoints_world=keypoints,
        keypoint_visible=np.ones(keypoints.shape[:2], dtype=bool),
        keypoint_names=KEYPOINT_NAMES,
        contact=contact,
        flagged=hand.flagged,
        frame_index=raw.frame_index,
        K=np.full((3, 3), np.nan),
        T_world_camera=T_world_camera,
        source_sha256=raw.sha256,
    )


def _measure(
    interaction: Interaction,
    raw_pose: FloatArray,
    rests: cleaning.Rests,
    hand: cleaning.CleanHand,
    distances: FloatArray,
    mesh: trimesh.Trimesh,
    drift: FloatArray,
) -> dict[str, float]:
    """Figures of an import.

    Raw tilts are those of the tracker after alignment, before `upright`; the table residual is how far the bottom of the
    smoothed object stands from z = 0 at the worse rest; distances are unsigned, fingertip to surface, over the carried frames.
    `grasp_drift_max_m` is what `hold_grasp` takes out (or would) and `hand_lowest_m` the lowest point of the hand, which may be
    below the table: in the published recording it waits 10 cm below it in the first frames.
    """
    start, end, carried = slice(0, rests.lift), slice(rests.place, None), slice(rests.lift, rests.place)

    def tilt(pose: FloatArray) -> float:
        return float(np.degrees(np.arccos(np.clip(cleaning.unit(np.median(pose[:, :3, 2], axis=0))[2], -1, 1))))

    pose, lowest = interaction.object_pose_world, _lowest(interaction.object_pose_world, mesh)
    raw_heights = [raw_pose[part, 2, 3] - np.median(raw_pose[part, 2, 3]) for part in (start, end)]
    return {
        "frames": float(interaction.num_frames),
        "lift_frame": float(interaction.frame_index[rests.lift]),
        "place_frame": float(interaction.frame_index[rests.place]),
        "raw_tilt_start_deg": tilt(raw_pose[start]),
        "raw_tilt_end_deg": tilt(raw_pose[end]),
        "tilt_start_deg": tilt(pose[start]),
        "tilt_end_deg": tilt(pose[end]),
        "table_residual_m": float(max(abs(np.median(lowest[start])), abs(np.median(lowest[end])))),
        "rest_height_noise_m": float(np.sqrt(np.mean(np.concatenate(raw_heights) ** 2))),
        "travel_m": float(np.linalg.norm(pose[-1, :2, 3] - pose[0, :2, 3])),
        "lift_height_m": float(lowest.max()),
        "fingertip_distance_median_m": float(np.median(distances[carried])),
        "fingertip_distance_max_m": float(distances[carried].max()),
        "grasp_drift_max_m": float(np.linalg.norm(drift, axis=1).max()),
        "hand_lowest_m": float(interaction.hand_keypoints_world[..., 2].min()),
        "contact_frames": float(interaction.contact.sum()),
        "flagged_frames": float(interaction.flagged.sum()),
        "stale_frames": float(hand.stale.sum()),
        "spike_frames": float(hand.spike.sum()),
        "jump_frames": float(hand.jump.sum()),
    }
