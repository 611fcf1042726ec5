"""From one recording to one demonstration that holds in physics: how near the robot's object keeps to the person's.

    python -m benchmarks.refinement --recording path/to/dexmv_mustard --clip path/to/clip --extraction path/to/extraction

A clip is a synthetic one, whose exact truth is taken as if an extraction had made no error; an extraction's folder counts only
if it passed its gates. The task is the one that the recording's key points show. Shares are of one task and one kind of input:
the truth, another extractor's recording, or an extraction by what it was given (the name of the folder around it). Finished
clips are kept in `--runs`, each with its demonstration, so that an interrupted benchmark goes on.

`tracking_mm` is the object's mean distance from the placed path, which the search follows: the video's, re-aimed from the
task's start to its goal, and stretched to the opening that is asked for where it is a drawer's. `video_path_mm` is the distance
from the video's own path, turned about the vertical and shifted alone. Two free cores need at most the wall time `seconds` on a
machine of two with other work, at most `cpu_seconds`, which is what all threads spent, and at least half of the latter
(`two_core_seconds`); the lesser of the first two is held against the target of three minutes.
"""

from __future__ import annotations

import dataclasses
import json
import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import tyro

from benchmarks.result import RESULTS, Check, write_result
from demos.dataset import read_dataset, write_dataset
from demos.demonstration import Demonstration
from demos.extract.gates import read_failed_gates
from demos.followed_path import video_path_distance
from demos.goals import ENVIRONMENTS, Kind, find_goal, lifting_part
from demos.interaction import Interaction
from demos.provenance import extraction_facts
from demos.pseudo_demonstration import closest_options, place_and_retarget, refine_interaction
from demos.refine import RefineConfig
from demos.source import load_interaction, shipped_sample
from demos.synthetic.exact import true_interaction
from demos.synthetic.truth import ClipTruth
from dexvid_envs.errors import DexVidError
from dexvid_envs.files import atomic_path

TRACKING_MM, SHARE, SECONDS = 15.0, 0.9, 180.0
QUICK = RefineConfig(candidates=8, elites=2, offset_rounds=2, spline_rounds=2, replicates=2, final_replicates=2)
_IN_WORDS = {"truth": "exact truth", "recording": "recording"}  # of what is given, where it is no extraction
_KINDS: dict[str, Kind] = {"lift": "lift", "place": "place", "drawer": "open", "throw": "throw"}  # of synthetic clips


@dataclasses.dataclass(frozen=True)
class RefinementArguments:
    """Arguments of the benchmark."""

    recording: Annotated[tuple[Path, ...], tyro.conf.UseAppendAction] = ()
    """recordings in an importer's layout; may be given several times"""
    clip: Annotated[tuple[Path, ...], tyro.conf.UseAppendAction] = ()
    """synthetic clips with truth; may be given several times"""
    extraction: Annotated[tuple[Path, ...], tyro.conf.UseAppendAction] = ()
    """extractions; may be given several times"""
    lifted: Annotated[tuple[Path, ...], tyro.conf.UseAppendAction] = ()
    """extractions of which the part until the object is held highest is taken, as a lift; may be given several times"""
    runs: Path = Path("runs/refinement")
    """folder for finished clips"""
    seed: int = 0
    """of the searches"""
    quick: bool = False
    """the shipped recording alone and a small search, whose figures say nothing; written beside the runs"""


@dataclasses.dataclass(frozen=True)
class Source:
    """A recording with its name, where it comes from, and its task where the corpus tells it."""

    name: str
    origin: str
    path: Path
    kind: Kind | None
    until_highest: bool = False

    @property
    def given(self) -> str:
        """What the interaction was made from: "truth", "recording", or what the extraction was given beside the video."""
        if self.origin.startswith("extraction"):
            return self.path.parent.name
        return "recording" if self.origin == "recording" else "truth"

    @property
    def gates(self) -> str:
        """Whether the extraction passed its gates; truth and other extractors' recordings have none to pass."""
        if not self.origin.startswith("extraction"):
            return f"none ({self.given})"
        return "not passed" if read_failed_gates(self.path) else "passed"

    def load(self) -> Interaction:
        """The interaction."""
        if self.origin == "truth":
            return true_interaction(ClipTruth.load(self.path / "truth.npz"))
        whole = load_interaction(self.path)
        return lifting_part(whole) if self.until_highest else whole


def sources(arguments: RefinementArguments) -> Iterator[Source]:
    """What is asked for; the recording that comes with the project is always among them."""
    yield Source("shipped sample", "truth of its own", shipped_sample(), "place")
    if arguments.quick:
        return
    for path in arguments.recording:
        yield Source(path.name, "recording", path, None)
    for path in arguments.clip:
        yield Source(path.name, "truth", path, _kind(path.name))
    for path in arguments.extraction:
        yield Source(path.name, f"extraction {path.parent.name}", path, _kind(path.name))
    for path in arguments.lifted:
        yield Source(path.name, "extraction until highest", path, "lift", until_highest=True)


def _kind(name: str) -> Kind | None:
    return _KINDS.get(name.rsplit("-", 1)[-1])


