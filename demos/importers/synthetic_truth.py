"""Reads a clip of `dexvid synthesize` as an extraction without any error would: its exact truth in place of what is seen.

CLIP/video.mp4     the film; its hash names the source
CLIP/truth.npz     `demos.synthetic.truth.ClipTruth`
CLIP/clip.json     what the clip was made from
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from demos.interaction import Interaction
from demos.synthetic.exact import true_interaction
from demos.synthetic.truth import ClipTruth
from dexvid_envs.errors import InputFileError
from dexvid_envs.files import sha256_of_files

TRUTH_FILE, FILM_FILE = "truth.npz", "video.mp4"


def load_synthetic_truth(clip: Path) -> Interaction:
    """The interaction of a clip's folder, at the clip's rate.

    Raises:
        InputFileError: the truth or the film is missing, or the truth is damaged.
    """
    film = clip / FILM_FILE
    if not film.is_file():
        raise InputFileError(f"no {FILM_FILE} in {clip}; expected a clip's folder as dexvid synthesize writes it")
    truth = ClipTruth.load(clip / TRUTH_FILE)
    try:
        interaction = true_interaction(truth)
    except (ValueError, TypeError, LookupError, AttributeError) as error:  # of arrays of other shapes and kinds
        raise InputFileError(
            f"{clip / TRUTH_FILE} is damaged ({type(error).__name__}: {error}); make it again with dexvid synthesize"
        ) from error
    return dataclasses.replace(interaction, source_sha256=sha256_of_files([film]))
