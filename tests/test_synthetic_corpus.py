"""The corpora: truth that agrees with itself and with the pictures, sound motions, disjoint splits, the same again by seed."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from demos.synthetic.clips import Act, ClipConfig, NoSoundMotionError, make_act, make_clip
from demos.synthetic.corpus import EVALUATION_CLIPS, Pictures, clip_config, clip_folders, is_made, make_corpus
from demos.synthetic.gesture import PHASES
from demos.synthetic.people import make_person
from demos.synthetic.scripts import KINDS
from demos.synthetic.things import make_drawer, make_thing
from demos.synthetic.truth import ClipTruth
from demos.synthetic.wild_scripts import WILD_KINDS
from dexvid_envs.errors import DexVidError, InputFileError, OptionError

SHIPPED = Path(__file__).parent.parent / "demos" / "data" / "synthetic_clips"
SMALL = {"width": 160, "height": 120, "fps": 8.0}


def _small(kind: str, **changes: object) -> ClipConfig:
    number = KINDS.index(kind)
    config = ClipConfig("evaluation", number, 1_000_004 + number, kind, "left", person=4, thing=4, camera=number)
    return dataclasses.replace(config, **{**SMALL, **changes})


@pytest.fixture(scope="module", params=["place", "drawer"])
def clip(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[ClipTruth, Path]:
    folder = tmp_path_factory.mktemp(request.param)
    make_clip(_small(request.param), folder)
    return ClipTruth.load(folder / "truth.npz"), folder


def test_projected_key_points_are_the_image_key_points(clip: tuple[ClipTruth, Path]) -> None:
    truth = clip[0]
    T_camera_world = np.linalg.inv(truth.T_world_camera)
    camera = truth.hand_keypoints_world @ T_camera_world[:3, :3].T + T_camera_world[:3, 3]
    np.testing.assert_allclose(camera, truth.hand_keypoints_camera, atol=1e-9)
    homogeneous = camera @ truth.K.T
    np.testing.assert_allclose(homogeneous[..., :2] / homogeneous[..., 2:], truth.hand_keypoints_image, atol=1e-6)
    np.testing.assert_allclose(truth.to_image(truth.keypoints_world), truth.keypoints_image, atol=1e-6)
    lengths = np.linalg.norm(truth.hand_keypoints_world[:, 1] - truth.hand_keypoints_world[:, 0], axis=-1)
    np.testing.assert_allclose(lengths, truth.bone_lengths_m[0], atol=1e-9)


def test_hand_stays_in_the_picture(clip: tuple[ClipTruth, Path]) -> None:
    truth = clip[0]
    height, width = truth.labels.shape[1:]
    pixels = truth.hand_keypoints_image
    assert ((pixels > 0.0) & (pixels < [width, height])).all(axis=-1).mean() > 0.97
    assert truth.mask("hand").any(axis=(1, 2)).all()


def test_visible_object_points_lie_in_their_mask_at_their_depth(clip: tuple[ClipTruth, Path]) -> None:
    truth = clip[0]
    assert truth.object_visible[0].mean() > 0.1
    for number, name in enumerate(truth.object_names):
        rotation, position = truth.object_pose_world[number][:, :3, :3], truth.object_pose_world[number][:, :3, 3]
        points = np.einsum("tij,pj->tpi", rotation, truth.object_points_object[number]) + position[:, None]
        np.testing.assert_allclose(points, truth.object_points_world[number], atol=1e-6)
        pixels, mask = truth.to_image(points), truth.mask(name)
        depth = (points - truth.T_world_camera[:3, 3]) @ truth.T_world_camera[:3, 2]
        for frame in range(truth.num_frames):
            seen = truth.object_visible[number, frame]
            u, v = np.rint(pixels[frame, seen]).astype(int).T
            assert mask[frame, v, u].all()
            # at this size a pixel spans about 4 mm, more on a slope
            assert (truth.depth_m(frame)[v, u] > depth[frame, seen] - 0.0045).all()


def test_depth_at_visible_hand_points_is_just_before_them(clip: tuple[ClipTruth, Path]) -> None:
    truth = clip[0]
    assert 0.2 < truth.hand_visible.mean() < 0.999
    depths = []
    for frame in range(truth.num_frames):
        seen = truth.hand_visible[frame]
        u, v = np.rint(truth.hand_keypoints_image[frame, seen]).astype(int).T
        depths.append(truth.hand_keypoints_camera[frame, seen, 2] - truth.depth_m(frame)[v, u])
    before = np.concatenate(depths)
    assert before.max() < 0.036  # the wrist is the thickest
    assert np.quantile(before, 0.02) > -0.004  # the skin hardly ever lies behind its bones, where a pixel meets the outline
    assert 0.004 < np.median(before) < 0.018


def test_labels_and_depth_fit_each_other(clip: tuple[ClipTruth, Path]) -> None:
    truth = clip[0]
    table_z = []
    v, u = np.mgrid[: truth.labels.shape[1], : truth.labels.shape[2]]
    rays = np.stack([(u - truth.K[0, 2]) / truth.K[0, 0], (v - truth.K[1, 2]) / truth.K[1, 1], np.ones(u.shape)], axis=-1)
    for frame in (0, truth.num_frames // 2, truth.num_frames - 1):
        world = (rays * truth.depth_m(frame)[..., None]) @ truth.T_world_camera[:3, :3].T + truth.T_world_camera[:3, 3]
        hand = world[truth.labels[frame] == truth.label_names.index("hand")]
        wrist = truth.hand_keypoints_world[frame, 0]
        assert np.linalg.norm(hand - wrist, axis=-1).max() < 0.34  # the longest bare forearm
        table_z.append(np.abs(world[truth.labels[frame] == 0][:, 2]))
    assert (np.concatenate(table_z) < 0.002).mean() > 0.1  # the table lies at z = 0


def test_video_has_a_picture_for_each_moment_of_the_truth(clip: tuple[ClipTruth, Path]) -> None:
    truth, folder = clip
    pictures = list(imageio.imiter(folder / "video.mp4", plugin="FFMPEG"))
    assert len(pictures) == truth.num_frames
    assert pictures[0].shape[:2] == truth.labels.shape[1:]
    assert imageio.immeta(folder / "video.mp4", plugin="FFMPEG")["fps"] == truth.fps
    # the hand is where its mask is: against the last picture, what changed is mostly hand, arm or object
    still = truth.labels[0] == truth.labels[-1]
    change = np.abs(pictures[0].astype(int) - pictures[-1].astype(int)).mean(axis=-1)
    moved = ~still
    assert change[moved].mean() > 2.5 * change[still].mean()


def test_named_objects_and_key_points_of_each_kind(clip: tuple[ClipTruth, Path]) -> None:
    truth = clip[0]
    expected = {"place": {"target"}, "drawer": {"handle", "cabinet"}}[truth.kind]
    assert set(truth.object_names[1:]) == expected
    assert truth.label_names == ("background", "hand", "arm", *truth.object_names)
    for name in ("index_tip", *(object_name for object_name in truth.object_names)):
        assert any(keypoint.startswith(name) for keypoint in truth.keypoint_names)
    own = truth.keypoints_world[:, truth.keypoint_names.index("thumb_tip")]
    np.testing.assert_allclose(own, truth.hand_keypoints_world[:, 4], atol=1e-9)
    assert truth.mask(truth.object_names[0]).any()
    assert truth.keypoint_visible.mean() > 0.25


def test_truth_opens_without_pickles_and_a_broken_one_is_refused(clip: tuple[ClipTruth, Path], tmp_path: Path) -> None:
    with np.load(clip[1] / "truth.npz", allow_pickle=False) as stored:
        assert {key: stored[key].dtype.kind for key in stored.files if stored[key].dtype.kind == "O"} == {}
    (tmp_path / "truth.npz").write_bytes((clip[1] / "truth.npz").read_bytes()[:2000])
    with pytest.raises(InputFileError, match="truth of a synthetic clip"):
        ClipTruth.load(tmp_path / "truth.npz")


def test_same_config_same_clip(clip: tuple[ClipTruth, Path], tmp_path: Path) -> None:
    truth, folder = clip
    if truth.kind != "drawer":
        pytest.skip("one kind is enough")
    make_clip(_small("drawer"), tmp_path)
    assert (tmp_path / "video.mp4").read_bytes() == (folder / "video.mp4").read_bytes()
    again = ClipTruth.load(tmp_path / "truth.npz")
    for field in dataclasses.fields(ClipTruth):
        np.testing.assert_array_equal(getattr(again, field.name), getattr(truth, field.name), err_msg=field.name)


@functools.cache
def _act(kind: str, side: str) -> Act:
    return make_act(_small(kind, side=side))


@pytest.mark.parametrize(("kind", "side"), [("lift", "right"), ("place", "left"), ("drawer", "left"), ("throw", "right")])
def test_fingers_touch_what_they_hold_and_nothing_goes_through_it(kind: str, side: str) -> None:
    act = _act(kind, side)
    acted = act.scene.performance
    held = acted.held[act.frames]
    assert held.sum() >= 5
    assert np.abs(act.tip_distance_m[held][:, 1:3]).max() < 0.002  # index and middle finger
    assert (np.abs(act.tip_distance_m[held]) < 0.002).sum(axis=1).min() >= 3
    assert act.min_distance_m.min() > -0.0016
    before = acted.phase[act.frames] < PHASES.index("close")
    assert act.tip_distance_m[before].min() > 0.002
    T_thing_hand = np.linalg.inv(acted.bodies[act.thing.name]) @ acted.T_world_hand
    carried = T_thing_hand[acted.held]
    np.testing.assert_allclose(carried, np.broadcast_to(carried[0], carried.shape), atol=1e-9)
    assert act.keypoints_world[..., 2].min() > 0.0
    if kind == "throw":
        assert act.scene.bucket is not None
        rest = acted.bodies[act.thing.name][-1, :3, 3] - np.array(act.scene.bucket.position_m)
        assert np.hypot(rest[0], rest[1]) < act.scene.bucket.radius_m


def test_a_thrown_thing_flies_freely() -> None:
    act = _act("throw", "right")
    acted = act.scene.performance
    release = int(np.flatnonzero(acted.held)[-1])
    height = acted.bodies[act.thing.name][release : release + 12, 2, 3]
    acceleration = np.diff(height, 2) * acted.rate_hz**2
    np.testing.assert_allclose(acceleration[1:], -9.81, atol=0.05)


def test_another_seed_is_another_motion() -> None:
    one, other = _act("drawer", "left"), make_act(_small("drawer", seed=77))
    assert not np.allclose(one.scene.performance.T_world_hand[0], other.scene.performance.T_world_hand[0], atol=1e-3)


def test_the_corpora_have_nothing_in_common() -> None:
    evaluation = [clip_config("evaluation", number) for number in range(EVALUATION_CLIPS)]
    training = [clip_config("training", number, seed) for seed in (0, 1, 1999) for number in range(100)]
    wild = [clip_config("wild", number, seed) for seed in (0, 1, 1999) for number in range(100)]
    bottles = [clip_config("bottles", number, seed) for seed in (0, 1, 1999) for number in range(20)]
    assert EVALUATION_CLIPS >= 20
    assert {config.kind for config in bottles} == {"place"}
    assert {config.kind for config in evaluation} == set(KINDS)
    assert {config.kind for config in wild} == set(WILD_KINDS)
    assert not set(WILD_KINDS) & set(KINDS)
    for configs in (evaluation, wild, bottles):
        assert {config.side for config in configs} == {"right", "left"}

    def members(configs: list[ClipConfig], make: Callable[[ClipConfig], object]) -> set[object]:
        return {make(config) for config in configs}

    def thing(config: ClipConfig) -> object:
        if config.kind == "drawer":
            return make_drawer(config.corpus, config.thing).shape
        return make_thing(config.corpus, config.thing, tossed=config.kind == "throw").shape

    for make in (
        lambda config: make_person(config.corpus, config.person).person_id,
        lambda config: make_person(config.corpus, config.person).dimensions,
        lambda config: make_person(config.corpus, config.person).look,
        thing,
        lambda config: config.seed,
        lambda config: config.camera,
    ):
        ours, theirs, others = members(evaluation, make), members(training, make), members(wild, make)
        assert len(ours) > 5
        assert not ours & theirs
        assert not others & (ours | theirs)
        alone = members(bottles, make)
        assert len(alone) == len(bottles)  # nobody and nothing twice
        assert not alone & (ours | theirs | others)
    assert len(members(evaluation, lambda config: config.seed)) == EVALUATION_CLIPS
    assert len(members(training, lambda config: config.seed)) == len(training)


@pytest.mark.parametrize("number", range(len(WILD_KINDS)))
def test_wild_clips_handle_the_thing_as_they_say(number: int) -> None:
    config = clip_config("wild", number, pictures=Pictures(160, 120, 8.0))
    act = make_act(config)
    poses, held = act.scene.performance.bodies[act.thing.name], act.scene.performance.held
    height = poses[:, 2, 3] - poses[0, 2, 3]
    turned = Rotation.from_matrix(poses[0, :3, :3].T @ poses[:, :3, :3])
    tilt_rad = np.arccos(np.clip(poses[:, 2, 2], -1.0, 1.0))
    moved = np.linalg.norm(poses[:, :2, 3] - poses[0, :2, 3], axis=1)
    assert (act.tip_distance_m[held[act.frames], :3] < 0.002).mean() > 0.95  # in the hand all the time
    assert np.ptp(poses[~held & (np.arange(len(held)) < len(held) // 3)], axis=0).max() < 1e-9
    if config.kind in ("slide", "turn"):
        assert np.abs(height).max() < 1e-6
        assert (moved.max() > 0.04) == (config.kind == "slide")
        assert config.kind == "slide" or turned.magnitude().max() > 0.4
    else:
        assert height.max() > 0.05
        assert config.kind != "pour" or tilt_rad.max() > 0.7
        assert (height[-1] > 0.1) == (config.kind == "show")


def test_a_wild_clip_without_a_sound_motion_is_left_out(tmp_path: Path) -> None:
    def fails_once(config: ClipConfig, folder: Path, report: Callable[[float, str], None] | None) -> None:
        if config.number == 1:
            raise NoSoundMotionError(config.clip_id)
        _stub(config, folder, report)

    made = make_corpus("wild", 3, tmp_path, make=fails_once)
    assert made.made == 2
    assert made.left_out == ("wild-00001-shake",)
    assert [folder.name for folder in clip_folders(tmp_path)] == ["wild-00000-pour", "wild-00002-show"]
    with pytest.raises(NoSoundMotionError):
        make_corpus("evaluation", 2, tmp_path / "fixed", make=fails_once)


def _stub(config: ClipConfig, folder: Path, report: Callable[[float, str], None] | None) -> None:
    (folder / "video.mp4").write_text(config.clip_id)


def test_a_stopped_corpus_goes_on_where_it_was(tmp_path: Path) -> None:
    made: list[str] = []

    def stops_at_the_third(config: ClipConfig, folder: Path, report: Callable[[float, str], None] | None) -> None:
        _stub(config, folder, report)
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(config.clip_id)

    with pytest.raises(KeyboardInterrupt):
        make_corpus("training", 5, tmp_path, make=stops_at_the_third)
    assert [folder.name for folder in clip_folders(tmp_path)] == made
    (tmp_path / ".training-00002-drawer-0123abcd").mkdir()  # what a killed run leaves behind
    result = make_corpus("training", 5, tmp_path, make=_stub)
    assert result.made == 3
    assert len(clip_folders(tmp_path)) == 5
    assert not list(tmp_path.glob(".training-*"))
    assert make_corpus("training", 5, tmp_path, make=_stub).made == 0
    assert (
        make_corpus("training", 5, tmp_path, pictures=Pictures(320, 240), make=_stub).made == 5
    )  # other settings, other clips
    assert is_made(clip_config("training", 0, pictures=Pictures(320, 240)), tmp_path / "training-00000-lift")


def test_impossible_corpora_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="evaluation corpus is fixed and takes no seed, got 3"):
        clip_config("evaluation", 0, 3)
    with pytest.raises(OptionError, match="a seed of 0 to 1999"):
        clip_config("training", 0, 2000)
    with pytest.raises(OptionError, match="even width and height of at least 64 px, got 63 and 480"):
        Pictures(width=63)
    with pytest.raises(OptionError, match="make some with: dexvid synthesize"):
        clip_folders(tmp_path)
    with pytest.raises(DexVidError, match="expected one of lift, place, drawer, throw"):
        dataclasses.replace(_small("place"), kind="juggle")


def test_shipped_clips_are_small_and_of_the_training_corpus() -> None:
    folders = clip_folders(SHIPPED)
    assert [folder.name for folder in folders] == ["training-00001-place", "training-00002-drawer"]
    assert sum(path.stat().st_size for path in SHIPPED.rglob("*") if path.is_file()) < 1_000_000
    for number, folder in enumerate(folders, start=1):
        config = clip_config("training", number, 9, Pictures(256, 192, fps=12.0, depth_unit_mm=1.0))
        assert is_made(config, folder)
        truth = ClipTruth.load(folder / "truth.npz")
        assert len(list(imageio.imiter(folder / "video.mp4", plugin="FFMPEG"))) == truth.num_frames
        assert truth.hand_side == config.side
        held = truth.tip_distance_m[truth.held]
        assert np.abs(held[:, 1:3]).max() < 0.002
        assert truth.contact[truth.held].all()
        assert truth.min_distance_m.min() > -0.0016


@pytest.mark.parametrize("name", ["training-00001-place", "training-00002-drawer"])
def test_mediapipe_finds_the_hand_of_shipped_clips(name: str) -> None:
    pytest.importorskip("mediapipe")
    from demos.extract.hand.follow import MediaPipeHands, hand_size_px

    truth = ClipTruth.load(SHIPPED / name / "truth.npz")
    detector, found = MediaPipeHands(0.2, mirrored=False), 0
    for frame, picture in enumerate(imageio.imiter(SHIPPED / name / "video.mp4", plugin="FFMPEG")):
        true = truth.hand_keypoints_image[frame]
        errors_px = [np.linalg.norm(hand.image - true, axis=-1).mean() for hand in detector.detect(np.asarray(picture))]
        found += min(errors_px, default=np.inf) < 0.5 * hand_size_px(true)
    detector.close()
    assert found >= 0.8 * truth.num_frames
