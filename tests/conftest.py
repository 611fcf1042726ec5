"""For all tests: no time limits for examples; made-up films, and the detector that reads the hand painted in them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from made_up_film import Film, MarkedHands

from demos.extract.config import ExtractConfig
from demos.extract.pipeline import extract

settings.register_profile("untimed", deadline=None)  # first calls compile, and machines are shared
settings.load_profile("untimed")


@pytest.fixture
def marked(monkeypatch: pytest.MonkeyPatch) -> type[MarkedHands]:
    """The detector of the made-up films in the place of MediaPipe."""
    monkeypatch.setattr("demos.extract.sight.MediaPipeHands", MarkedHands)
    MarkedHands.asked = 0
    return MarkedHands


@pytest.fixture(scope="session")
def films(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Gives the video of a film; each is made once."""
    folder, made = tmp_path_factory.mktemp("films"), {}

    def give(**what: Any) -> Path:
        film = Film(**what)
        if film not in made:
            made[film] = film.write(folder / f"film_{len(made)}.mp4")
        return made[film]

    return give


@pytest.fixture(scope="session")
def unbroken(films: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Output of an extraction that nobody disturbed."""
    out = tmp_path_factory.mktemp("unbroken") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("demos.extract.sight.MediaPipeHands", MarkedHands)
        extract(ExtractConfig(films(), out, overlay=False, report=False))
    return out
