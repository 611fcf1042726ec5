"""Charts of reports: their axes, and places seen from above."""

from __future__ import annotations

import re

import numpy as np

from baselines.reports.charts import Line, line_chart
from baselines.reports.table_charts import Places, place_map


def test_charts_of_constants_have_numbers_that_differ() -> None:
    for value in (0.0, 0.05, -3.0, 1e-12, 1e6):
        chart = line_chart("constant", [Line("", [0, 1, 2], [value] * 3, 0)], "x")
        labels = re.findall(r'text-anchor="end">([^<]+)<', chart)
        assert len(set(labels)) == len(labels) >= 2, value


def test_map_of_places() -> None:
    xy = np.array([[0.4, 0.2], [0.5, -0.2], [np.nan, 0.0], [1e300, 0.0]])
    chart = place_map("places", [Places("starts", xy, 0), Places("none", np.zeros((0, 2)), 2)])
    (path,) = re.findall(r'<path class="s0" style="stroke-width:6;opacity:0.6" d="([^"]*)"', chart)
    dots = np.array([[float(number) for number in dot.split()] for dot in re.findall(r"M([\d. ]+)h0", path)])
    assert len(dots) == 2
    assert dots[0, 0] < dots[1, 0]  # y to the left
    assert dots[0, 1] > dots[1, 1]  # x away from the robot, up
    many = place_map("many", [Places("all", np.random.default_rng(0).uniform(0, 1, (50_000, 2)), 0)])
    assert len(many) < 80_000
    assert "nan" not in place_map("nothing", [Places("none", np.zeros((0, 2)), 0)])
