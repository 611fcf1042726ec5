"""An extraction that another program made: read by an importer, judged and written as our own are."""

from __future__ import annotations

from typing import Any

import numpy as np

from demos.extract.config import ExtractConfig
from demos.extract.extraction import Extraction, settings_of, write_files
from demos.extract.gates import check_gates
from demos.extract.quality import goal_quality, result_quality, scene_quality
from demos.extract.stage import write_stage_video
from demos.importers import find_importer
from dexvid_envs.files import atomic_folder, write_alone


def import_extraction(config: ExtractConfig, name: str) -> Extraction:
    """Writes the folder `config.out` from another extractor's output, with the figures that can be known of it.

    Args:
        config: `video` is the file or folder of the other extractor.
        name: of the importer.

    Raises:
        InputFileError: the output cannot be read.
        OptionError: there is no such importer.
    """
    interaction = find_importer(name)(config.video)
    quality: dict[str, Any] = {
        "source": {"importer": name, "sha256": interaction.source_sha256},
        "hand": {
            "side": interaction.hand_side,
            "confidence_mean": float(interaction.hand_confidence.mean()),
        },
        "object": {
            "found": bool(interaction.object_visible.any()),
            "object": interaction.object_names[0] if interaction.object_names else "not found",
            "points": interaction.object_points_world.shape[1],
            "tracked_fraction": float((interaction.object_visible.sum(axis=1) >= 4).mean()),
            "rigid_fraction": float(np.isfinite(interaction.object_pose_world[:, 0, 0]).mean()),
        },
        "scene": scene_quality(interaction, {}),
        "goal": goal_quality(interaction),
        "result": result_quality(interaction),
        "warnings": ["Imported: camera, scale and accuracy are those of the other extractor."],
        "config": settings_of(config),
    }
    quality["gates"] = check_gates(quality, None, None, None, interaction)
    with write_alone(config.out), atomic_folder(config.out) as folder:
        write_stage_video(folder / "overlay.mp4", interaction)
        write_files(folder, interaction, quality, config.report)
    return Extraction(interaction, quality)
