"""`dexvid list` and `dexvid doctor`: which environments there are, and what this machine can do with them."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any, Literal

from packaging.requirements import Requirement

from dexvid_envs.cli import parse_config
from dexvid_envs.commands import DOCTOR, LIST
from dexvid_envs.json_output import is_printed, json_output
from dexvid_envs.machine import memory_bytes, usable_cores
from dexvid_envs.progress import Report, progress_bar
from dexvid_envs.rendering import HEADLESS_BACKENDS, INSTALL_HINT, RenderingUnavailableError, choose_backend, probe_backend

DISTRIBUTION = "dexvid-envs"
EXTRAS = {
    "video": "reading videos of hands",
    "view": "the viewer in the browser",
    "scale": "many videos on many machines",
    "lerobot": "export of datasets to LeRobot's layout",
    "dev": "tests and checks",
}
IMPORT_TIMEOUT_S = 120.0


@dataclasses.dataclass(frozen=True)
class ListConfig:
    """Options of `dexvid list`.

    Attributes:
        json: a file for the same as JSON; - or nothing prints it instead of the table.
    """

    json: Path | None = None


@dataclasses.dataclass(frozen=True)
class DoctorConfig:
    """Options of `dexvid doctor`.

    Attributes:
        json: a file for the same as JSON; - or nothing prints it instead of the lines.
    """

    json: Path | None = None


@dataclasses.dataclass(frozen=True)
class Finding:
    """One line of the doctor's.

    Attributes:
        name: what was looked at.
        status: "ok"; "missing" for what the project cannot do without; "absent" for what it can.
        value: what was found.
        remedy: how to get it, where it is not ok.
    """

    name: str
    status: Literal["ok", "missing", "absent"]
    value: str
    remedy: str = ""


def list_main(arguments: Sequence[str]) -> int:
    """Prints the registered DexVid environments."""
    config = parse_config(ListConfig, LIST, arguments)
    rows = registered_environments()
    with json_output(config.json) as write:
        write(rows)
    if not is_printed(config.json):
        width = max((len(row["id"]) for row in rows), default=0)
        for row in rows:
            print(f"{row['id'].ljust(width)}  {row['summary']}")
    return 0


def doctor_main(arguments: Sequence[str]) -> int:
    """Prints what this machine can do; returns 1 if something is missing that nothing works without."""
    config = parse_config(DoctorConfig, DOCTOR, arguments)
    with progress_bar("examine") as report:
        findings = examine(report)
    with json_output(config.json) as write:
        write([dataclasses.asdict(finding) for finding in findings])
    if not is_printed(config.json):
        width = max(len(finding.name) for finding in findings)
        for finding in findings:
            print(f"{finding.status.ljust(7)}  {finding.name.ljust(width)}  {finding.value}")
            if finding.remedy:
                print(" " * (width + 11) + "-> " + finding.remedy)
    return int(any(finding.status == "missing" for finding in findings))


def registered_environments() -> list[dict[str, Any]]:
    """Id, summary and longest episode of each DexVid environment, in alphabetical order."""
    import gymnasium

    from dexvid_envs.registration import REGISTRATIONS  # by importing the package they are registered too

    summaries = {entry.id: entry.summary for entry in REGISTRATIONS}
    specs = [spec for name, spec in sorted(gymnasium.registry.items()) if name.startswith("DexVid-")]
    return [
        {"id": spec.id, "summary": summaries.get(spec.id, ""), "max_episode_steps": spec.max_episode_steps} for spec in specs
    ]


def examine(report: Report = lambda share, state: None) -> list[Finding]:
    """All findings on this machine; takes some seconds, since renderer, window and torch are really tried.

    Args:
        report: called with the finished share and what is looked at.
    """
    looks: tuple[tuple[str, Callable[[], list[Finding]]], ...] = (
        ("machine", _machine_findings),
        ("packages", _package_findings),
        ("rendering", lambda: [_rendering_finding()]),
        ("window", lambda: [_window_finding(), _browser_finding()]),
        ("gpu", lambda: [_gpu_finding()]),
    )
    findings: list[Finding] = []
    for done, (what, look) in enumerate(looks):
        report(done / len(looks), what)
        findings += look()
    return findings


def _machine_findings() -> list[Finding]:
    return [
        Finding("python", "ok", f"{platform.python_version()} at {sys.executable}"),
        Finding("system", "ok", f"{platform.system()} {platform.machine()}"),
        Finding("cores", "ok", f"{usable_cores():g}"),
        _memory_finding(),
    ]


def _memory_finding() -> Finding:
    memory = memory_bytes()
    return Finding("memory", "ok", "unknown" if memory is None else f"{memory / 2**30:.1f} GiB")


def _package_findings() -> list[Finding]:
    """One finding for each required package, one for each extra."""
    requirements = [Requirement(line) for line in requires(DISTRIBUTION) or []]
    findings = [Finding(DISTRIBUTION, "ok", version(DISTRIBUTION))]
    for requirement in requirements:
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        value, fits = _installed(requirement)
        remedy = "" if fits else _install_command("")
        findings.append(Finding(requirement.name, "ok" if fits else "missing", value, remedy))
    for extra, purpose in EXTRAS.items():
        members = [r for r in requirements if r.marker is not None and r.marker.evaluate({"extra": extra})]
        states = [(r.name, *_installed(r)) for r in members]
        value = f"{', '.join(f'{name} {state}' for name, state, _ in states)} ({purpose})"
        whole = all(fits for *_, fits in states)
        findings.append(Finding(f"extra {extra}", "ok" if whole else "absent", value, "" if whole else _install_command(extra)))
        if extra == "video" and whole:
            findings.append(_video_finding())
    return findings


def _installed(requirement: Requirement) -> tuple[str, bool]:
    """The installed version of a package and whether it is one that is asked for."""
    try:
        found = version(requirement.name)
    except PackageNotFoundError:
        return "not installed", False
    fits = requirement.specifier.contains(found, prereleases=True)
    return (found if fits else f"{found}, but {requirement.specifier} is needed"), fits


def _install_command(extra: str) -> str:
    """How to install the project with an extra: from its checkout, for it is on no index of packages."""
    root = Path(__file__).resolve().parent.parent
    place = str(root) if (root / "constraints.txt").is_file() else f"CHECKOUT_OF_{DISTRIBUTION.upper()}"
    return f"cd {place} && {sys.executable} -m pip install -c constraints.txt -e '.{f'[{extra}]' if extra else ''}'"


def _video_finding() -> Finding:
    """Whether mediapipe and OpenCV find the system's libraries; tried in a process of its own, as they are large."""
    command = [sys.executable, "-P", "-c", "import cv2, mediapipe"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=IMPORT_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Finding("hands in videos", "absent", str(error))
    if done.returncode == 0:
        return Finding("hands in videos", "ok", "mediapipe and OpenCV can be loaded")
    lines = done.stderr.strip().splitlines()
    reason = lines[-1] if lines else f"the process ended with {done.returncode}"
    return Finding("hands in videos", "absent", reason, "sudo apt-get install -y libgl1 libegl1 libgles2 libglib2.0-0")


def _rendering_finding() -> Finding:
    """The renderer and the device it draws with."""
    try:
        backend = choose_backend()
    except RenderingUnavailableError as error:
        return Finding("rendering", "absent", str(error), "unset MUJOCO_GL")
    if backend is None:
        if os.environ.get("MUJOCO_GL"):
            return Finding("rendering", "absent", f"MUJOCO_GL is {os.environ['MUJOCO_GL']!r}", "unset MUJOCO_GL")
        tried = "; ".join(f"{name}: {probe_backend(name).detail}" for name in HEADLESS_BACKENDS)
        return Finding("rendering", "absent", tried, INSTALL_HINT)
    probe = probe_backend(backend)
    chosen = "MUJOCO_GL" if os.environ.get("MUJOCO_GL") else "chosen by itself"
    if not probe.usable:
        return Finding("rendering", "absent", f"{backend} ({chosen}): {probe.detail}", f"unset MUJOCO_GL, or {INSTALL_HINT}")
    return Finding("rendering", "ok", f"{backend} ({chosen}) on {probe.detail}")


def _window_finding() -> Finding:
    """Whether a window can be opened, as by `dexvid play` without `--video`."""
    try:
        from dexvid_envs.viewer import why_no_window

        why = why_no_window()
    except Exception as error:  # mujoco cannot be loaded: its own finding tells more
        why = f"{type(error).__name__}: {error}"
    if not why:
        return Finding("window", "ok", "one can be opened")
    remedy = "a desktop, `ssh -X`, or a virtual screen: sudo apt-get install -y xvfb libgl1, then xvfb-run -a dexvid play ..."
    return Finding("window", "absent", why, remedy)


def _browser_finding() -> Finding:
    """Chromium, in which the tests look at pages; any browser shows them."""
    found = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)
    if found is not None:
        return Finding("browser for tests", "ok", found)
    return Finding("browser for tests", "absent", "no Chromium; those tests are skipped", "sudo apt-get install -y chromium")


def _gpu_finding() -> Finding:
    """Whether torch can use a GPU; nothing here needs one."""
    if importlib.util.find_spec("torch") is None:
        return Finding("gpu", "absent", "torch is not installed", _install_command(""))
    try:
        import torch
    except (ImportError, OSError) as error:
        return Finding("gpu", "absent", f"torch cannot be loaded: {error}", _install_command(""))
    if torch.cuda.is_available():
        return Finding("gpu", "ok", torch.cuda.get_device_name(0))
    return Finding("gpu", "absent", f"none that torch {torch.__version__} can use; nothing here needs one")
