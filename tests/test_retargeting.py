"""The parts of retargeting: hands and key-point maps, the solver, whole clips, contact and clearance, and its benchmarks."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import mujoco
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from benchmarks import retargeting, retargeting_contact
from demos.interaction import HAND_KEYPOINT_NAMES, FloatArray, Interaction
from demos.resample import select_frames
from demos.retarget import RetargetConfig, Retargeter, object_surface, retarget
from demos.retargeting.pose_solver import Gaps, PoseGoal, PoseSolver, PoseWeights
from demos.retargeting.robot_hand import KeypointMap, RobotHand, arm_hand, floating_hand
from demos.retargeting.surface import Nearness, ObjectSurface
from demos.retargeting.touch import faded, touching_fingertips
from demos.source import load_interaction, shipped_sample
from dexvid_envs.cli import main
from dexvid_envs.errors import DexVidError, InputFileError, OptionError
from robots.objects import BOTTLES, bottle_distance
from tests.bottle_points import bottle_surface_points

FREE = RetargetConfig(wrist_weight=0.0, clearance_weight=0.0)


@pytest.fixture(scope="module")
def placed() -> Interaction:
    return retargeting_contact.placed(load_interaction(shipped_sample()), 0.0)


def gripper(**changes: str) -> RobotHand:
    """A hand of another kind: two fingers of two hinges each on a palm that slides in space."""
    spec = mujoco.MjSpec()
    spec.compiler.degree = False
    palm = spec.worldbody.add_body(name="base", pos=(0, 0, 0.3))
    for index, axis in enumerate(np.eye(3)):
        palm.add_joint(name=f"slide_{index}", type=mujoco.mjtJoint.mjJNT_SLIDE, axis=axis)
    palm.add_geom(type=mujoco.mjtGeom.mjGEOM_BOX, size=(0.01, 0.04, 0.02))
    for name, side in (("a", 1.0), ("b", -1.0)):
        body = palm
        for link, offset in enumerate(((0, 0.03 * side, 0), (0, 0, 0.05))):
            body = body.add_body(name=f"{name}{link}", pos=offset)
            limited = mujoco.mjtLimited.mjLIMITED_TRUE
            body.add_joint(name=f"{name}{link}", axis=(1, 0, 0), range=(-1.2, 1.2), limited=limited)
            body.add_geom(type=mujoco.mjtGeom.mjGEOM_CAPSULE, fromto=(0, 0, 0, 0, 0, 0.05), size=(0.006, 0, 0))
        body.add_site(name=f"{name}_tip", pos=(0, 0, 0.05))
    names = {"a": "index_tip", "b": "thumb_tip"} | changes
    return RobotHand(
        model=spec.compile(),
        keypoint_map=KeypointMap((("a_tip", names["a"]), ("b_tip", names["b"]))),
        palm_body=names.get("palm", "base"),
        wrist_in_palm_m=np.zeros(3),
        wrist_radius_m=0.04,
        pad_radius_m=0.006,
        home_qpos=np.zeros(7),
        relaxed_qpos=np.zeros(7),
        base_dofs=3,
        first_body="base",
        body_margin_m=0.0,
    )


HANDS = {"arm": arm_hand, "floating": floating_hand, "gripper": gripper}


def random_qpos(hand: RobotHand, seed: int, spread: float = 0.3) -> np.ndarray:
    """A configuration near home and within the limits."""
    rng = np.random.default_rng(seed)
    solver = Retargeter(FREE, hand).solver
    qpos = hand.home_qpos.copy()
    solver.step(qpos, rng.uniform(-spread, spread, hand.model.nv))
    return qpos


def keypoints_of(hand: RobotHand, tips: np.ndarray) -> np.ndarray:
    """(21, 3) key points with these fingertips, the wrist at the origin."""
    keypoints = np.zeros((21, 3))
    keypoints[hand.keypoint_map.keypoints] = tips
    return keypoints


@pytest.mark.parametrize("name", HANDS)
@pytest.mark.parametrize("seed", range(3))
def test_every_hand_recovers_reachable_fingertips(name: str, seed: int) -> None:
    hand = HANDS[name]()
    retargeter = Retargeter(dataclasses.replace(FREE, posture_weight=0.0, arm_posture_weight=0.0), hand)
    tips = retargeter.fingertips(random_qpos(hand, seed))
    solved = retargeter.solve(keypoints_of(hand, tips), iterations=200, previous_weight=0.0)
    assert np.linalg.norm(retargeter.fingertips(solved) - tips, axis=-1).max() < 1e-3


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), reach=st.floats(0.01, 30.0), scale=st.floats(0.2, 5.0))
def test_wild_key_points_never_leave_the_limits(seed: int, reach: float, scale: float) -> None:
    rng = np.random.default_rng(seed)
    for hand in (arm_hand(), floating_hand()):
        retargeter = Retargeter(RetargetConfig(scale=scale), hand)
        lower, upper = (limit[-16:] for limit in hand.limits)
        for _ in range(3):
            qpos = retargeter.solve(rng.uniform(-reach, reach, (21, 3)))
            assert np.isfinite(qpos).all()
            assert (qpos[-16:] >= lower).all()
            assert (qpos[-16:] <= upper).all()
            if hand.model.nq != hand.model.nv:
                assert np.linalg.norm(qpos[3:7]) == pytest.approx(1.0)


@pytest.mark.parametrize("name", HANDS)
def test_gradient_is_that_of_the_cost(name: str) -> None:
    """By finite differences, with wrist and table terms at work."""
    hand = HANDS[name]()
    solver = PoseSolver(hand, PoseWeights(0.3, 0.0, 0.0, clearance_m=0.6, clearance=2.0, object_clearance=0.0))
    rng = np.random.default_rng(0)
    goal = PoseGoal(rng.uniform(-0.3, 0.3, (len(hand.fingertip_ids), 3)), rng.uniform(-0.3, 0.3, 3))
    qpos = random_qpos(hand, 1, 0.1)
    _, gradient = solver.linearised(goal, qpos)
    for dof in range(hand.model.nv):
        costs = []
        for sign in (1, -1):
            moved = qpos.copy()
            mujoco.mj_integratePos(hand.model, moved, sign * 1e-6 * np.eye(hand.model.nv)[dof], 1.0)
            solver.linearised(goal, moved)
            costs.append(solver.cost)
        assert (costs[0] - costs[1]) / 2e-6 == pytest.approx(-gradient[dof], rel=1e-4, abs=1e-6)


class Ball(ObjectSurface):
    """A surface whose distance is exact: a ball about the object's origin."""

    def __init__(self, radius_m: float) -> None:
        self.radius_m = radius_m

    def near(self, places_object: FloatArray, distance_m: FloatArray) -> NDArray[np.bool_]:
        return np.linalg.norm(places_object, axis=1) - self.radius_m < distance_m

    def nearness(self, places_object: FloatArray) -> Nearness:
        away = np.linalg.norm(places_object, axis=1)
        return Nearness(away - self.radius_m, places_object / away[:, None], np.ones(len(away), dtype=bool))


