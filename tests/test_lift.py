"""The lift of an object to metres: against the exact truth of made-up and synthetic clips, and on bad input."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial import ConvexHull
from scipy.spatial.transform import Rotation

from demos.camera import project, transform, unproject
from demos.extract.objects.contact import find_contact_px
from demos.extract.objects.lift import LiftConfig, lift_object
from demos.extract.objects.lift_figures import LiftedObject
from demos.extract.objects.object_masks import SEEN, ObjectMasks
from demos.extract.objects.point_depths import read_depths
from demos.interaction import FINGERTIPS, HandTrack, ObjectTrack
from demos.parts import DepthFrames, PixelTracks
from demos.synthetic.truth import ClipTruth
from dexvid_envs.errors import InputFileError, OptionError

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

SHIPPED = Path(__file__).parents[1] / "demos" / "data" / "synthetic_clips"
FPS, FRAMES, POINTS, SHAPE = 30.0, 90, 75, (240, 320)
K = np.array([[300.0, 0.0, 159.5], [0.0, 300.0, 119.5], [0.0, 0.0, 1.0]])
HALF = np.array([0.03, 0.025, 0.045])
#: Thumb on one side, four fingers on the other, as places in the object's frame.
TIPS = np.array([[0.0, 0.032, 0.0], [0.02, -0.032, 0.01], [0.01, -0.032, 0.0], [-0.01, -0.032, 0.0], [-0.02, -0.032, 0.0]])


@dataclasses.dataclass(frozen=True)
class Scene:
    """A box that rests, is carried and rests again, as the earlier stages would hand it on, and where it truly was."""

    tracks: PixelTracks
    masks: ObjectMasks
    hand: HandTrack
    contact: BoolArray
    depth: DepthFrames
    pose: FloatArray  # (T, 4, 4) T_camera_object
    points: FloatArray  # (T, P, 3) m in the camera frame
    T_world_camera: FloatArray

    def lift(
        self, *, depth: bool = False, table: bool = False, hand: HandTrack | None = None, config: LiftConfig | None = None
    ) -> LiftedObject:
        return lift_object(
            self.tracks,
            self.masks,
            hand or self.hand,
            self.contact,
            K,
            FPS,
            config or LiftConfig(),
            self.depth if depth else None,
            T_world_camera=self.T_world_camera if table else None,
        )


@functools.cache
def carried_box(turn_rad: float = 0.5, loose_m: float = 0.0, rise_m: float = 0.12, above_m: float = 0.0) -> Scene:
    """A box of 60 x 50 x 90 mm that stands on a table 0.7 m away, or hangs above it, is lifted, moved, turned and put down."""
    rng = np.random.default_rng(1)
    places = rng.uniform(-1.0, 1.0, (POINTS, 3))  # on the two sides and the top that face the camera
    axis = rng.integers(0, 3, POINTS)
    places[np.arange(POINTS), axis] = np.where(axis == 2, 1.0, -1.0)
    places *= HALF
    forward, right = np.array([np.cos(0.6), 0.0, -np.sin(0.6)]), np.array([0.0, -1.0, 0.0])
    T_world_camera = np.eye(4)
    T_world_camera[:3, :3] = np.stack([right, np.cross(forward, right), forward], axis=-1)
    T_world_camera[:3, 3] = [-0.6, 0.0, 0.45]
    share = np.clip((np.arange(FRAMES) - 25) / 40.0, 0.0, 1.0)
    share = share**3 * (10.0 - 15.0 * share + 6.0 * share**2)
    pose = np.tile(np.eye(4), (FRAMES, 1, 1))
    pose[:, :3, :3] = Rotation.from_euler("z", (0.6 + turn_rad * share)[:, None]).as_matrix()
    pose[:, 0, 3], pose[:, 1, 3] = -0.05 + 0.05 * share, 0.1 - 0.2 * share
    pose[:, 2, 3] = HALF[2] + above_m + rise_m * np.sin(np.pi * share) ** 2
    pose = np.linalg.inv(T_world_camera) @ pose
    points = transform(pose, np.broadcast_to(places, (FRAMES, POINTS, 3)))
    points = points + loose_m * np.sin(np.arange(FRAMES)[:, None, None] / 9.0 + rng.uniform(0.0, 6.0, (POINTS, 3)))
    pixels = project(points, K) + rng.normal(0.0, 0.2, (FRAMES, POINTS, 2))
    visible = rng.random((FRAMES, POINTS)) > 0.1
    tips = transform(pose, np.broadcast_to(TIPS, (FRAMES, 5, 3)))
    hand = tips.mean(axis=1, keepdims=True) + np.linspace(0.0, 0.05, 21)[:, None] * np.array([1.0, 0.3, 0.2])
    hand[:, FINGERTIPS] = tips
    corners = (np.indices((2, 2, 2)).reshape(3, 8).T * 2.0 - 1.0) * HALF
    masks = ObjectMasks(SHAPE, FRAMES)
    for frame in range(FRAMES):
        masks.put(frame, hull_mask(project(transform(pose[frame], corners), K)), SEEN)
    return Scene(
        PixelTracks(np.where(visible[..., None], pixels, np.nan), visible, visible.astype(float)),
        masks,
        hand_of(hand),
        (np.arange(FRAMES) >= 22) & (np.arange(FRAMES) < 68),
        DepthFrames(FRAMES, lambda frame: spoilt_depth(box_depth(pose[frame]), frame)),
        pose,
        points,
        T_world_camera,
    )


def hand_of(points_camera: FloatArray) -> HandTrack:
    """A hand (T, 21, 3) m."""
    frames = len(points_camera)
    return HandTrack(points_camera, project(points_camera, K), np.ones(frames), "right", np.zeros(frames, bool))


def hull_mask(outline: FloatArray) -> BoolArray:
    """Pixels within the convex hull of points (N, 2) px."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    inside = np.ones(SHAPE, bool)
    for a, b, c in ConvexHull(outline).equations:
        inside &= a * x + b * y + c <= 0.0
    return inside


