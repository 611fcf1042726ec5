"""The `dexvid` command: cheap help, clear errors, and what `list` and `doctor` tell."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import gymnasium
import pytest

from dexvid_envs import cli, doctor, rendering
from dexvid_envs.cli import Command, find_commands, main
from dexvid_envs.errors import OptionError


def test_help_loads_nothing_heavy() -> None:
    code = """
import sys
from dexvid_envs.cli import main
assert main(["--help"]) == 0
print(sorted({"torch", "mediapipe", "mujoco", "cv2", "scipy", "matplotlib"} & set(sys.modules)), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr.strip() == "[]"
    assert "quickstart" in done.stdout


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    shown = capsys.readouterr().out
    for name, command in find_commands().items():
        assert name in shown
        assert command.summary in shown


def test_commands_of_the_design_are_there() -> None:
    expected = {"list", "doctor", "extract", "retarget", "refine", "multiply", "replay", "train", "evaluate", "quickstart"}
    expected |= {"dataset", "play", "record", "view", "report", "completion"}
    assert expected <= set(find_commands())


def test_a_number_of_threads_that_is_none_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEXVID_NUM_THREADS", "two")
    with pytest.raises(OptionError, match="DEXVID_NUM_THREADS='two': expected a whole number"):
        gymnasium.make_vec("DexVid-OpenCabinet-v0", num_envs=2)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("dexvid-envs 0.")


def test_unknown_command_is_one_line_and_exit_2() -> None:
    arguments = [sys.executable, "-m", "dexvid_envs.cli", "extrct", "video.mp4"]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert "'extrct'" in done.stderr
    assert "extract" in done.stderr


def test_a_wrong_option_is_exit_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as done:
        main(["list", "--jsn"])
    assert done.value.code == 2
    assert "--jsn" in capsys.readouterr().err


def test_an_interruption_is_exit_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(doctor, "registered_environments", interrupt)
    assert main(["list"]) == 130
    assert capsys.readouterr().err == "interrupted\n"


@pytest.mark.parametrize("arguments", [["list"], ["list", "--json"], ["list", "--help"], []])
def test_a_pipe_that_nobody_reads_is_exit_141_without_a_word(arguments: list[str]) -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "dexvid_envs", *arguments],
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")


def test_the_package_is_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "dexvid_envs"], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == cli.overview(find_commands()) + "\n"


def test_a_users_mistake_is_shown_without_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "examine", _raise_mistake)
    assert main(["doctor"]) == 2
    assert capsys.readouterr().err == "error: given x, expected y, do z\n"


def _raise_mistake(report: object) -> list[doctor.Finding]:
    raise cli.DexVidError("given x, expected y, do z")


def test_a_command_of_another_package_is_found(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    theirs = Command("theirs", "something of a user's", "json:loads")
    monkeypatch.setattr(cli, "find_commands", lambda: {"theirs": theirs})
    assert main(["help"]) == 0
    assert "something of a user's" in capsys.readouterr().out


def test_list_names_every_registered_environment(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["id"] for row in rows} == {name for name in gymnasium.registry if name.startswith("DexVid-")}
    assert {"DexVid-GraspLift-v0", "DexVid-BottlePickPlace-v0"} <= {row["id"] for row in rows}
    assert all(row["summary"] and row["max_episode_steps"] for row in rows)
    assert main(["list"]) == 0
    assert "DexVid-GraspLift-v0" in capsys.readouterr().out


@pytest.fixture
def no_slow_imports(monkeypatch: pytest.MonkeyPatch) -> None:
    """The two findings that load mediapipe and torch take seconds; the tests of the others do without."""
    monkeypatch.setattr(doctor, "_video_finding", lambda: doctor.Finding("hands in videos", "ok", ""))
    monkeypatch.setattr(doctor, "_gpu_finding", lambda: doctor.Finding("gpu", "absent", ""))


@pytest.mark.usefixtures("no_slow_imports")
def test_doctor_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    findings = {finding["name"]: finding for finding in json.loads(capsys.readouterr().out)}
    expected = {"python", "cores", "memory", "mujoco", "torch", "extra video", "extra lerobot", "rendering", "gpu"}
    assert expected | {"window", "browser for tests"} <= set(findings)
    assert findings["mujoco"]["status"] == "ok"
    assert findings["mujoco"]["value"].startswith("3.")


@pytest.mark.usefixtures("no_slow_imports")
def test_doctor_names_what_is_missing_and_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real_version = doctor.version
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.setattr(doctor, "version", lambda name: "0.1" if name in ("h5py", "mediapipe") else real_version(name))
    monkeypatch.setattr(doctor, "choose_backend", lambda: None)
    monkeypatch.setattr(doctor, "probe_backend", lambda backend: rendering.Probe(False, "no library"))
    assert main(["doctor"]) == 1
    lines = capsys.readouterr().out.splitlines()
    after = {line.split()[1]: (line, following) for line, following in zip(lines, [*lines[1:], ""], strict=True)}
    line, remedy = after["h5py"]
    assert line.startswith("missing")
    assert "0.1, but >=3.10 is needed" in line
    assert "pip install" in remedy
    video = next(pair for pair in zip(lines, [*lines[1:], ""], strict=True) if "extra video" in pair[0])
    assert video[0].startswith("absent")
    assert "[video]" in video[1]
    assert after["rendering"][0].startswith("absent")
    assert "libegl1" in after["rendering"][1]


@pytest.mark.parametrize("setting", ["banana", "osmesa-of-old"])
def test_impossible_graphics_setting_is_explained(setting: str) -> None:
    """mujoco raises at import with such a value; the command says what to do instead of a traceback."""
    environment = os.environ | {"MUJOCO_GL": setting}
    done = subprocess.run(
        [sys.executable, "-m", "dexvid_envs.cli", "multiply", "nothing", "--out", "nowhere"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "unset it" in done.stderr
    assert "Traceback" not in done.stderr
