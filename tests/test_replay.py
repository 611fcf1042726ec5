"""Recording and replaying: exact on the same build, from any frame, from batches; scored alike by independent code."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from numpy.typing import NDArray

from demos.closed_loop import DemonstrationFollower
from demos.dataset import read_dataset, write_dataset
from demos.demonstration import Demonstration, demonstrations_from_batch
from demos.provenance import model_hash, versions
from demos.replay import Player, record, replay
from demos.replay_plot import measure_forces
from demos.source import shipped_demonstration
from dexvid_envs.cli import main
from dexvid_envs.env import DexVidEnv
from dexvid_envs.errors import DexVidError, OptionError
from dexvid_envs.rendering import choose_backend
from dexvid_envs.vector_env import DexVidVectorEnv

BOTTLE, LIFT, CABINET = "DexVid-BottlePickPlace-v0", "DexVid-GraspLift-v0", "DexVid-OpenCabinet-v0"
ENVIRONMENTS = ((BOTTLE, {"bottle": "mustard"}), (BOTTLE, {}), (LIFT, {}))
STANDING = {"bottle_position": (0.47, 0.12), "target_position": (0.46, 0.12)}
needs_rendering = pytest.mark.skipif(choose_backend() is None, reason="no off-screen OpenGL library here")


def random_actions(steps: int = 25, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).uniform(-1, 1, (steps, 23)).astype(np.float32)


def still(steps: int = 14) -> NDArray[np.float32]:
    return np.zeros((steps, 23), dtype=np.float32)


def bare_env(env_id: str, **options: Any) -> DexVidEnv:
    env = gymnasium.make(env_id, **options).unwrapped
    assert isinstance(env, DexVidEnv)
    return env


@pytest.fixture(scope="module")
def player() -> Player:
    return Player(BOTTLE, {}, "joint_delta")


@pytest.fixture(scope="module")
def placed(player: Player) -> Demonstration:
    """A bottle that stands 1 cm beside its target's centre while the robot rests."""
    return player.record(still(), reset_options=STANDING, tier="successful", provenance={"source_sha256": "none"})


# ---- recording and replaying ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("env_id", "options"), ENVIRONMENTS, ids=["mustard", "pet", "lift"])
@pytest.mark.parametrize("control_mode", ["joint_delta", "joint_target"])
def test_replay_in_a_fresh_environment_is_exact(
    env_id: str, options: dict[str, Any], control_mode: str, tmp_path: Path
) -> None:
    recorded = record(env_id, options, control_mode, random_actions(), seed=4)
    write_dataset(tmp_path / "set", [recorded])
    outcome = replay(read_dataset(tmp_path / "set")[0])
    assert outcome.state_deviation == 0.0
    assert outcome.object_deviation_max_m == 0.0
    assert outcome.same_build
    assert outcome.keeps_contract
    assert outcome.success == outcome.stored_success == bool(recorded.successes[-1])


@pytest.mark.parametrize(("env_id", "options"), ENVIRONMENTS, ids=["mustard", "pet", "lift"])
def test_every_frame_can_be_continued_from(env_id: str, options: dict[str, Any]) -> None:
    recorded = record(env_id, options, "joint_delta", random_actions(), seed=1)
    env = bare_env(env_id, **options)
    for start in (0, 11, recorded.num_steps):
        observation, _ = env.reset(options=recorded.reset_options(start))
        np.testing.assert_array_equal(observation, recorded.observations[start])
        np.testing.assert_array_equal(env.state()["simulation"], recorded.states[start])
        for step in range(start, recorded.num_steps):
            observation, reward, _, _, info = env.step(recorded.actions[step])
            np.testing.assert_array_equal(observation, recorded.observations[step + 1])
            assert (reward, info["success"]) == (recorded.rewards[step], recorded.successes[step])
        np.testing.assert_array_equal(env.state()["simulation"], recorded.states[-1])


def test_what_was_randomised_is_kept_and_played_again(tmp_path: Path) -> None:
    """Mass, friction, size, noise and pushes are those of the recording, from any frame on."""
    options = {"randomization": "full"}
    recorded = record(BOTTLE, options, "joint_delta", random_actions(), seed=3)
    assert recorded.randomization
    write_dataset(tmp_path / "set", [recorded])
    (read,) = read_dataset(tmp_path / "set")
    assert replay(read).state_deviation == 0.0
    player = Player(BOTTLE, options, "joint_delta")
    rest = player.record(read.actions[10:], reset_options=read.reset_options(10))
    np.testing.assert_array_equal(rest.states, recorded.states[10:])
    np.testing.assert_array_equal(rest.observations, recorded.observations[10:])


