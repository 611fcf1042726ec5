"""What goes into `Demonstration.provenance`: the source's hash, each stage's config and quality, model hash and versions.

    source_sha256                  of the video (or other source) behind it
    extract, retarget, refine      {"config": ..., "quality": ...} of each stage; its figures may also stand among its settings
    plan                           of refined ones: the whole config of the plan, and when it lifts, places and lets go
    multiply, copy, parent         of copies: the settings, which draw it is, and the provenance of what was copied
    disturbed, parent              of disturbed repetitions: which it is, how far turned, and the provenance of the original
    model_sha256, versions         of the simulation that played it
    recorded_before                of what was recorded anew: model and versions of before; `refine` names in `measured_on` the
                                   model of its figures, the distance from the video's path among them

The tier, the frame behind each step and the full states are fields of the demonstration itself. `missing_provenance` says what
is not there.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import platform
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path, PurePath
from typing import Any

import mujoco
import numpy as np

from demos.demonstration import Demonstration
from demos.interaction import Interaction
from dexvid_envs.errors import DexVidError

_PACKAGES = ("mujoco", "numpy", "gymnasium", "dexvid-envs")
_VERSIONED = (*_PACKAGES, "python", "machine")  # the names in `versions()`, which reads each package's metadata
_SHA256 = re.compile("[0-9a-f]{64}")
#: Figures by which a stage that keeps them among its settings says how well it went.
_FLAT_FIGURES: Mapping[str, str] = {"retarget": "mean_fingertip_error_m", "refine": "acceptance"}
#: Ways in which demonstrations are made, and what each is.
GENERATIONS: Mapping[str, str] = {
    "corrections": "go on from where a cloned policy had got to (dexvid correct)",
    "disturbed": "another one's motion turned and disturbed, with the way back as what is learned (--variants)",
    "copies": "another one carried to a new start and goal, and played in physics (dexvid multiply)",
    "recorded": "episodes of a policy (dexvid record)",
    "kinematic": "a video's motion, with the object put on its path (dexvid kinematic)",
    "refined": "of a video, by the search in physics (dexvid refine); of a lower tier before that search, or where it failed",
    "others": "made in another way, or their provenance does not say",
}
#: Entries that only these have, the later stages first.
_MARKS: Mapping[str, tuple[str, ...]] = {
    "corrections": ("correction", "correct"),
    "disturbed": ("disturbed", "variant"),
    "copies": ("copy", "multiply"),
    "recorded": ("recorded",),
    "kinematic": ("kinematic",),
    "refined": ("refine",),
}
#: All that was once kept of a plan: demonstrations of then are complete with it.
_FORMER_PLAN = frozenset({"approach_steps", "return_steps", "rest_steps"})


def model_hash(model: mujoco.MjModel) -> str:
    """SHA-256 (hex) of the compiled model's binary; equal for equal scenes compiled by the same MuJoCo version.

    Tasks that change the model per episode are hashed before their first reset.
    """
    buffer = np.zeros(mujoco.mj_sizeModel(model), dtype=np.uint8)
    mujoco.mj_saveModel(model, None, buffer)
    return hashlib.sha256(buffer.data).hexdigest()


def versions() -> dict[str, str]:
    """Versions on which a simulation's last bits depend: packages, Python and the machine's kind."""
    found = {name: version(name) for name in _PACKAGES}
    return found | {"python": platform.python_version(), "machine": f"{platform.system()}-{platform.machine()}"}


def build_differences(provenance: Mapping[str, Any], model_sha256: str) -> list[str] | None:
    """What of a recording's build differs from this one, in words; None where the provenance does not name its build.

    Args:
        provenance: of the recording.
        model_sha256: of the same scene compiled here.
    """
    stored, here = provenance.get("versions"), versions()
    if not isinstance(stored, Mapping) or "model_sha256" not in provenance:
        return None
    differences = [
        f"{name} {stored.get(name, 'unknown')} (here {here.get(name, 'none')})"
        for name in sorted({*stored, *here})
        if stored.get(name) != here.get(name)
    ]
    if provenance["model_sha256"] != model_sha256:
        differences.append(f"model {str(provenance['model_sha256'])[:8]} (here {model_sha256[:8]})")
    return differences


def extraction_facts(source: Path, interaction: Interaction) -> dict[str, Any]:
    """Source hash and the extraction's entry, for the provenance of what is made from it.

    Args:
        source: the extraction's folder or file; its `quality.json` is taken over where there is one.
        interaction: what was read from it.
    """
    config: Any = {"read_from": source.name}
    quality: dict[str, Any] = {
        "frames": interaction.num_frames,
        "hand_known_share": float(np.isfinite(interaction.hand_keypoints_world).all(axis=(1, 2)).mean()),
        "hand_confidence_mean": float(interaction.hand_confidence.mean()),
        "object_pose_known_share": float(np.isfinite(interaction.object_pose_world).all(axis=(1, 2)).mean()),
        "contact_share": float(interaction.contact.mean()),
        "flagged_share": float(interaction.flagged.mean()),
    }
    folder = source if source.is_dir() else source.parent
    for name in ("quality.json", "config.json"):  # the latter describes a synthetic recording
        try:
            found = json.loads((folder / name).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            continue
        if isinstance(found, dict):
            config = found.pop("config", config) if name == "quality.json" else found
            quality |= {key: value for key, value in found.items() if name == "quality.json" and key != "timings_s"}
            break
    return {"source_sha256": interaction.source_sha256, "extract": {"config": config, "quality": quality}}


def missing_provenance(demonstration: Demonstration) -> list[str]:
    """What the provenance of a demonstration from a video lacks, a line each; empty where it is complete."""
    generations = list(_generations(demonstration.provenance))
    newest, oldest = generations[0], generations[-1]
    missing = []
    if not _SHA256.fullmatch(str(oldest.get("source_sha256", ""))):
        missing.append("source_sha256: the hash of the source video")
    if not (demonstration.source_frame >= 0).any():
        missing.append("source_frame: the video frame behind the steps, no step has one")
    if not _SHA256.fullmatch(str(newest.get("model_sha256", ""))):
        missing.append("model_sha256: the hash of the compiled model")
    stored = newest.get("versions")
    lacking = [name for name in _VERSIONED if not (isinstance(stored, Mapping) and stored.get(name))]
    if lacking:
        missing.append(f"versions: of {', '.join(lacking)}")
    stages = ("extract", "retarget", "refine") if demonstration.tier == "successful" else ("extract", "retarget")
    for stage in stages:
        missing += _missing_of_stage(stage, oldest.get(stage))
    if "refine" in stages or oldest.get("refine"):
        missing += _missing_of_plan(oldest.get("plan"))
    for generation in generations[:-1]:
        if generation.get("correct"):
            if not generation.get("correction"):
                missing.append("correction: from where in which demonstration it goes on")
            continue
        if generation.get("disturbed"):
            continue
        if not generation.get("multiply"):
            missing.append("multiply: config of the multiplication")
        if not generation.get("copy"):
            missing.append("copy: which draw of the multiplication it is")
    return missing


def first_provenance(provenance: Mapping[str, Any]) -> Mapping[str, Any]:
    """Provenance of the demonstration made from a video from which one was copied, corrected or disturbed; else its own."""
    return list(_generations(provenance))[-1]


def generation(demonstration: Demonstration) -> str:
    """How the demonstration itself was made: a key of `GENERATIONS`. What was recorded anew stays what it was."""
    facts = demonstration.provenance
    for kind, marks in _MARKS.items():
        if any(facts.get(mark) for mark in marks):
            return kind
    return "others"


def side_taken(provenance: Mapping[str, Any]) -> int | None:
    """From which side a copy takes its object (see `demos.multiply`), or a correction of one; None where there is no copy."""
    sides = [one["copy"].get("side") for one in _generations(provenance) if isinstance(one.get("copy"), Mapping)]
    return sides[0] if sides else None


def _generations(provenance: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The provenance itself, then that of what it was copied from, and so on."""
    yield provenance
    while isinstance(parent := provenance.get("parent"), Mapping):
        provenance = parent
        yield provenance


