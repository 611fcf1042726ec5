"""From an object's points and masks in the picture to metres: points in the camera frame and, where it is rigid, its pose.

Depth pictures give metres directly. Without them shape and path come from the points' motion (`rigid_motion`), and metres from
what else is known (`metres`).
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from demos.camera import FloatArray
from demos.extract.objects.grip import Grip, find_grip, hand_turns
from demos.extract.objects.lift_figures import LiftedObject, LiftFigures
from demos.extract.objects.metres import to_metres
from demos.extract.objects.object_masks import ObjectMasks
from demos.extract.objects.point_depths import read_depths
from demos.extract.objects.rigid_motion import RigidMotion, find_rigid_motion
from demos.extract.objects.views import Outlines, Views, left_behind, make_views, measure_masks, to_rays
from demos.interaction import HandTrack, ObjectTrack
from demos.parts import DepthFrames, PixelTracks
from dexvid_envs.errors import InputFileError, OptionError

BoolArray = NDArray[np.bool_]

_OUTLIER_SIGMAS = 6.0
_STEADY_WORSE = 1.25  # a motion without turns may explain the points this much worse
_LARGEST_GAP_S = 0.4  # a pose is carried so far through frames that do not show it
_MIN_POINTS = 3  # that show a pose
_LOOSE_SIZES = 0.06  # points that miss the rigid object by this share of its half extent belong to a deformable one


@dataclasses.dataclass(frozen=True)
class LiftConfig:
    """How an object is lifted.

    Attributes:
        known_length_m: the object's largest extent, where the user knows it.
        rigid: "yes", "no" (points without pose) or "auto" (as its points move).
        track_sigma_px: noise of the tracks in a picture of 640 px; in a larger one it grows with the size.
        max_key_views: views on which shape and motion are found together.
    """

    known_length_m: float | None = None
    rigid: str = "auto"
    track_sigma_px: float = 0.5
    max_key_views: int = 40

    def validate(self) -> None:
        """Refuses values that nothing can be done with.

        Raises:
            OptionError: names the option, its value and what is expected.
        """
        if self.rigid not in ("auto", "yes", "no"):
            raise OptionError(f"rigid is {self.rigid!r}, expected one of: auto, yes, no")
        if self.known_length_m is not None and not 0.005 <= self.known_length_m <= 3.0:
            raise OptionError(
                f"the object's length is {self.known_length_m} m, expected 0.005 to 3; give its largest extent in metres"
            )
        if not 0.0 < self.track_sigma_px < 50.0:
            raise OptionError(f"track_sigma_px is {self.track_sigma_px}, expected above 0 and below 50")
        if self.max_key_views < 2:
            raise OptionError(f"max_key_views is {self.max_key_views}, expected at least 2")


def lift_object(
    tracks: PixelTracks,
    masks: ObjectMasks | None,
    hand: HandTrack,
    contact: BoolArray,
    K: FloatArray,
    fps: float,
    config: LiftConfig,
    depth: DepthFrames | None = None,
    image_size: tuple[int, int] | None = None,
    T_world_camera: FloatArray | None = None,
) -> LiftedObject:
    """Lifts an object.

    Args:
        tracks: P points of the object in T frames, px of the video.
        masks: of the object, without the hand before it.
        hand: in the same frames.
        contact: (T,) the hand holds the object.
        K: (3, 3) px of the video.
        fps: of the frames.
        config: how.
        depth: pictures of the same view; ignored where they are not in metres.
        image_size: (width, height) of the video; None where masks and depth pictures have its size.
        T_world_camera: (4, 4) where it is known, the table being z = 0; an object at rest is then expected to stand on it.

    Raises:
        InputFileError: the numbers of frames differ.
        OptionError: the config holds a value that nothing can be done with.
    """
    config.validate()
    frames = len(tracks.pixels)
    for name, count in (
        ("masks", frames if masks is None else len(masks)),
        ("frames of the hand", len(hand.keypoints_camera)),
        ("contact flags", len(contact)),
        ("depth pictures", frames if depth is None else depth.count),
    ):
        if count != frames:
            raise InputFileError(f"{frames} frames of tracks and {count} {name}; expected as many of each")
    seen = tracks.visible & np.isfinite(tracks.pixels).all(axis=-1)
    rays = np.where(seen[..., None], to_rays(tracks.pixels, K), np.nan)
    if depth is not None and depth.metric:
        point_depth = read_depths(np.where(seen[..., None], tracks.pixels, np.nan), depth, image_size)
    else:
        point_depth = np.full(seen.shape, np.nan)
    outlines = measure_masks(masks, frames, K, image_size, T_world_camera)
    grip = find_grip(hand)
    width = float(image_size[0]) if image_size else 2.0 * float(K[0, 2]) + 1.0
    focal_px = float(np.sqrt(K[0, 0] * K[1, 1]))
    ray_sigma = config.track_sigma_px * max(1.0, width / 640.0) / focal_px
    if config.rigid != "no" and seen.any():
        seen_on = seen & ~left_behind(rays, seen, ray_sigma)
        views = make_views(rays, seen_on, point_depth, contact, outlines, ray_sigma)
        carried = hand_turns(hand, contact, fps)[views.frame]
        distance_m, thickness_m = _first_distance(grip, contact), grip.thickness_m(contact)
        start = views, fps, ray_sigma, distance_m, thickness_m, carried, config.max_key_views
        motion = find_rigid_motion(*start)
        if motion is not None and not np.isfinite(point_depth).any():
            # turns and distances are hard to tell apart: what can be explained without turns says the distances better
            steady = find_rigid_motion(*start, steady=True)
            if steady is not None and steady.misfit() < _STEADY_WORSE * motion.misfit():
                motion = steady
        if motion is not None:
            motion, figures = to_metres(motion, views, carried, grip, contact, fps, config.known_length_m, T_world_camera)
            lifted = _rigid_track(motion, views, tracks.pixels, rays, seen_on, focal_px, fps, ray_sigma, figures)
            if config.rigid == "yes" or not _is_loose(lifted.figures, motion):
                return lifted
    return _loose_track(tracks.pixels, rays, seen, point_depth, outlines, grip, contact, fps)


def _first_distance(grip: Grip, contact: BoolArray) -> float:
    """Depth in m at which the object is expected."""
    depth = grip.middle[contact, 2] if contact.any() else grip.middle[:, 2]
    return float(np.median(depth)) if len(depth) and grip.known else 0.7


def _rigid_track(
    motion: RigidMotion,
    views: Views,
    pixels: FloatArray,
    rays: FloatArray,
    seen: BoolArray,
    focal_px: float,
    fps: float,
    ray_sigma: float,
    figures: LiftFigures,
) -> LiftedObject:
    frames, count = seen.shape
    turn, place = motion.turn[views.of_frame], motion.place[views.of_frame]
    whole = np.einsum("tij,pj->tpi", turn, motion.points[:count]) + place[:, None]
    error = np.linalg.norm(whole[..., :2] / np.maximum(whole[..., 2:], 0.02) - np.nan_to_num(rays), axis=-1)
    fits = seen & (error < _OUTLIER_SIGMAS * ray_sigma + 0.05 * motion.body.half[0] / place[:, 2:])
    ever = fits.any(axis=0)
    on_ray = np.concatenate([np.nan_to_num(rays), np.ones((frames, count, 1))], axis=-1) * whole[..., 2:]
    shown = fits.sum(axis=1) >= _MIN_POINTS
    shown |= np.isfinite(views.outlines.area[views.of_frame])
    at = np.flatnonzero(shown)
    known = np.zeros(frames, bool)
    if len(at):
        after = np.searchsorted(at, np.arange(frames))
        near = np.stack([at[np.maximum(after - 1, 0)], at[np.minimum(after, len(at) - 1)]])
        known = np.abs(np.arange(frames) - near).min(axis=0) <= _LARGEST_GAP_S * fps
    points = np.where(fits[..., None], on_ray, whole)
    points[~known] = np.nan
    points[:, ~ever] = np.nan
    fits &= known[:, None]
    pose = np.full((frames, 4, 4), np.nan)
    pose[known] = np.eye(4)
    pose[known, :3, :3], pose[known, :3, 3] = turn[known], place[known]
    apart = np.where(fits, error * whole[..., 2], 0.0)
    number = fits.sum(axis=1)
    residual = np.where(known & (number > 0), np.sqrt((apart**2).sum(axis=1) / np.maximum(number, 1)), np.nan)
    figures = dataclasses.replace(
        figures,
        reprojection_px=float(np.median(error[seen])) * focal_px,
        rigidity_m=float(np.median((error * whole[..., 2])[seen])),
        inlier_fraction=float(fits.sum() / seen.sum()),
    )
    return LiftedObject(ObjectTrack(points, np.where(seen[..., None], pixels, np.nan), fits, pose, residual), figures)


def _is_loose(figures: LiftFigures, motion: RigidMotion) -> bool:
    return figures.rigidity_m > _LOOSE_SIZES * motion.body.half[0] or figures.inlier_fraction < 0.5


def _loose_track(
    pixels: FloatArray,
    rays: FloatArray,
    seen: BoolArray,
    point_depth: FloatArray,
    outlines: Outlines,
    grip: Grip,
    contact: BoolArray,
    fps: float,
) -> LiftedObject:
    """Points without pose: at their measured depth, else at the grip's depth when it last or next holds the object."""
    frames = len(seen)
    source, sigma = "depth", 0.01
    depth = point_depth
    if not np.isfinite(point_depth).any():
        source, sigma = ("hand", 0.05) if contact.any() else ("hand without contact", 0.25)
        level = np.full(frames, _first_distance(grip, contact))
        if contact.any() and grip.known:
            held = np.flatnonzero(contact)
            level = np.interp(np.arange(frames), held, gaussian_filter1d(grip.middle[:, 2], 0.2 * fps)[held])
        depth = np.where(seen, level[:, None], np.nan)
    points = np.concatenate([rays, np.ones_like(rays[..., :1])], axis=-1) * depth[..., None]
    visible = seen & np.isfinite(points).all(axis=-1)
    points = np.where(visible[..., None], points, np.nan)
    track = ObjectTrack(
        points, np.where(seen[..., None], pixels, np.nan), visible, np.full((frames, 4, 4), np.nan), np.full(frames, np.nan)
    )
    return LiftedObject(track, LiftFigures(False, source, sigma))