@pytest.mark.parametrize("name", HANDS)
def test_rows_of_the_gaps_are_their_derivatives(name: str) -> None:
    """By finite differences in every degree of freedom, of links near a table and an object that is turned in the world."""
    hand = HANDS[name]()
    retargeter = Retargeter(FREE, hand)
    tips = retargeter.fingertips(random_qpos(hand, 1, 0.1)).copy()
    tips[:, 2] = 0.02
    qpos = retargeter.solve(keypoints_of(hand, tips), iterations=200, previous_weight=0.0)
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_rotvec([0.4, -1.0, 0.7]).as_matrix()
    pose[:3, 3] = retargeter.fingertips(qpos).mean(axis=0)
    solver = PoseSolver(hand, PoseWeights(0.0, 0.0, 0.0, clearance_m=0.0, clearance=0.0, object_clearance=3.0), Ball(0.03))
    goal = PoseGoal(tips, np.zeros(3), pose)
    gaps = gaps_at(solver, goal, qpos)
    low = (solver.sphere_centres()[:, 2] - hand.spheres.radius_m < 0.02).sum()
    assert 0 < low < len(gaps.gap_m)
    for dof in range(hand.model.nv):
        sides = []
        for sign in (1, -1):
            moved = qpos.copy()
            mujoco.mj_integratePos(hand.model, moved, sign * 1e-6 * np.eye(hand.model.nv)[dof], 1.0)
            sides.append(gaps_at(solver, goal, moved).gap_m)
        np.testing.assert_allclose((sides[0] - sides[1]) / 2e-6, gaps.rows[:, dof], rtol=1e-4, atol=1e-7)


