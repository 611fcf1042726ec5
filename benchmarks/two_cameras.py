"""Hand and object seen by two cameras: is the transform between them recovered, and are bad hand frames noticed?

    python -m benchmarks.two_cameras --source FOLDER

FOLDER is a recording in DexMV's layout. The transform is fitted on odd frames and scored on even ones: while the bottle is
carried, the fingertips have to keep their place in its frame. The published transform of the recordings is a row beside it.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from scipy.spatial.transform import Rotation

from benchmarks.result import RESULTS, Check, write_result
from demos.importers import cleaning, mesh_files
from demos.importers.camera_alignment import align_cameras, frames_that_move_as_one, tips_on_object
from demos.importers.dexmv_recording import PUBLISHED_CAMERA_TRANSFORM, DexmvConfig, read_recording
from demos.interaction import FloatArray

MAX_SD_MM = 6.0
MIN_FRAMES = 18


@dataclasses.dataclass(frozen=True)
class TwoCameras:
    """Arguments of the benchmark.

    Attributes:
        source: a recording in DexMV's layout.
        out: file for the result (.json); by default the published one.
    """

    source: Path
    out: Path = RESULTS / "two_cameras.json"


def main(arguments: TwoCameras) -> list[dict[str, Any]]:
    """Writes the result; returns its rows."""
    identity = tuple(tuple(row) for row in np.eye(4).tolist())
    raw = read_recording(arguments.source, DexmvConfig(T_objectcamera_handcamera=identity))  # each in its own camera
    rests = cleaning.find_rests(raw.pose[:, :3, 3])
    carried = np.zeros(len(raw.hand), bool)
    carried[rests.lift : rests.place] = True
    one = frames_that_move_as_one(raw.hand, raw.pose, carried)
    odd = raw.frame_index % 2 == 1
    surface = mesh_files.sample_surface(raw.mesh, 5000, 0)
    hand, pose = _calm(raw.hand), _calm_poses(raw.pose)
    found = align_cameras(hand, pose, one & odd, surface).T_objectcamera_handcamera
    published = np.array(PUBLISHED_CAMERA_TRANSFORM)
    turn = Rotation.from_matrix(found[:3, :3] @ Rotation.from_matrix(published[:3, :3]).as_matrix().T)
    at_hand = hand[one].mean(axis=(0, 1))
    shift = (found[:3, :3] - published[:3, :3]) @ at_hand + found[:3, 3] - published[:3, 3]
    rows = []
    for name, T in (("recovered", found), ("published", published)):
        for track, (h, p) in (("as recorded", (raw.hand, raw.pose)), ("smoothed over three frames", (hand, pose))):
            sd_mm = 1e3 * tips_on_object(h, p, T)[one & ~odd].std(axis=0)
            rows.append(
                {
                    "transform": name,
                    "tracks": track,
                    "frames": int(one.sum()),
                    "scored": int((one & ~odd).sum()),
                    **{f"sd_{axis}_mm": round(float(sd_mm[:, i].mean()), 2) for i, axis in enumerate("xyz")},
                    "sd_worst_fingertip_mm": round(float(sd_mm.max()), 2),
                }
            )
    checks = [
        Check("carried frames that are not flagged", int(one.sum()), MIN_FRAMES, "higher"),
        *(
            Check(
                f"fingertips on the bottle, SD along {axis} (even frames, smoothed), mm",
                rows[1][f"sd_{axis}_mm"],
                MAX_SD_MM,
                "lower",
            )
            for axis in "xyz"
        ),
    ]
    config = {
        "source": arguments.source.name,
        "carried": [int(raw.frame_index[rests.lift]), int(raw.frame_index[rests.place - 1])],
        "flagged": raw.frame_index[carried & ~one].tolist(),
        "turn_from_published_deg": round(float(np.degrees(turn.magnitude())), 2),
        "shift_from_published_at_hand_mm": [round(1e3 * float(value), 1) for value in shift],
    }
    write_result(arguments.out, "two_cameras", config, rows, checks)
    for row in rows:
        print(row)
    print(config)
    return rows


def _calm(values: FloatArray) -> FloatArray:
    """(T, ...) weighted mean over three frames."""
    calm = values.copy()
    calm[1:-1] = 0.25 * values[:-2] + 0.5 * values[1:-1] + 0.25 * values[2:]
    return calm


def _calm_poses(poses: FloatArray) -> FloatArray:
    calm = _calm(poses)
    calm[:, :3, :3] = Rotation.from_matrix(calm[:, :3, :3]).as_matrix()
    return calm


if __name__ == "__main__":
    main(tyro.cli(TwoCameras))
