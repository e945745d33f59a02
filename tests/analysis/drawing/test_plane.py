"""Pictures of the plane: lines, images, and the sections of the report that draw them, from arrays made up."""

import base64
import io
import re
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.image import imread
from tests.analysis.conftest import synthetic
from tests.pages import section_of

from sharpscope.analysis.drawing.figures import files_of
from sharpscope.analysis.drawing.plane import Region, image
from sharpscope.analysis.report import contents_of, render
from sharpscope.analysis.results import Quantity
from sharpscope.analysis.section import SECTIONS, Evidence
from sharpscope.analysis.sections.along_training.data import StepAxis
from sharpscope.analysis.sections.along_training.data import panels_of as courses_of
from sharpscope.analysis.sections.decision_boundary.data import panels_of as boundaries_of
from sharpscope.analysis.sections.surfaces.data import ErrorScale
from sharpscope.analysis.sections.surfaces.data import panels_of as surfaces_of
from sharpscope.task import REGRESSION

SQUARE = Region(-1.0, 1.0, -1.0, 1.0)
X, Y = np.meshgrid(np.linspace(-1, 1, 101), np.linspace(-1, 1, 101))
RADIUS = np.hypot(X, Y)


def test_a_contour_lies_where_the_value_is():
    (line,) = SQUARE.contours(RADIUS, 0.5)
    assert np.hypot(*line.T) == pytest.approx(0.5, abs=1e-3)


def test_rows_are_from_below_and_drawings_from_above():
    region = Region(0.0, 4.0, 10.0, 12.0)
    assert region.height == 50
    corners = region.placed(np.array([[0.0, 12.0], [4.0, 10.0], [1.0, 11.0]]))
    np.testing.assert_allclose(corners, [[0, 0], [100, 50], [25, 25]])
    (line,) = region.contours(np.array([[0.0, 0.0], [1.0, 1.0]]), 0.25)
    assert line[:, 1].tolist() == [10.5, 10.5]
    colors = np.zeros((3, 2, 4))
    colors[0, 1] = (1, 0, 0, 1)
    decoded = imread(io.BytesIO(base64.b64decode(image(colors).removeprefix("data:image/png;base64,"))))
    assert decoded[2, 1].tolist() == [1, 0, 0, 1]
    assert decoded.sum() == 2
    assert image(colors) == image(colors)


def with_arrays(results, stage, of_run):
    arrays = {run: of_run(row) for run, row in results.ledger.set_index("run_id").iterrows()}

    def read(asked, snapshot):
        return ({run: found for run, found in arrays.items() if found}, {}) if asked == stage else ({}, {})

    return replace(results, read_arrays=read)


def circles(levels, seeds=3, radius=lambda row: row["data.factor"]):
    results = synthetic(seeds=seeds, regimes=("baseline",), data__factor=list(levels))
    results = replace(results, study={**results.study, "compare": {"factor": "data.factor"}})

    def of_run(row):
        inner = 1 / (1 + np.exp(20 * (RADIUS - radius(row))))
        return {
            "region": np.array(SQUARE.edges, dtype=np.float32),
            "class": (inner > 0.5).astype(np.int16),
            "confidence": np.round(255 * np.maximum(inner, 1 - inner)).astype(np.uint8),
            "points": np.array([[0.9, 0.0], [0.0, 0.1]], dtype=np.float32),
            "labels": np.array([0, 1], dtype=np.int16),
        }

    return with_arrays(results, "plane", of_run)


def test_boundaries_of_seeds_and_of_most_of_them():
    shown = boundaries_of(circles([0.3, 0.6], radius=lambda row: row["data.factor"] + 0.1 * row["seed"]))
    assert [panel.level for panel in shown] == ["0.3", "0.6"]
    for panel, radius in zip(shown, (0.3, 0.6), strict=True):
        assert panel.seeds == 3
        (most,) = panel.of_most
        assert np.hypot(*most.T) == pytest.approx(radius + 0.1, abs=5e-3)
        assert sorted(round(float(np.hypot(*line.T).mean()), 2) for line in panel.of_seeds) == [
            pytest.approx(radius + 0.1 * seed, abs=0.01) for seed in range(3)
        ]
        # All agree in the middle; between the boundaries one in three differs, so there is less color.
        row, column = 50, 50 + round(50 * (radius + 0.15))
        assert panel.shares[50, 50].tolist() == [0, 1]
        assert panel.shares[row, column] == pytest.approx([2 / 3, 1 / 3])
        assert panel.colors[row, column, 3] < panel.colors[50, 50, 3] == pytest.approx(0.42)


def test_points_of_one_seed_are_told_as_such_where_seeds_have_their_own():
    same = circles([0.2, 0.9])
    arrays, _ = same.read_arrays("plane", "end")
    own = {
        run: {**found, "labels": np.array([0, number % 2], dtype=np.int16)}
        for number, (run, found) in enumerate(arrays.items())
    }
    differing = replace(same, read_arrays=lambda stage, snapshot: (own if stage == "plane" else {}, {}))
    for results, told in ((same, False), (differing, True)):
        page, _ = section_of("decision_boundary", results)
        assert ("where seeds have their own, those of one seed" in " ".join(page.split())) == told


def test_many_classes_have_boundaries_between_them():
    results = circles([0.5, 0.6])

    def of_run(row):
        return {
            "region": np.array(SQUARE.edges, dtype=np.float32),
            "class": np.digitize(X, [-0.3, 0.3]).astype(np.int16),
            "confidence": np.full(X.shape, 255, dtype=np.uint8),
            "points": np.zeros((0, 2), dtype=np.float32),
            "labels": np.zeros(0, dtype=np.int16),
        }

    panel, _ = boundaries_of(with_arrays(results, "plane", of_run))
    assert {round(float(line[0, 0]), 1) for line in panel.of_most} == {-0.3, 0.3}