def test_rows_of_gaps_to_a_surface_from_points_lead_along_it(placed: Interaction) -> None:
    """Of the sample's bottle, known by its tracked points: along the distance that the rows say, to a tenth."""
    hand = arm_hand()
    retargeter = Retargeter(RetargetConfig(contact=True), surface=object_surface(placed))
    frame = int(np.flatnonzero(placed.contact)[5])
    goal = retargeter.goal(placed.hand_keypoints_world[frame], placed.object_pose_world[frame])
    qpos, solver = retarget(placed).qpos[frame], retargeter.solver
    gaps = gaps_at(solver, goal, qpos)
    measured = np.empty_like(gaps.rows)
    for dof in range(hand.model.nv):
        step = 1e-5 * np.eye(hand.model.nv)[dof]
        measured[:, dof] = (gaps_at(solver, goal, qpos + step).gap_m - gaps_at(solver, goal, qpos - step).gap_m) / 2e-5
    assert len(gaps.gap_m) >= 5
    off = np.linalg.norm(measured - gaps.rows, axis=1)
    assert np.median(off / np.linalg.norm(gaps.rows, axis=1)) < 0.1


def gaps_at(solver: PoseSolver, goal: PoseGoal, qpos: FloatArray) -> Gaps:
    solver.kinematics(qpos)
    gaps = solver.gaps(goal)
    assert gaps is not None
    return gaps


def test_fingertips_are_scaled_about_the_wrist() -> None:
    retargeter = Retargeter(RetargetConfig(scale=1.5))
    keypoints = np.random.default_rng(0).uniform(size=(5, 21, 3))
    wanted = retargeter.wanted_fingertips(keypoints)
    own = Retargeter().wanted_fingertips(keypoints)
    assert np.allclose(wanted - keypoints[:, :1], 1.5 * (own - keypoints[:, :1]))


def test_the_map_says_which_finger_follows_which() -> None:
    """With index and thumb exchanged the two fingers change places."""
    tips = np.array([[0.0, 0.04, 0.38], [0.0, -0.04, 0.38]])
    reached = []
    for hand in (gripper(), gripper(a="thumb_tip", b="index_tip")):
        retargeter = Retargeter(FREE, hand)
        keypoints = np.zeros((21, 3))
        keypoints[[HAND_KEYPOINT_NAMES.index("index_tip"), HAND_KEYPOINT_NAMES.index("thumb_tip")]] = tips
        reached.append(retargeter.fingertips(retargeter.solve(keypoints, 100, 0.0)))
    assert np.allclose(reached[0], tips, atol=5e-3)
    assert np.allclose(reached[1], tips[::-1], atol=5e-3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: gripper(a="pinky"), "unknown key points pinky"),
        (lambda: KeypointMap(()), "at least one fingertip"),
        (lambda: gripper(palm="hand"), "no body hand: expected some of"),
        (lambda: dataclasses.replace(gripper(), home_qpos=np.zeros(6)), r"home_qpos has shape \(6,\)"),
        (lambda: RetargetConfig(scale=0.0), "positive factor"),
        (lambda: RetargetConfig(iterations=0), "at least one iteration"),
        (lambda: Retargeter().solve(np.full((21, 3), np.nan)), "fill gaps"),
        (lambda: ObjectSurface(np.full((100, 3), np.nan)), "at least 11 known points, got 0"),
    ],
)
def test_what_cannot_be_is_refused(make: object, message: str) -> None:
    with pytest.raises(DexVidError, match=message):
        make()  # type: ignore[operator]


def test_missing_key_points_are_refused_with_their_frame(placed: Interaction) -> None:
    keypoints = placed.hand_keypoints_world.copy()
    keypoints[[7, 9], 8] = np.nan
    with pytest.raises(DexVidError, match="unknown in frame 7 and 1 more"):
        retarget(dataclasses.replace(placed, hand_keypoints_world=keypoints))