def _missing_of_stage(stage: str, entry: Any) -> list[str]:
    if not (isinstance(entry, Mapping) and entry):
        return [f"{stage}: config and quality of that stage"]
    missing = []
    if "quality" in entry and not entry.get("config"):
        missing.append(f"{stage}: config of that stage")
    if not entry.get("quality") and _FLAT_FIGURES.get(stage) not in entry:
        missing.append(f"{stage}: quality of that stage")
    return missing


def _missing_of_plan(entry: Any) -> list[str]:
    if isinstance(entry, Mapping) and (entry.get("config") or entry.keys() == _FORMER_PLAN):
        return []
    return ["plan: config of the plan that was refined"]


def recorded_again(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Provenance for a demonstration's actions played anew, without the model and versions of before.

    `recorded_before` names those, and what was recorded before that. What the refinement measured is not measured again: its
    entry takes in the distance from the video's path and names the model that all of its figures are of.
    """
    own = ("model_sha256", "versions", "recorded_before")
    facts = {name: value for name, value in provenance.items() if name not in own}
    first = provenance
    while isinstance(before := first.get("recorded_before"), Mapping):
        first = before
    if isinstance(refine := facts.get("refine"), Mapping):
        figure = {"tracking_error_m": facts.pop("tracking_error_m")} if "tracking_error_m" in facts else {}
        facts["refine"] = {"measured_on": first.get("model_sha256")} | dict(refine) | figure
    return facts | {"recorded_before": {name: provenance[name] for name in own if name in provenance}}


def to_json(value: Any) -> Any:
    """JSON values of a config: dataclasses and mappings become objects, sequences and arrays lists, paths text.

    Raises:
        DexVidError: a part has no JSON form.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(name): to_json(part) for name, part in value.items()}
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "biufU":
        return value.tolist()
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, Sequence | set | frozenset) and not isinstance(value, bytes):
        return [to_json(part) for part in (sorted(value) if isinstance(value, set | frozenset) else value)]
    raise DexVidError(
        f"{value!r} of type {type(value).__name__} has no JSON form: expected dataclasses, arrays and plain values"
    )
