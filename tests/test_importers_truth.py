"""A recording with exact truth in the camera frame, from which the importers' tests write files in each foreign layout."""

from __future__ import annotations

import numpy as np

from benchmarks.foreign_layouts import truth


def test_the_truth_projects_into_the_picture() -> None:
    seen = truth()
    assert seen.frames == 35
    assert (seen.points[..., 2] > 0.5).all()
    assert (np.abs(seen.pixels - [320, 180]) < [320, 180]).mean() > 0.95