def test_recording_from_the_middle_equals_the_rest(player: Player) -> None:
    whole = player.record(random_actions(), seed=2)
    rest = player.record(whole.actions[10:], reset_options=whole.reset_options(10))
    np.testing.assert_array_equal(rest.states, whole.states[10:])
    np.testing.assert_array_equal(rest.rewards, whole.rewards[10:])


def test_actions_that_are_clipped_in_playing_are_kept_so(player: Player) -> None:
    wild = 3.0 * random_actions(5)
    recorded = player.record(wild, seed=2)
    np.testing.assert_array_equal(recorded.actions, np.clip(wild, -1.0, 1.0))
    np.testing.assert_array_equal(recorded.states, player.record(np.clip(wild, -1.0, 1.0), seed=2).states)


def test_a_recording_says_where_it_comes_from(player: Player) -> None:
    recorded = player.record(random_actions(3), seed=8, provenance={"source_sha256": "abc"}, source_frame=[-1, 4, 5, 6])
    assert recorded.provenance["source_sha256"] == "abc"
    assert recorded.provenance["model_sha256"] == player.model_sha256
    assert recorded.provenance["versions"] == versions()
    assert recorded.provenance["reset"] == {"seed": 8, "options": {}}
    assert recorded.source_frame.tolist() == [-1, 4, 5, 6]
    json.dumps(recorded.provenance)


def test_another_start_or_build_is_noticed(player: Player) -> None:
    recorded = player.record(random_actions(), seed=2)
    moved = dataclasses.replace(recorded, states=recorded.states + 1e-9, tier="replayable")
    outcome = player.replay(moved)
    assert outcome.state_deviation is not None
    assert outcome.state_deviation > 0
    assert not outcome.keeps_contract
    other = dataclasses.replace(moved, provenance={"model_sha256": "another", "versions": versions()})
    assert player.replay(other).same_build is False
    assert player.replay(other).keeps_contract  # the outcome is the same; exactness is promised on the same build only
    assert player.replay(dataclasses.replace(moved, provenance={})).same_build is None


class StillPolicy:
    def __init__(self) -> None:
        self.resets: list[list[bool]] = []
        self.shapes: list[tuple[int, ...]] = []

    def reset(self, mask: NDArray[np.bool_]) -> None:
        self.resets.append(mask.tolist())

    def act(self, observation: NDArray[np.float32]) -> NDArray[np.float32]:
        self.shapes.append(observation.shape)
        return np.zeros((len(observation), 23), dtype=np.float32)


def test_closed_loop(player: Player, placed: Demonstration) -> None:
    policy = StillPolicy()
    outcome = player.replay(placed, policy)
    assert policy.resets == [[True]]
    assert policy.shapes == [(1, placed.observations.shape[1])] * placed.num_steps
    assert outcome.success
    assert outcome.state_deviation is None
    moving = player.record(random_actions(), seed=2)
    drift = player.replay(moving, StillPolicy())
    assert drift.object_deviation_max_m >= drift.object_deviation_mean_m >= 0


def test_batched_rollouts_become_demonstrations_that_replay_exactly() -> None:
    steps, rows = 20, (2, 0)
    envs = DexVidVectorEnv("dexvid_envs.tasks.bottle_pick_place:BottlePickPlace", num_envs=3)
    observations, _ = envs.reset(seed=5)
    batch: dict[str, list[Any]] = {name: [] for name in ("observations", "states", "object_pos_world", "rewards", "successes")}
    frames: list[list[dict[str, Any]]] = []
    actions = np.random.default_rng(0).uniform(-1, 1, (steps, 3, 23)).astype(np.float32)

    def keep(observations: NDArray[np.float32]) -> None:
        frames.append([envs.core.state(row) for row in range(3)])
        batch["observations"].append(observations.copy())
        batch["states"].append(np.stack([state["simulation"] for state in frames[-1]]))
        batch["object_pos_world"].append(envs.simulation.xpos[:, envs.simulation.model.body("bottle").id].copy())

    keep(observations)
    for action in actions:
        result = envs.core.step(action)
        keep(result.observations)
        batch["rewards"].append(result.rewards.copy())
        batch["successes"].append(result.figures["success"].copy())
    arrays: dict[str, Any] = {name: np.stack(values) for name, values in batch.items()} | {"actions": actions}
    names = frames[0][0]["memory"]
    arrays["memory"] = {name: np.stack([[state["memory"][name] for state in frame] for frame in frames]) for name in names}

    def make(tier: Any) -> list[Demonstration]:
        kind: dict[str, Any] = {"env_id": BOTTLE, "env_options": {}, "control_mode": "joint_delta", "tier": tier}
        return demonstrations_from_batch(
            arrays, rows, (steps, 7), source_frame=np.full(steps + 1, -1), provenance=[{}, {}], **kind
        )

    made = make("kinematic")
    assert [demonstration.num_steps for demonstration in made] == [steps, 7]
    for demonstration in made:
        outcome = replay(demonstration)
        assert outcome.state_deviation == 0.0
        assert outcome.object_deviation_max_m == 0.0
    with pytest.raises(DexVidError, match="row 2 does not end in the task's success after 20 steps"):
        make("successful")