def box_depth(pose: FloatArray) -> FloatArray:
    """Depth picture (H, W) m of the box before a wall at 2 m."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    ray = unproject(np.stack([x, y], axis=-1).astype(float), np.ones(SHAPE), K) @ pose[:3, :3]
    origin = -pose[:3, 3] @ pose[:3, :3]
    near, far = np.sort(np.stack([(-HALF - origin) / ray, (HALF - origin) / ray]), axis=0)
    enter, leave = near.max(axis=-1), far.min(axis=-1)
    return np.where(enter < leave, enter, 2.0)


def spoilt_depth(depth: FloatArray, seed: int) -> FloatArray:
    """The picture with noise, holes of NaN and zero, and flying pixels at its edges."""
    rng = np.random.default_rng(seed)
    edge = np.abs(np.gradient(depth)).sum(axis=0) > 0.1
    spoilt = depth + rng.normal(0.0, 0.002, depth.shape) + np.where(edge, rng.normal(0.0, 0.2, depth.shape), 0.0)
    chance = rng.random(depth.shape)
    return np.where(chance < 0.05, np.nan, np.where(chance < 0.1, 0.0, spoilt))


def point_error_m(track: ObjectTrack, true: FloatArray) -> float:
    """Median distance of the visible points (T, P, 3) from the true ones."""
    return float(np.median(np.linalg.norm(track.points_camera - true, axis=-1)[track.visible]))


def pose_errors(track: ObjectTrack, true: FloatArray) -> tuple[float, float]:
    """Median error (m, rad) of the poses against the true ones (T, 4, 4), starting from the same one."""
    estimated = track.pose_camera @ np.linalg.inv(track.pose_camera[0]) @ true[0]
    turned = Rotation.from_matrix(estimated[:, :3, :3] @ true[:, :3, :3].swapaxes(1, 2)).magnitude()
    return float(np.median(np.linalg.norm(estimated[:, :3, 3] - true[:, :3, 3], axis=-1))), float(np.median(turned))


@pytest.mark.parametrize("turn_rad", [0.0, 0.5, 1.2], ids=["no turn", "half a radian", "seventy degrees"])
def test_a_carried_box_is_found_by_the_hand_that_holds_it(turn_rad: float) -> None:
    scene = carried_box(turn_rad)
    lifted = scene.lift()
    shift, turn = pose_errors(lifted.track, scene.pose)
    assert lifted.figures.rigid
    assert lifted.figures.scale_source == "hand"
    assert point_error_m(lifted.track, scene.points) < 0.025
    assert shift < 0.02
    assert turn < np.radians(10.0)
    assert lifted.figures.reprojection_px < 1.0


def test_depth_pictures_with_holes_and_flying_pixels_give_millimetres() -> None:
    scene = carried_box()
    lifted = scene.lift(depth=True, hand=hand_of(1.3 * scene.hand.keypoints_camera))
    shift, turn = pose_errors(lifted.track, scene.pose)
    assert lifted.figures.scale_source == "depth"
    assert point_error_m(lifted.track, scene.points) < 0.005
    assert shift < 0.005
    assert turn < np.radians(2.0)


def test_a_resting_box_has_exactly_one_pose() -> None:
    track = carried_box().lift().track
    assert np.ptp(track.pose_camera[:22], axis=0).max() == 0.0
    assert np.ptp(track.pose_camera[70:], axis=0).max() == 0.0
    assert np.linalg.norm(track.pose_camera[0, :3, 3] - track.pose_camera[-1, :3, 3]) > 0.1


def test_the_table_puts_a_wrong_hand_right() -> None:
    scene = carried_box()
    wrong = hand_of(1.08 * scene.hand.keypoints_camera)
    with_table, without = scene.lift(table=True, hand=wrong), scene.lift(hand=wrong)
    assert with_table.figures.scale_source == "hand and table"
    assert point_error_m(with_table.track, scene.points) < 0.5 * point_error_m(without.track, scene.points)


def test_what_is_put_down_on_the_table_is_there_although_its_points_slip() -> None:
    scene = carried_box()
    grows = 1.0 - 0.06 * np.clip((np.arange(FRAMES) - 22) / 46.0, 0.0, 1.0)  # as points that creep towards the middle seem to
    middle = np.nanmean(scene.tracks.pixels, axis=1, keepdims=True)
    crept = middle + grows[:, None, None] * (scene.tracks.pixels - middle)
    scene = dataclasses.replace(scene, tracks=dataclasses.replace(scene.tracks, pixels=crept))
    astray = hand_of(scene.hand.keypoints_camera / grows[:, None, None])  # it would bear them out
    with_table, without = scene.lift(table=True, hand=astray), scene.lift(hand=astray)
    gone = [np.linalg.norm(one.track.pose_camera[-1, :3, 3] - one.track.pose_camera[0, :3, 3]) for one in (with_table, without)]
    true_m = np.linalg.norm(scene.pose[-1, :3, 3] - scene.pose[0, :3, 3])
    assert abs(gone[0] - true_m) < 0.01
    assert abs(gone[0] - true_m) < 0.5 * abs(gone[1] - true_m)


def test_what_does_not_turn_is_found_not_to_turn() -> None:
    """Without turns there is nothing to be mistaken for a change of distance."""
    scene = carried_box(0.0)
    lifted = scene.lift()
    turned = Rotation.from_matrix(lifted.track.pose_camera[:, :3, :3]).magnitude()
    assert np.median(turned) < np.radians(1.0)


def test_a_box_that_stands_far_above_the_table_is_not_brought_down() -> None:
    scene = carried_box()
    shelf = scene.T_world_camera.copy()
    shelf[2, 3] += 0.3
    lifted = dataclasses.replace(scene, T_world_camera=shelf).lift(table=True)
    assert lifted.figures.scale_source == "hand"


def test_a_drawer_that_moves_level_above_the_table_is_not_taken_to_slide_over_it() -> None:
    scene = carried_box(0.0, rise_m=0.0, above_m=0.06)
    lifted = scene.lift(table=True)
    assert lifted.figures.scale_source == "hand"
    assert point_error_m(lifted.track, scene.points) < 0.03


def test_a_known_length_sets_the_scale_where_no_hand_is_seen() -> None:
    scene = carried_box()
    unknown = HandTrack(
        np.full((FRAMES, 21, 3), np.nan),
        np.full((FRAMES, 21, 2), np.nan),
        np.zeros(FRAMES),
        "right",
        np.ones(FRAMES, bool),
    )
    unseen = dataclasses.replace(scene, contact=np.zeros(FRAMES, bool))
    lifted = unseen.lift(hand=unknown, config=LiftConfig(known_length_m=0.09))
    assert lifted.figures.scale_source == "length"
    assert point_error_m(lifted.track, scene.points) < 0.15 * 0.7
    assert unseen.lift(hand=unknown).figures.scale_source == "none"


def test_a_larger_object_farther_away_looks_the_same() -> None:
    scene = carried_box()
    one, two = scene.lift(), scene.lift(hand=hand_of(2.0 * scene.hand.keypoints_camera))
    assert two.figures.length_m == pytest.approx(2.0 * one.figures.length_m, rel=0.05)


def test_points_of_a_deformable_object_have_no_pose() -> None:
    scene = carried_box(loose_m=0.02)
    for lifted in (scene.lift(), carried_box().lift(config=LiftConfig(rigid="no"))):
        assert not lifted.figures.rigid
        assert np.isnan(lifted.track.pose_camera).all()
        assert (lifted.track.visible == scene.tracks.visible).all()
        assert np.isfinite(lifted.track.points_camera[lifted.track.visible]).all()
    assert point_error_m(scene.lift().track, scene.points) < 0.05
    assert np.isfinite(scene.lift(config=LiftConfig(rigid="yes")).track.pose_camera).all()


def test_tracks_that_slip_off_do_not_spoil_the_pose() -> None:
    scene = carried_box()
    pixels = scene.tracks.pixels.copy()
    pixels[:, :15] = pixels[:1, :15]  # they stay behind on the background
    lifted = dataclasses.replace(scene, tracks=dataclasses.replace(scene.tracks, pixels=pixels)).lift()
    shift, turn = pose_errors(lifted.track, scene.pose)
    assert not lifted.track.visible[:, :15].any()
    assert shift < 0.02
    assert turn < np.radians(10.0)


def test_masks_and_depth_of_half_the_size_fit_when_the_size_is_told() -> None:
    scene = carried_box()
    masks = ObjectMasks((SHAPE[0] // 2, SHAPE[1] // 2), FRAMES)
    for frame in range(FRAMES):
        masks.put(frame, scene.masks[frame][::2, ::2], SEEN)
    size = (SHAPE[1], SHAPE[0])
    track = lift_object(scene.tracks, masks, scene.hand, scene.contact, K, FPS, LiftConfig(), image_size=size).track
    assert point_error_m(track, scene.points) < 0.025
    half = DepthFrames(FRAMES, lambda frame: box_depth(scene.pose[frame])[::2, ::2])
    read = read_depths(scene.tracks.pixels, half, size)
    known = np.isfinite(read)
    assert known.mean() > 0.6
    assert np.median(np.abs(read - scene.points[..., 2])[known]) < 0.005


def test_a_long_clip_is_found_on_few_key_views() -> None:
    scene = carried_box()
    order = np.concatenate([np.arange(25, 66), np.arange(65, 24, -1)])
    order = np.tile(order, 6)
    long = dataclasses.replace(
        scene,
        tracks=PixelTracks(*(getattr(scene.tracks, name)[order] for name in ("pixels", "visible", "confidence"))),
        hand=hand_of(scene.hand.keypoints_camera[order]),
        contact=np.ones(len(order), bool),
    )
    lifted = lift_object(long.tracks, None, long.hand, long.contact, K, FPS, LiftConfig(max_key_views=20))
    assert lifted.figures.key_views <= 20
    assert np.isfinite(lifted.track.pose_camera).all()
    assert pose_errors(lifted.track, scene.pose[order])[0] < 0.02


@pytest.mark.parametrize("name", ["training-00001-place"])
def test_a_synthetic_clip_with_true_tracks_reaches_the_target(name: str) -> None:
    truth = ClipTruth.load(SHIPPED / name / "truth.npz")
    pose = np.linalg.inv(truth.T_world_camera) @ truth.object_pose_world[0]
    points = transform(
        pose, np.broadcast_to(truth.object_points_object[0], (truth.num_frames, *truth.object_points_object[0].shape))
    )
    visible = truth.object_visible[0]
    tracks = PixelTracks(np.where(visible[..., None], project(points, truth.K), np.nan), visible, visible.astype(float))
    masks = ObjectMasks((truth.labels.shape[1], truth.labels.shape[2]), truth.num_frames)
    for frame, mask in enumerate(truth.mask(truth.object_names[0])):
        masks.put(frame, mask, SEEN)
    frames = truth.num_frames
    hand = HandTrack(
        truth.hand_keypoints_camera, truth.hand_keypoints_image, np.ones(frames), truth.hand_side, np.zeros(frames, bool)
    )
    lifted = lift_object(tracks, masks, hand, truth.contact, truth.K, truth.fps, LiftConfig())
    assert point_error_m(lifted.track, points) < 0.03
    shift, turn = pose_errors(lifted.track, pose)
    assert shift < 0.02
    assert turn < np.radians(10.0)
    depth = DepthFrames(frames, lambda frame: truth.depth_m(frame).astype(float))
    exact = lift_object(tracks, masks, hand, truth.contact, truth.K, truth.fps, LiftConfig(), depth)
    assert point_error_m(exact.track, points) < 0.01
    found = find_contact_px(truth.hand_keypoints_image, tracks.pixels, [np.zeros((0, 2))] * frames, truth.fps)
    assert (found & truth.held).sum() > 0.9 * truth.held.sum()
    assert abs(int(np.argmax(found)) - int(np.argmax(truth.contact))) <= 3


def test_what_is_missing_is_said_or_stays_unknown() -> None:
    scene = carried_box()
    nothing = PixelTracks(np.zeros((FRAMES, 0, 2)), np.zeros((FRAMES, 0), bool), np.zeros((FRAMES, 0)))
    empty = dataclasses.replace(scene, tracks=nothing).lift()
    assert empty.track.points_camera.shape == (FRAMES, 0, 3)
    assert np.isnan(empty.track.pose_camera).all()
    for spoilt in (
        dataclasses.replace(scene, masks=ObjectMasks(SHAPE, 7)),
        dataclasses.replace(scene, contact=scene.contact[:7]),
        dataclasses.replace(scene, hand=hand_of(scene.hand.keypoints_camera[:7])),
    ):
        with pytest.raises(InputFileError, match=r"90 frames of tracks and 7 .*expected as many"):
            spoilt.lift()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (LiftConfig(rigid="maybe"), "rigid is 'maybe', expected one of"),
        (LiftConfig(known_length_m=-1.0), "length is -1.0 m, expected 0.005 to 3"),
        (LiftConfig(track_sigma_px=0.0), "track_sigma_px is 0.0"),
        (LiftConfig(max_key_views=1), "max_key_views is 1"),
    ],
)
def test_bad_settings_are_refused(config: LiftConfig, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        carried_box().lift(config=config)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_wild_input_never_breaks_it(data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 10_000)))
    frames, count = data.draw(st.integers(1, 12)), data.draw(st.integers(0, 9))
    pixels = rng.uniform(-500.0, 900.0, (frames, count, 2)) if data.draw(st.booleans()) else np.full((frames, count, 2), 50.0)
    pixels[rng.random((frames, count)) < 0.3] = data.draw(st.sampled_from([np.nan, np.inf]))
    visible = rng.random((frames, count)) < data.draw(st.sampled_from([0.0, 0.5, 1.0]))
    hand = rng.normal([0.0, 0.0, 0.6], 0.05, (frames, 21, 3))
    hand[rng.random(frames) < data.draw(st.sampled_from([0.0, 0.5, 1.0]))] = np.nan
    masks = ObjectMasks(SHAPE, frames)
    for frame in range(frames):
        masks.put(frame, rng.random(SHAPE) < data.draw(st.sampled_from([0.0, 1e-4, 0.5, 1.0])), SEEN)
    values = data.draw(st.sampled_from([np.nan, 0.0, -1.0, 0.7]))
    track = lift_object(
        PixelTracks(pixels, visible, visible.astype(float)),
        masks if data.draw(st.booleans()) else None,
        HandTrack(hand, np.zeros((frames, 21, 2)), np.ones(frames), "left", np.zeros(frames, bool)),
        rng.random(frames) < 0.5,
        K,
        FPS,
        LiftConfig(known_length_m=data.draw(st.sampled_from([None, 0.1]))),
        DepthFrames(frames, lambda frame: np.full(SHAPE, values)) if data.draw(st.booleans()) else None,
        T_world_camera=carried_box().T_world_camera if data.draw(st.booleans()) else None,
    ).track
    assert track.points_camera.shape == (frames, count, 3)
    assert np.isfinite(track.points_camera[track.visible]).all()
    assert not (track.visible & ~visible).any()
    known = np.isfinite(track.pose_camera[:, 0, 0])
    np.testing.assert_allclose(np.linalg.det(track.pose_camera[known][:, :3, :3]), 1.0, atol=1e-6)
