"""Makes the samples from which the extraction knows how a hand usually is when the detector answers so and so.

    python -m benchmarks.usual_postures [--corpus DIR] [--clips N] [--seed S] [--out FILE]

Clips of the training corpus are made where they are missing; no person, thing, camera or seed of the evaluation corpus is among
them. The hand is read about where it truly is, as the extraction reads it about where it was. At the end the samples of each
person are left out in turn: how far wrong their hands are turned and bent by the other people's samples.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import tyro
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from demos.extract.hand.detection import Region
from demos.extract.hand.mediapipe_hands import MediaPipeHands
from demos.extract.hand.usual import SAMPLES, Answers, describe, learn, target_of
from demos.interaction import HAND_BONES
from demos.synthetic.corpus import Pictures, make_corpus
from demos.synthetic.truth import ClipTruth
from dexvid_envs.errors import OptionError
from dexvid_envs.npz_file import write_npz
from dexvid_envs.progress import progress_bar

FloatArray = NDArray[np.float64]

_PALM = HAND_BONES.index((0, 9))  # wrist to the base of the middle finger
_MISPLACED = 0.06  # of the hand's extent in the picture, that a key point is misplaced by where the hand is first looked for


@dataclasses.dataclass(frozen=True)
class UsualPostures:
    """Arguments of the program.

    Attributes:
        corpus: folder of the training clips.
        clips: how many.
        seed: of the training corpus.
        every: of so many pictures one is taken.
        out: file of the samples.
    """

    corpus: Path = Path("synthetic_training")
    clips: int = 48
    seed: int = 900
    every: int = 4
    out: Path = SAMPLES


@dataclasses.dataclass(frozen=True)
class Samples:
    """What the detector answered, and what was true: N samples.

    Attributes:
        answers: as of a right hand.
        targets: (N, 31) what was true of the hand, see `demos.extract.hand.usual.target_of`.
    """

    answers: Answers
    targets: FloatArray


def main(arguments: UsualPostures) -> dict[str, float]:
    """Makes the file and tells how good it is."""
    pictures = Pictures(fps=15.0)
    with progress_bar("clips") as report:
        made = make_corpus("training", arguments.clips, arguments.corpus, arguments.seed, pictures=pictures, report=report)
    detector, rng = MediaPipeHands(0.3, mirrored=False), np.random.default_rng(arguments.seed)
    samples: list[Samples] = []
    person: list[str] = []
    try:
        with progress_bar("samples") as report:
            for number, folder in enumerate(made.folders):
                found = samples_of_clip(folder, detector, rng, arguments.every)
                samples.append(found)
                person += [str(json.loads((folder / "clip.json").read_text())["person"])] * len(found.targets)
                report((number + 1) / len(made.folders), folder.name)
    finally:
        detector.close()
    features = np.concatenate([one.answers.features for one in samples])
    targets = np.concatenate([one.targets for one in samples])
    write_npz(arguments.out, {"features": features.astype(np.float16), "targets": targets.astype(np.float16)})
    figures = left_out_errors(features, targets, np.array(person))
    print(json.dumps({"samples": len(features), "people": len(set(person)), **figures}, indent=2))
    return figures


def samples_of_clip(folder: Path, detector: MediaPipeHands, rng: np.random.Generator, every: int) -> Samples:
    """What the detector answers in some pictures of a training clip.

    Raises:
        OptionError: the clip is of another corpus.
    """
    truth = ClipTruth.load(folder / "truth.npz")
    if truth.corpus != "training":
        raise OptionError(f"{folder} is of the {truth.corpus} corpus, expected training clips; what is measured is not learnt")
    flip = np.array([-1.0, 1.0, 1.0]) if truth.hand_side == "left" else np.ones(3)
    R_camera_world, up = truth.T_world_camera[:3, :3].T, flip * truth.T_world_camera[2, :3]
    answers: list[Answers] = []
    targets: list[FloatArray] = []
    for frame, rgb in enumerate(imageio.imiter(folder / "video.mp4", plugin="FFMPEG")):
        if frame % every or not truth.hand_visible[frame].any():
            continue
        true_image = truth.hand_keypoints_image[frame]
        place = true_image + _MISPLACED * rng.normal(size=(21, 2)) * np.ptp(true_image, axis=0).max()
        found = detector.detect_in_region(np.asarray(rgb), Region.around(place))
        if found:  # where it was just found it is read again
            found = detector.detect_in_region(np.asarray(rgb), Region.around(found[0].image)) or found
        if not found:
            continue
        pixels, shape = found[0].image[None].copy(), found[0].shape[None] - found[0].shape[None, :1]
        other_side = np.array([found[0].side != truth.hand_side])
        shape = shape * flip * np.where(other_side, [1.0, 1.0, -1.0], 1.0)
        if truth.hand_side == "left":
            pixels[..., 0] = 2.0 * truth.K[0, 2] - pixels[..., 0]
        # a left hand's frame is the mirror image of a right one's
        rotation = flip[:, None] * (R_camera_world @ truth.T_world_hand[frame, :3, :3])
        rotation = rotation * [1.0, flip[0], 1.0]
        answer = describe(pixels, shape, other_side, truth.K, up)
        wrist_m, length_m = flip * truth.hand_keypoints_camera[frame, :1], float(truth.bone_lengths_m[_PALM])
        answers.append(answer)
        targets.append(target_of(answer, rotation[None], truth.joints_rad[frame][None], wrist_m, length_m))
    turns = np.concatenate([np.zeros((0, 3, 3)), *(one.R_view_camera for one in answers)])
    features = np.concatenate([np.zeros((0, 109)), *(one.features for one in answers)])
    spread = np.concatenate([np.zeros(0), *(one.spread for one in answers)])
    return Samples(Answers(turns, features, spread), np.concatenate([np.zeros((0, 31)), *targets]))


def left_out_errors(features: FloatArray, targets: FloatArray, person: NDArray[np.str_]) -> dict[str, float]:
    """Errors of hands of people who are left out: turn (median and mean, rad), angles and size (roots of the mean square)."""
    turns: list[FloatArray] = []
    bends: list[FloatArray] = []
    sizes: list[FloatArray] = []
    doubts: list[FloatArray] = []
    for one in sorted(set(person.tolist())):
        out = person == one
        if out.all():
            return {}
        guess = learn(features[~out], targets[~out]).guess(features[out])
        turns.append(Rotation.from_matrix(guess.rotation @ targets[out, :9].reshape(-1, 3, 3).swapaxes(-1, -2)).magnitude())
        bends.append(guess.angles - targets[out, 9:30])
        sizes.append(guess.log_size - targets[out, 30])
        doubts.append(guess.doubt)
    turn = np.concatenate(turns)
    return {
        "turn_median_rad": round(float(np.median(turn)), 3),
        "turn_mean_rad": round(float(turn.mean()), 3),
        "angles_rms_rad": round(float(np.sqrt((np.concatenate(bends) ** 2).mean())), 3),
        "size_rms": round(float(np.sqrt((np.concatenate(sizes) ** 2).mean())), 3),
        "doubt_median": round(float(np.median(np.concatenate(doubts))), 3),
    }


if __name__ == "__main__":
    main(tyro.cli(UsualPostures, description=__doc__))