def test_model_hash_tells_models_apart() -> None:
    hashes = [model_hash(bare_env(env_id, **options).model) for env_id, options in ENVIRONMENTS]
    assert len(set(hashes)) == 3
    assert model_hash(bare_env(BOTTLE).model) == hashes[1]


# ---- mistakes ---------------------------------------------------------------------------------------------------------------


def test_claims_and_inputs_are_checked(player: Player, placed: Demonstration) -> None:
    with pytest.raises(DexVidError, match="does not end in the task's success"):
        player.record(random_actions(3), seed=0, tier="successful")
    with pytest.raises(DexVidError, match="at least one step"):
        player.record(np.zeros((0, 23)))
    with pytest.raises(DexVidError, match="this player has"):
        player.replay(dataclasses.replace(placed, control_mode="joint_target"))
    with pytest.raises(DexVidError, match="made with another build"):
        player.replay(dataclasses.replace(placed, states=placed.states[:, :-1]))
    with pytest.raises(DexVidError, match=r"actions have 16 numbers, .* another robot or control mode"):
        player.replay(dataclasses.replace(placed, actions=placed.actions[:, :16]))


@pytest.mark.parametrize("env_id", ["DexVid-Nothing-v0", "antigravity:DexVid-BottlePickPlace-v0", "CartPole-v1"])
def test_foreign_environments_are_refused(placed: Demonstration, env_id: str) -> None:
    with pytest.raises(OptionError, match="expected"):
        replay(dataclasses.replace(placed, env_id=env_id, env_options={}))


def test_a_file_cannot_name_code_to_run(placed: Demonstration) -> None:
    with pytest.raises(OptionError, match="'task'"):
        replay(dataclasses.replace(placed, env_options={"task": "os:system"}))


# ---- the command ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def dataset(player: Player, placed: Demonstration, tmp_path: Path) -> Path:
    write_dataset(tmp_path / "set", [player.record(random_actions(4), seed=0), placed])
    return tmp_path / "set"


def test_command_reports_every_episode(dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(dataset), "--json", str(tmp_path / "out.json")]) == 0
    report = json.loads((tmp_path / "out.json").read_text())
    assert report["summary"] == {"episodes": 2, "success": 1, "exact": 2, "keeps_contract": 2}
    assert [row["episode"] for row in report["episodes"]] == [0, 1]
    assert report["episodes"][1]["rescored_success"] is True
    printed = capsys.readouterr().out
    assert "success 1 of 2" in printed
    assert "tier holds 2 of 2" in printed


