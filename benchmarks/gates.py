"""What the quality gates are worth: how often a bad extraction passes them, and a good one is refused.

    python -m benchmarks.gates [--corpus DIR] [--clips N] [--faults NAME ...] [--work DIR] [--quick]

Faults of recordings are put into clips of the synthetic evaluation corpus; whether the extraction is bad is decided by its true
error alone, so that a fault which does no harm should pass. An extraction is refused where a gate fails or none comes out.
"""

from __future__ import annotations

import collections
import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from numpy.typing import NDArray

from benchmarks.gate_faults import FAULTS, make_faulty
from benchmarks.reconstruction_score import Score, score
from benchmarks.reconstruction_truth import Clip
from benchmarks.reconstruction_variants import VARIANTS, Run, Telling, run_variant
from benchmarks.result import RESULTS, Check, write_result
from demos.synthetic.corpus import Pictures, clip_folders, make_corpus
from dexvid_envs.errors import OptionError
from dexvid_envs.progress import progress_bar

_VARIANT = VARIANTS["rgb_known_length"]
#: An extraction is good where the median error over the frames that it does not itself call doubtful is at most this, ...
TARGETS_MM: dict[str, float] = {"fingertips_mm": 30.0, "points_mm": 25.0}
#: ... and nine of ten of these frames are within this multiple of it.
_WORST_MULTIPLE, _WORST_SHARE = 2.0, 0.9
#: Set here: the gates are of use if few bad ones pass, and not too many good ones are lost.
_BAD_PASSED, _GOOD_REFUSED = 0.1, 0.2


@dataclasses.dataclass(frozen=True)
class GatesBenchmark:
    """Arguments of the benchmark.

    Attributes:
        corpus: folder of the clips; those of the evaluation corpus are made there where they are missing.
        as_is: take the clips that are in the folder and make none.
        clips: how many.
        faults: which, see `benchmarks.gate_faults`.
        pictures: size and rate of clips that are made.
        work: folder in which videos and extractions are kept.
        out: result file; with --quick or --as-is it is in the work folder and replaces no published result.
        quick: two small clips and three faults.
    """

    corpus: Path = Path("synthetic_evaluation")
    as_is: bool = False
    clips: int = 8
    faults: tuple[str, ...] = tuple(FAULTS)
    pictures: Annotated[Pictures, tyro.conf.arg(name="")] = dataclasses.field(default_factory=lambda: Pictures(fps=15.0))
    work: Path = Path("runs/gates")
    out: Path | None = None
    quick: bool = False


@dataclasses.dataclass(frozen=True)
class Verdict:
    """One faulty clip.

    Attributes:
        fault: its name.
        clip: its name.
        bad: the true error is beyond the targets.
        failed_gates: names of the gates that failed; "no result" where the extraction gave up.
        named_share: share of the faulty frames that failed gates name or the result flags; NaN where no frame is faulty.
        figures: what the verdict rests on.
    """

    fault: str
    clip: str
    bad: bool
    failed_gates: tuple[str, ...]
    named_share: float
    figures: dict[str, float]

    @property
    def refused(self) -> bool:
        """Whether it does not pass."""
        return bool(self.failed_gates)


