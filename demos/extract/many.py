"""The extraction of many videos as jobs, each with a folder of its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from demos.extract.config import ExtractConfig
from demos.scale.command import refuse_options
from demos.scale.job import Job
from demos.video_folder import find_videos, known_files, name_videos, read_click

EXTRACT_JOB = "demos.extract.many:extract_job"
_OF_ONE_VIDEO = ("masks", "depth", "keep_work")


def find_sources(config: ExtractConfig, more: Sequence[Path] = ()) -> dict[str, Path] | None:
    """What is to be extracted, by name, where it is several: `config.video` and more, or the videos in that folder; else None.

    Raises:
        OptionError: the folder has no videos, or an option is given that fits one video only.
    """
    recording = config.importer is not None or not config.video.is_dir() or (config.video / "depth").is_dir()
    if recording and not more:
        return None
    refuse_options(config, _OF_ONE_VIDEO)
    folders = [path for path in (config.video, *more) if config.importer is None and _holds_videos(path)]
    single = [path for path in (config.video, *more) if path not in folders]
    found = [video for folder in folders for video in find_videos(folder).values()]
    return name_videos([*single, *found])


def _holds_videos(path: Path) -> bool:
    return path.is_dir() and not (path / "depth").is_dir()


def extract_jobs(sources: Mapping[str, Path], config: ExtractConfig) -> list[Job]:
    """A job for each source, with the options of `config`; files beside a video say what no option says.

    Raises:
        OptionError: an option does not fit.
    """
    config.validate()
    given = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    for name in ("video", "out", "keep_work"):
        del given[name]
    files = {name: value for name, value in given.items() if isinstance(value, Path)}
    settings = {name: value for name, value in given.items() if name not in files and value is not None}
    jobs = []
    for name, source in sources.items():
        known = known_files(source)
        if {"object_point", "object_box"} & set(settings):
            known.pop("object_point", None)
        jobs.append(Job(name, EXTRACT_JOB, {"video": source, **known, **files}, settings))
    return jobs


def extract_job(out: Path, inputs: Mapping[str, Path], **settings: Any) -> dict[str, Any]:
    """One extraction; tells whether all gates were passed, and which were not.

    Raises:
        DexVidError: as `extract` does.
    """
    from demos.extract.pipeline import extract

    options = {**settings, **inputs}
    if "object_point" in inputs:
        options["object_point"] = read_click(inputs["object_point"])
    failed = [gate["name"] for gate in extract(ExtractConfig(out=out, **options)).failed_gates]
    return {"all_gates_passed": not failed, "failed_gates": failed}