def test_contact_without_poses_is_refused(placed: Interaction) -> None:
    poses = np.full_like(placed.object_pose_world, np.nan)
    with pytest.raises(DexVidError, match="rigid pose in every frame"):
        retarget(dataclasses.replace(placed, object_pose_world=poses), RetargetConfig(contact=True))


@pytest.mark.parametrize("name", BOTTLES)
def test_surface_from_points_knows_the_distance(name: str) -> None:
    """Near the body of a bottle known by 200 points: to two millimetres, and outward leads outward."""
    rng = np.random.default_rng(1)
    shape = BOTTLES[name]
    surface = ObjectSurface(bottle_surface_points(shape, 200, rng))
    places = rng.uniform(-1, 1, (4000, 3)) * np.array([0.07, 0.06, 0.06])
    places = places[np.abs(bottle_distance(shape, places)) < 0.02]
    places = places[places[:, 2] < 0.01]
    nearness = surface.nearness(places)
    true = bottle_distance(shape, places)
    assert np.abs(nearness.distance_m - true).mean() < 2e-3
    further = bottle_distance(shape, places + 2e-3 * nearness.outward) - true
    assert np.median(further) == pytest.approx(2e-3, abs=3e-4)


def test_what_was_never_seen_is_no_surface() -> None:
    """Of a bottle seen from one side, places far behind the rim of what was seen are not beside its surface."""
    points = bottle_surface_points(BOTTLES["pet"], 400, np.random.default_rng(0))
    surface = ObjectSurface(points[points[:, 0] > 0.0])
    assert surface.nearness(np.array([[0.04, 0.0, 0.0]])).beside.all()
    assert not surface.nearness(np.array([[-0.20, 0.0, 0.0]])).beside.any()


def test_touching_fingertips_lie_on_the_surface_and_others_stay() -> None:
    shape = BOTTLES["pet"]
    surface = ObjectSurface(bottle_surface_points(shape, 300, np.random.default_rng(0)))
    T_world_object = np.eye(4)
    T_world_object[:3, 3] = 0.4, -0.2, 0.1
    local = np.array([[0.030, 0.0, 0.0], [0.0, -0.042, 0.01], [0.10, 0.0, 0.0]])
    wanted = touching_fingertips(local + T_world_object[:3, 3], T_world_object, surface, 0.012, 0.015) - T_world_object[:3, 3]
    assert np.allclose(bottle_distance(shape, wanted[:2]), 0.012, atol=1.5e-3)
    assert np.allclose(wanted[2], local[2])


def test_contact_fades_in_and_out() -> None:
    contact = np.array([0, 0, 0, 1, 1, 0, 0, 0], dtype=bool)
    assert faded(contact, 2).tolist() == [0, 0, 0.5, 1, 1, 0.5, 0, 0]
    assert faded(contact, 1).tolist() == contact.astype(float).tolist()


def test_contact_lays_the_pads_on_the_object_and_keeps_links_out(placed: Interaction) -> None:
    """Measured by MuJoCo on the bottle itself, which the terms know by 128 points."""
    held = placed.contact
    deep, _ = retargeting_contact.overlaps(placed, retarget(placed), "bottle")
    motion = retarget(placed, RetargetConfig(contact=True))
    overlap, pad = retargeting_contact.overlaps(placed, motion, "bottle")
    assert deep[held].mean() > 5e-3
    assert overlap.max() < 1e-3
    assert np.abs(pad[held]).mean() < 2e-3
    free = np.flatnonzero(faded(placed.contact, 10) == 0)
    assert motion.error_m[free].mean() < 2e-3  # where nothing is touched the person is followed


def test_links_stay_above_the_table_with_contact(placed: Interaction) -> None:
    """A hand that reaches into the table: without the clearance of bodies, that of the links' spheres alone keeps it out."""
    low = dataclasses.replace(placed, hand_keypoints_world=placed.hand_keypoints_world - np.array([0.0, 0.0, 0.12]))
    hand = arm_hand()
    deepest = []
    for config in (RetargetConfig(clearance_weight=0.0), RetargetConfig(clearance_weight=0.0, contact=True)):
        retargeter = Retargeter(config, surface=object_surface(placed))
        solver = retargeter.solver
        for row in retarget(low, config).qpos[::5]:
            solver.kinematics(row)
            deepest.append((config.contact, (solver.sphere_centres()[:, 2] - hand.spheres.radius_m).min()))
    assert min(depth for contact, depth in deepest if not contact) < -0.02
    assert min(depth for contact, depth in deepest if contact) > -0.012