def known(levels=2, seeds=2):
    results = synthetic(seeds=seeds, regimes=("baseline",), data__bumps=list(range(1, levels + 1)))
    results = replace(results, task=REGRESSION, study={**results.study, "compare": {"factor": "data.bumps"}})
    results.ledger["test_r2"] = 0.9

    def of_run(row):
        target = np.cos(row["data.bumps"] * 2 * X) + Y**2
        return {
            "region": np.array(SQUARE.edges, dtype=np.float32),
            "target": target.astype(np.float32),
            "fit": (target + 0.01 * (row["seed"] + 1)).astype(np.float32),
        }

    return with_arrays(results, "plane", of_run)


def test_errors_are_over_seeds_and_have_one_scale():
    shown = surfaces_of(known())
    assert [panel.level for panel in shown] == ["1", "2"]
    for panel in shown:
        assert panel.error == pytest.approx(np.sqrt((0.01**2 + 0.02**2) / 2), rel=1e-4)
        assert panel.shade(np.array([panel.low, panel.high])).tolist() == [0, 1]
        assert panel.heights == sorted(panel.heights)
    scale = ErrorScale.of(shown)
    assert scale.high == pytest.approx(0.0158, rel=1e-2)
    assert scale.shade(np.array([scale.high, scale.low, 0.0])).tolist() == pytest.approx([1, 0, 0])
    assert [text for _, text in scale.ticks] == ["0.0001", "0.001", "0.01"]


def test_what_a_panel_tells_is_of_the_runs_that_it_draws():
    results = known(seeds=3)
    arrays, _ = results.arrays("plane")
    (other,) = results.ledger.query("seed == 2 and `data.bumps` == 1")["run_id"]
    changed = {**arrays, other: {**arrays[other], "target": arrays[other]["target"] + 1}}
    results.ledger.loc[results.ledger["run_id"] == other, "test_r2"] = -3.0
    shown = surfaces_of(replace(results, read_arrays=lambda stage, snapshot: (changed, {})))
    assert [panel.seeds for panel in shown] == [2, 3]
    assert [panel.r2 for panel in shown] == pytest.approx([0.9, 0.9])


def test_a_fit_without_error_and_a_target_without_height_are_drawn():
    results = known()

    def of_run(row):
        flat = np.ones(X.shape, dtype=np.float32)
        return {"region": np.array(SQUARE.edges, dtype=np.float32), "target": flat, "fit": flat}

    evidence = Evidence(with_arrays(results, "plane", of_run))
    content = SECTIONS["surfaces"](evidence)
    assert set(files_of(content.figures)) == {"surfaces.pdf", "surfaces.svg"}


def watched(steps=(0, 1, 10, 100)):
    results = synthetic(seeds=3, regimes=("baseline", "sam"))
    sharpness = Quantity("sam_0.5", "sharpness", "SAM sharpness (sam_0.5)", scale="ratio")
    results = replace(results, watched=(sharpness,))

    def of_run(row):
        values = (1.0 + row["seed"]) / (1 + np.array(steps))
        return {"step": np.array(steps), "train_loss": values, "sam_0.5": values * 2}

    return with_arrays(results, "trajectory", of_run)


def test_courses_are_medians_with_the_range_of_the_seeds():
    loss, sharpness = courses_of(watched())
    assert (loss.quantity.name, sharpness.quantity.name) == ("train_loss", "sam_0.5")
    assert [line.level for line in sharpness.lines] == ["baseline", "sam"]
    line = sharpness.lines[0]
    assert line.steps.tolist() == [0, 1, 10, 100]
    assert (line.low[0], line.middle[0], line.high[0], line.seeds) == (2.0, 4.0, 6.0, 3)
    assert sharpness.values.logarithmic


def test_the_axis_of_steps_has_a_place_for_the_initialization():
    axis = StepAxis((0, 1, 10, 100, 1000, 10000))
    assert axis.marks == [0, 1, 10, 100, 1000, 10000]
    assert (axis.at(0), axis.at(10000)) == (0, 100)
    assert StepAxis(tuple(range(0, 2000, 20))).marks == [0, 1, 10, 100, 1000]
    assert StepAxis((0,)).at(0) == 50


DRAWN = {
    "decision_boundary": circles([0.2, 0.9]),
    "many boundaries": circles(np.round(np.linspace(0.05, 0.95, 20), 3), seeds=2),
    "one seed": circles([0.2, 0.9], seeds=1),
    "surfaces": known(),
    "many surfaces": known(levels=20, seeds=1),
    "along_training": watched(),
    "one step": watched(steps=(0,)),
}


@pytest.mark.parametrize("name", DRAWN)
def test_sections_show_every_level_once_and_the_same_bytes_each_time(name):
    results = DRAWN[name]
    evidence = Evidence(results)
    shown = [
        section
        for section in ("decision_boundary", "surfaces", "along_training")
        if SECTIONS[section](evidence).page is not None
    ]
    assert len(shown) == 1
    content = SECTIONS[shown[0]](evidence)
    page = render(evidence, {shown[0]: content})
    body = re.search(rf'<section id="{shown[0]}">(.*?)</section>', page, re.DOTALL)[1]
    assert "nan" not in re.sub(r'href="[^"]*"', "", body).lower()
    if shown[0] != "along_training":
        assert body.count("<figcaption>") == len(results.levels)
    assert files_of(content.figures) == files_of(SECTIONS[shown[0]](evidence).figures)


def test_studies_of_other_data_have_none_of_these_sections():
    contents = contents_of(Evidence(synthetic(seeds=2)))
    assert all(contents[name].page is None for name in ("decision_boundary", "surfaces", "along_training"))
