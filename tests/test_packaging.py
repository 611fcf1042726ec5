"""What a stranger installs: pins, typing marks, the licence, downward imports, and no trace of the machine it was made on."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
FLOORS = ("robots", "dexvid_envs", "demos", "baselines", "benchmarks")  # each may import itself and what stands before it
INSTALLED = FLOORS[:-1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
_MODULE_IN_STRING = re.compile(r"\w+(?:\.\w+)+(?::\w+)?")
#: Names of what stands above that a package may hold as strings, by file, each with its reason: all is loaded on demand only,
#: and says what to install where it is missing.
PLUG_IN_POINTS = {
    ("dexvid_envs/playback.py", "baselines.policy:load_policy"): "`dexvid play --policy MODULE:CLASS`",
    ("dexvid_envs/playback.py", "baselines.checkpoint:load_checkpoint"): "`dexvid play --policy CHECKPOINT`",
}
# Split, so that this file does not find itself.
FORBIDDEN = [
    ("an absolute path of one machine", re.compile(r"(?<![\w.~-])/(?:" + "work|root|home" + r")/[\w.]")),
    ("a temporary absolute path", re.compile(r"(?<![\w.~$}-])/tmp" + r"/\w")),
    ("a package registry", re.compile("pypi" + r"\.org|files\.python" + "hosted|download\\.py" + "torch|index" + "-url")),
]


def project_files() -> list[Path]:
    """The files of the tree that git would take; without git, all but hidden and generated ones."""
    arguments = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    try:
        listed = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        paths = [ROOT / name for name in listed.split("\0") if name]
    except (OSError, subprocess.CalledProcessError):
        paths = [path for path in ROOT.rglob("*") if not any(part.startswith(".") for part in path.relative_to(ROOT).parts)]
    return [path for path in paths if path.is_file()]


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = [Requirement(line) for line in lines if line.strip() and not line.startswith("#")]
    return {canonicalize_name(pin.name): str(pin.specifier).removeprefix("==") for pin in pinned}


def named_requirements() -> list[Requirement]:
    groups = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    return [Requirement(line) for group in groups for line in group]


@pytest.mark.parametrize("requirement", named_requirements(), ids=lambda requirement: requirement.name)
def test_constraints_pin_what_the_project_names(requirement: Requirement) -> None:
    version = pins()[canonicalize_name(requirement.name)]
    assert requirement.specifier.contains(version), f"{requirement} is pinned to {version}"


def test_constraints_are_plain_pins() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+==[0-9A-Za-z.!]+", line) for line in lines)
    assert pins()["torch"] == "2.13.0"
    assert pins()["mujoco"].startswith("3.17.")
    assert pins()["mediapipe"] == "0.10.21"


def test_constraints_cover_dependencies_of_dependencies() -> None:
    """Whatever is installed here because of the project is pinned: the closure over the installed metadata."""
    from importlib.metadata import PackageNotFoundError, requires

    todo: list[tuple[str, str]] = [(requirement.name, "") for requirement in named_requirements()]
    seen: set[tuple[str, str]] = set()
    unpinned = set()
    while todo:
        name, extra = todo.pop()
        if (canonicalize_name(name), extra) in seen:
            continue
        seen.add((canonicalize_name(name), extra))
        try:
            lines = requires(name) or []
        except PackageNotFoundError:  # of an extra that is not installed here
            continue
        if canonicalize_name(name) not in pins():
            unpinned.add(name)
        for line in map(Requirement, lines):
            if line.marker is None or line.marker.evaluate({"extra": extra}):
                todo += [(line.name, wanted) for wanted in ("", *line.extras)]
    assert unpinned == set()


@pytest.mark.parametrize("package", INSTALLED)
def test_packages_are_typed(package: str) -> None:
    assert (ROOT / package / "py.typed").is_file()
    assert (ROOT / package / "__init__.py").is_file()


@pytest.mark.parametrize("package", INSTALLED)
def test_every_folder_with_modules_is_a_package(package: str) -> None:
    """A folder without `__init__.py` would be left out of the wheel, though it works from a checkout."""
    folders = {path.parent for path in (ROOT / package).rglob("*.py")}
    assert [folder for folder in folders if not (folder / "__init__.py").is_file()] == []


def test_licence() -> None:
    assert PROJECT["license"] == "MIT"
    assert (ROOT / "LICENSE").read_text().startswith("MIT License")


def imported_names(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.lineno, node.module


def named_modules(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Strings such as "package.module:name", which something may import later."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and _MODULE_IN_STRING.fullmatch(node.value):
            yield node.lineno, node.value


@pytest.mark.parametrize("package", FLOORS)
def test_imports_only_go_downwards(package: str) -> None:
    above = set(FLOORS[FLOORS.index(package) + 1 :]) | {"tests"}
    wrong = []
    for path in sorted((ROOT / package).rglob("*.py")):
        file, tree = path.relative_to(ROOT).as_posix(), ast.parse(path.read_text(encoding="utf-8"))
        wrong += [f"{file}:{line} imports {name}" for line, name in imported_names(tree) if name.split(".")[0] in above]
        named = [(line, name) for line, name in named_modules(tree) if name.split(".")[0] in above]
        wrong += [f"{file}:{line} names {name}" for line, name in named if (file, name) not in PLUG_IN_POINTS]
    assert wrong == []


def test_plug_in_points_are_there() -> None:
    """What the list allows and nobody names any more is taken off it."""
    for file, name in PLUG_IN_POINTS:
        tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
        assert name in [found for _, found in named_modules(tree)], f"{file} names {name} no longer"


def test_no_file_names_one_machine_or_a_registry() -> None:
    found = []
    for path in project_files():
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:  # a picture, a video, arrays
            continue
        for number, line in enumerate(lines, start=1):
            found += [f"{path.relative_to(ROOT)}:{number}: {what}" for what, pattern in FORBIDDEN if pattern.search(line)]
    assert found == []


def test_no_large_or_generated_file_is_in_the_tree() -> None:
    large = [str(path.relative_to(ROOT)) for path in project_files() if path.stat().st_size > 20_000_000]
    generated = [str(path.relative_to(ROOT)) for path in project_files() if path.suffix in (".pyc", ".pkl", ".pickle")]
    assert large == []
    assert generated == []


def test_scripts_can_be_executed() -> None:
    for script in ("tools/setup.sh", ".ci/run"):
        assert (ROOT / script).stat().st_mode & 0o111, f"{script} is not executable"