def test_whole_clip_is_smoother_and_stays_on_target(placed: Interaction) -> None:
    rng = np.random.default_rng(0)
    noisy = placed.hand_keypoints_world + 2e-3 * rng.standard_normal(placed.hand_keypoints_world.shape)
    shaken = dataclasses.replace(placed, hand_keypoints_world=noisy)
    streamed, whole = retarget(shaken), retarget(shaken, RetargetConfig(smoothness_weight=1e-3))
    jerks = [np.square(np.diff(motion.qpos, 3, axis=0)).mean() ** 0.5 for motion in (streamed, whole)]
    assert jerks[1] < 0.5 * jerks[0]
    assert whole.error_m.mean() < 4e-3
    lower, upper = arm_hand().limits
    assert (whole.qpos >= lower).all()
    assert (whole.qpos <= upper).all()


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_the_shortest_clips_are_solved_whole(placed: Interaction, frames: int) -> None:
    short = select_frames(placed, slice(0, frames))
    assert retarget(short, RetargetConfig(smoothness_weight=1e-3)).qpos.shape == (frames, 23)


def test_streaming_is_the_same_as_the_clip_frame_by_frame(placed: Interaction) -> None:
    motion = retarget(placed)
    retargeter = Retargeter()
    retargeter.solve(placed.hand_keypoints_world[0], 200, 0.0)
    frames = [retargeter.solve(frame) for frame in placed.hand_keypoints_world]
    assert np.array_equal(np.stack(frames), motion.qpos)


def test_command_takes_the_terms(tmp_path: Path) -> None:
    arguments = ["retarget", str(shipped_sample()), "--out", str(tmp_path / "motion.npz"), "--contact"]
    assert main([*arguments, "--smoothness-weight", "1e-4"]) == 0
    with np.load(tmp_path / "motion.npz") as motion:
        assert 1e-3 < motion["error_m"].mean() < 8e-3


def test_benchmark_runs_without_peers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a recording made from the robot's own motion; absent peers are named and the others measured."""
    retargeter = Retargeter(FREE, floating_hand())
    start, end = (random_qpos(floating_hand(), seed) for seed in (1, 2))
    frames = []
    for share in np.linspace(0, 1, 60):
        qpos = start.copy()
        retargeter.solver.step(qpos, share * retargeter.solver.difference(start, end))
        frames.append(keypoints_of(floating_hand(), retargeter.fingertips(qpos)))
    np.save(tmp_path / "recording.npy", np.stack(frames).astype(np.float32))
    monkeypatch.chdir(tmp_path)
    result = retargeting.main(
        retargeting.RetargetingConfig(recording=tmp_path / "recording.npy", urdf_folder=tmp_path, quick=True)
    )
    rows = {row["solver"]: row for row in result["rows"]}
    assert rows["ours, streaming"]["mean fingertip error, mm"] < 2.0
    assert rows["ours, streaming"]["beyond limits, rad"] == 0.0
    assert set(result["absent"]) | set(rows) >= {"mink, one step a frame", "dex-retargeting, four fingertips"}
    assert (tmp_path / "retargeting.json").is_file()


def test_benchmark_refuses_other_recordings(tmp_path: Path) -> None:
    np.save(tmp_path / "short.npy", np.zeros((10, 21, 3)))
    with pytest.raises(InputFileError, match=r"expected \(T, 21, 3\) of at least 40 frames"):
        retargeting.load_recording(tmp_path / "short.npy")
    with pytest.raises(InputFileError, match="no recording at"):
        retargeting.load_recording(tmp_path / "missing.npy")
    with pytest.raises(OptionError, match="positive scales"):
        retargeting.main(retargeting.RetargetingConfig(scales=(0.0,)))


def test_contact_benchmark_measures_the_shipped_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = retargeting_contact.main(retargeting_contact.ContactConfig(quick=True))
    assert all(check["ok"] for check in result["checks"])
    assert {row["form"] for row in result["rows"]} == set(retargeting_contact.FORMS)