def test_command_says_what_does_not_hold_and_what_differs(
    player: Player, placed: Demonstration, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A lie about success, a state that does not come again, and a recording of another version."""
    shaken = dataclasses.replace(placed, states=placed.states + 1e-9)
    lie = dataclasses.replace(player.record(still(), seed=1), tier="successful")
    older = dict(placed.provenance) | {"versions": versions() | {"mujoco": "3.17.9"}}
    elsewhere = dataclasses.replace(shaken, provenance=older)
    write_dataset(tmp_path / "set", [placed, shaken, lie, elsewhere])
    assert main(["replay", str(tmp_path / "set"), "--json", str(tmp_path / "out.json")]) == 1
    rows = json.loads((tmp_path / "out.json").read_text())["episodes"]
    assert [row["keeps_contract"] for row in rows] == [True, False, False, True]
    assert rows[3]["same_build"] is False
    printed = capsys.readouterr().out
    assert "episode 1: the states differ by up to" in printed
    assert "episode 2: its tier is successful, and it ends without success" in printed
    assert (
        f"episode 3: recorded on another build: mujoco 3.17.9 (here {versions()['mujoco']}); the outcome has to hold" in printed
    )


def test_command_in_closed_loop(dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(dataset), "--closed-loop", "--json", str(tmp_path / "out.json")]) == 0
    report = json.loads((tmp_path / "out.json").read_text())
    assert report["replay"] == "closed-loop"
    assert report["episodes"][0]["state_deviation"] is None
    assert "closed-loop replay" in capsys.readouterr().out


def test_the_episode_that_cannot_be_played_is_named(
    placed: Demonstration, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cut = dataclasses.replace(placed, states=placed.states[:, :-1])
    write_dataset(tmp_path / "set", [placed, cut])
    assert main(["replay", str(tmp_path / "set")]) == 2
    assert "episode 1: the demonstration's states have shape" in capsys.readouterr().err


def test_command_plots_forces_error_and_phases(tmp_path: Path) -> None:
    from PIL import Image

    assert main(["replay", str(shipped_demonstration()), "--plot", str(tmp_path / "forces.png")]) == 0
    picture = np.asarray(Image.open(tmp_path / "forces.png"))
    assert picture.shape[1] > 800
    assert (picture[..., :3].std(axis=(0, 1)) > 10).all()


def test_grip_and_phases_of_the_shipped_demonstration() -> None:
    (demonstration,) = read_dataset(shipped_demonstration())
    player = Player(demonstration.env_id, demonstration.env_options, demonstration.control_mode)
    forces = measure_forces(player, demonstration)
    names = [name for name, _, _ in forces.phases]
    assert names == ["approach", "grasp", "carry", "release", "retreat"]
    (_, lift, place) = forces.phases[2]
    weight_n = 9.81 * float(player.env.model.body("bottle").mass[0])
    assert (forces.total_n[lift:place] > weight_n).all()  # friction below 1: a grip presses with more than the weight
    assert forces.total_n[0] == forces.total_n[-1] == 0.0
    assert "arm" not in forces.by_part_n


@needs_rendering
def test_command_makes_a_video(dataset: Path, tmp_path: Path) -> None:
    import imageio.v3 as imageio

    assert main(["replay", str(dataset), "--episode", "0", "--video", str(tmp_path / "out.mp4")]) == 0
    frames = imageio.imread(tmp_path / "out.mp4")
    assert frames.shape == (5, 480, 640, 3)
    assert frames.std() > 10


@needs_rendering
def test_command_shows_film_human_and_robot_side_by_side(tmp_path: Path) -> None:
    import imageio.v3 as imageio

    (demonstration,) = read_dataset(shipped_demonstration())
    first = int(np.flatnonzero(demonstration.source_frame >= 0)[0])
    part = slice(first, first + 5)
    cut = {name: getattr(demonstration, name)[part] for name in ("observations", "states", "object_pos_world", "source_frame")}
    cut |= {name: getattr(demonstration, name)[first : first + 4] for name in ("actions", "rewards", "successes")}
    memory = {name: values[part] for name, values in demonstration.memory.items()}
    write_dataset(tmp_path / "set", [dataclasses.replace(demonstration, memory=memory, tier="kinematic", **cut)])
    assert main(["replay", str(tmp_path / "set"), "--video", str(tmp_path / "out.mp4")]) == 0
    picture = imageio.imread(tmp_path / "out.mp4", index=0)
    assert picture.shape == (400, 1440, 3)
    for panel in np.split(picture[60:300], 3, axis=1):
        assert panel.std() > 10


def test_following_a_demonstration_makes_up_for_an_object_that_lies_elsewhere() -> None:
    """The bottle is 4 cm further off than the demonstration had it: played as it is, the grasp misses."""
    (demonstration,) = read_dataset(shipped_demonstration())
    player = Player(demonstration.env_id, demonstration.env_options, demonstration.control_mode)
    env = player.env
    place = int(env.model.joint("bottle_joint").qposadr[0])
    outcomes = {}
    for name in ("played", "followed"):
        follower = DemonstrationFollower(env, demonstration)
        env.reset(options=demonstration.reset_options(0))
        env.data.qpos[place + 1] += 0.04
        env.reset(options={"state": env.state()})
        info: dict[str, Any] = {}
        for action in demonstration.actions:
            chosen = action if name == "played" else follower.act(np.zeros((1, 0), np.float32))[0]
            info = env.step(chosen)[-1]
        outcomes[name] = info["success"]
    assert outcomes == {"played": False, "followed": True}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing"], "no dataset at"),
        (["set", "--episode", "7"], "has no episode 7: expected 0 to 1"),
        (["set", "--video", "out.gif"], "ends in .mp4"),
        (["set", "--plot", "out.jpg"], "ends in .png"),
        (["set", "--plot", "out.png"], "choose one with --episode"),
        (["set", "--source", "film"], "add --episode"),
    ],
)
def test_command_mistakes(
    dataset: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(dataset.parent)
    assert main(["replay", *arguments]) == 2
    assert message in capsys.readouterr().err
    assert [entry.name for entry in dataset.parent.iterdir()] == ["set"]