def run(source: Source, config: RefineConfig, out: Path) -> dict[str, Any]:
    """One row, and the demonstration as a dataset; a clip of which none can be made says why."""
    row: dict[str, Any] = {"clip": source.name, "source": source.origin, "given": source.given}
    row |= {"task": source.kind or "", "failed": "", "gates": source.gates}
    begin, begin_cpu = time.monotonic(), time.process_time()
    try:
        interaction = source.load()
        kind = source.kind or find_goal(interaction).kind
        env_id = ENVIRONMENTS[kind]
        # a bottle may stand as it does in the video: then nothing of its path has to be bent for its heading
        options = closest_options(interaction, env_id, {"start_yaw_rad": math.pi} if kind == "place" else {})
        placed = place_and_retarget(interaction, env_id, options)
        result = refine_interaction(placed, env_id, options, config)
    except DexVidError as error:
        return row | {"failed": str(error), "success": False}
    facts = extraction_facts(source.path, interaction) | dict(result.demonstration.provenance)
    write_dataset(out, [dataclasses.replace(result.demonstration, provenance=facts)])
    seconds, cpu_seconds = time.monotonic() - begin, time.process_time() - begin_cpu
    search = result.refinement
    return row | {
        "task": kind,
        "object": str(options.get("bottle") or (options.get("objects") or ("drawer",))[0]),
        "hold": search.hold,
        "success": search.succeeded,
        "open_loop_success": result.open_loop.success,
        "tracking_mm": round(1e3 * search.tracking_error_m, 1),
        "video_path_mm": _video_path_mm(interaction, result.demonstration),
        "end_mm": round(1e3 * search.end_error_m, 1),
        "grip_n": round(search.grip_force_n, 1),
        "grip_over_weight": None if math.isnan(search.grip_over_weight) else round(search.grip_over_weight, 1),
        "robustness": round(search.robustness, 3),
        "moved_copies": round(search.acceptance, 3),
        "seconds": round(seconds, 1),
        "two_core_seconds": round(cpu_seconds / 2, 1),
        "cpu_seconds": round(cpu_seconds, 1),
    }


def completed(row: dict[str, Any], source: Source, dataset: Path) -> dict[str, Any]:
    """A row of an earlier commit with the columns that it lacks, by its source and the demonstration that was kept."""
    gates = row["gates"] if source.origin.startswith("extraction") else source.gates
    full = {"clip": row["clip"], "source": row["source"], "given": source.given} | row | {"gates": gates}
    if row["failed"] or "video_path_mm" in row:
        return full
    try:
        distance_mm = _video_path_mm(source.load(), read_dataset(dataset)[0])
    except DexVidError:  # one of both is not there any more
        distance_mm = None
    columns = list(full.items())
    after = list(full).index("tracking_mm") + 1
    full = dict([*columns[:after], ("video_path_mm", distance_mm), *columns[after:]])
    return full | {"cpu_seconds": round(2 * row["two_core_seconds"], 1)}


def _video_path_mm(interaction: Interaction, demonstration: Demonstration) -> float | None:
    try:
        return round(1e3 * video_path_distance(interaction, demonstration), 1)
    except DexVidError:
        return None


def good(row: dict[str, Any]) -> bool:
    """A successful demonstration that keeps to the placed path."""
    return bool(row["success"]) and row["tracking_mm"] <= TRACKING_MM


def checks(rows: list[dict[str, Any]]) -> list[Check]:
    """For each task and kind of input the share of what had no gate to pass, or passed, that became good demonstrations."""
    counted = [row for row in rows if row["gates"] != "not passed"]
    made = []
    for kind, given in dict.fromkeys((row["task"], row["given"]) for row in counted):
        alike = [row for row in counted if (row["task"], row["given"]) == (kind, given)]
        share = sum(map(good, alike)) / len(alike)
        what = f"{kind or 'no task'}, {_IN_WORDS.get(given, f'extraction given {given}')}"
        name = f"{what}: successful within {TRACKING_MM:.0f} mm of the placed path, of {len(alike)} clips"
        made.append(Check(name, share, SHARE, "higher"))
    longest = max((min(row["seconds"], row["cpu_seconds"]) for row in rows if "cpu_seconds" in row), default=0.0)
    made.append(Check("longest clip, seconds that two free cores need at most", longest, SECONDS, "lower"))
    return made


def main() -> int:
    """Runs what is missing and writes the result."""
    arguments = tyro.cli(RefinementArguments)
    config = dataclasses.replace(QUICK if arguments.quick else RefineConfig(), seed=arguments.seed)
    arguments.runs.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    path = arguments.runs / "refinement.json" if arguments.quick else RESULTS / "refinement.json"
    for source in sources(arguments):
        stored = arguments.runs / f"{source.name} {source.origin} {'quick' if arguments.quick else arguments.seed}.json"
        if not stored.is_file():
            row = run(source, config, stored.with_suffix(""))
            with atomic_path(stored) as temporary:
                temporary.write_text(json.dumps(row))
        rows.append(completed(json.loads(stored.read_text()), source, stored.with_suffix("")))
        print(rows[-1], file=sys.stderr, flush=True)
        write_result(path, "refinement", {"refine": dataclasses.asdict(config)}, rows, checks(rows))
    print(path.with_suffix(".md").read_text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