def main(arguments: GatesBenchmark) -> dict[str, Any]:
    """Makes faulty clips, extracts and judges them, and writes the table."""
    unknown = [name for name in arguments.faults if name not in FAULTS]
    if unknown or arguments.clips < 2:
        raise OptionError(f"expected faults out of {', '.join(FAULTS)} and at least 2 clips, got {unknown}, {arguments.clips}")
    faults = ("clean", "frozen", "dark") if arguments.quick else arguments.faults
    folders = _clips(arguments)
    verdicts: list[Verdict] = []
    with progress_bar("gates") as report:
        for number, folder in enumerate(folders):
            clip, other = Clip.load(folder), Clip.load(folders[(number + 1) % len(folders)])
            for index, fault in enumerate(faults):
                report((number + index / len(faults)) / len(folders), f"{folder.name}, {fault}")
                verdicts.append(judge(fault, clip, other, arguments.work))
    rows, checks = tables(verdicts)
    unpublished = arguments.quick or arguments.as_is
    out = arguments.out or (arguments.work if unpublished else RESULTS) / "gates.json"
    config = {
        "clips": [folder.name for folder in folders],
        "faults": list(faults),
        "good": f"median within {TARGETS_MM}, {_WORST_SHARE:.0%} of the frames within {_WORST_MULTIPLE:g} times that",
        "verdicts": [_verdict_row(verdict) for verdict in verdicts],
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    write_result(out, "gates", config, rows, checks)
    print(out.with_suffix(".md").read_text())
    return {"rows": rows, "checks": [check.to_json() for check in checks]}


def _clips(arguments: GatesBenchmark) -> list[Path]:
    if arguments.as_is:
        return clip_folders(arguments.corpus)[: arguments.clips]
    count, pictures = (2, Pictures(320, 240, fps=12.0)) if arguments.quick else (arguments.clips, arguments.pictures)
    with progress_bar("clips") as report:
        return list(make_corpus("evaluation", count, arguments.corpus, pictures=pictures, report=report).folders)


def judge(fault: str, clip: Clip, other: Clip, work: Path) -> Verdict:
    """Extracts the clip with a fault and compares the gates' word with the truth."""
    faulty = make_faulty(fault, clip, other, work / "videos")
    run = run_variant(_VARIANT, clip, work, Telling(focal_factor=faulty.focal_factor), faulty.video, share_stages=False)
    if run.interaction is None:
        return Verdict(fault, clip.folder.name, True, ("no result",), math.nan, {})
    found = score(run.interaction, clip, shown=faulty.shown)
    bad, figures = is_bad(found, run.interaction.flagged)
    failed = [gate for gate in run.quality.get("gates", []) if not gate["ok"]]
    return Verdict(
        fault, clip.folder.name, bad, tuple(gate["name"] for gate in failed), named_share(failed, run, faulty.frames), figures
    )


def is_bad(found: Score, flagged: NDArray[np.bool_]) -> tuple[bool, dict[str, float]]:
    """Whether the frames that are not flagged (T,) miss the targets; and their median and ninth decile, mm."""
    figures: dict[str, float] = {}
    bad = False
    for name, target in TARGETS_MM.items():
        bad |= not found.figures[name] <= target  # over all frames: what is missing or flagged throughout is no good either
        errors = found.curves[name][~flagged]
        errors = errors[np.isfinite(errors)]
        median, worst = (float(np.quantile(errors, q)) if len(errors) else math.inf for q in (0.5, _WORST_SHARE))
        bad |= median > target or worst > _WORST_MULTIPLE * target
        figures |= {name: median, f"{name}_worst": worst}
    return bad, figures


def named_share(failed: Sequence[dict[str, Any]], run: Run, frames: NDArray[np.bool_]) -> float:
    """Share of the faulty frames (T,) that failed gates name or that the result flags."""
    if not frames.any() or run.interaction is None:
        return math.nan
    named = np.zeros(len(frames), bool)
    flagged = run.interaction.frame_index[run.interaction.flagged]
    named[flagged[flagged < len(named)]] = True
    for gate in failed:
        for entry in gate.get("frames") or []:
            first, last = (entry[0], entry[-1]) if isinstance(entry, list) else (entry, entry)
            named[max(int(first), 0) : int(last) + 1] = True
    return float(named[frames].mean())


def tables(verdicts: Sequence[Verdict]) -> tuple[list[dict[str, Any]], list[Check]]:
    """A row for each fault and one for all; checks of the two ways to be wrong."""
    faults = list(dict.fromkeys(verdict.fault for verdict in verdicts))
    rows = [_row(fault, [verdict for verdict in verdicts if verdict.fault == fault]) for fault in faults]
    rows.append(_row("all", verdicts))
    bad, good = ([verdict for verdict in verdicts if verdict.bad == which] for which in (True, False))
    passed = sum(not verdict.refused for verdict in bad) / len(bad) if bad else 0.0
    refused = sum(verdict.refused for verdict in good) / len(good) if good else math.nan
    return rows, [
        Check("share of the bad extractions that pass", passed, _BAD_PASSED, "lower"),
        Check("share of the good extractions that are refused", refused, _GOOD_REFUSED, "lower"),
    ]


def _row(fault: str, verdicts: Sequence[Verdict]) -> dict[str, Any]:
    bad, good = ([verdict for verdict in verdicts if verdict.bad == which] for which in (True, False))
    named = [verdict.named_share for verdict in verdicts if not math.isnan(verdict.named_share)]
    gates = collections.Counter(gate for verdict in verdicts for gate in verdict.failed_gates)
    return {
        "fault": fault,
        "clips": len(verdicts),
        "bad": len(bad),
        "bad and passed": sum(not verdict.refused for verdict in bad),
        "good": len(good),
        "good and refused": sum(verdict.refused for verdict in good),
        "faulty frames named": f"{np.mean(named):.0%}" if named else "",
        "gates that failed": ", ".join(f"{gate} {count}" for gate, count in gates.most_common()),
    }


def _verdict_row(verdict: Verdict) -> dict[str, Any]:
    figures = {name: round(value, 1) if math.isfinite(value) else "none" for name, value in verdict.figures.items()}
    return {"fault": verdict.fault, "clip": verdict.clip, "bad": verdict.bad, "failed": list(verdict.failed_gates), **figures}


if __name__ == "__main__":
    main(tyro.cli(GatesBenchmark, description=__doc__))
