"""Labels that no figure was made for: all of them are drawn as they stand, whole, and none over another."""

import itertools
from dataclasses import replace
from unittest import mock

import matplotlib as mpl
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from tests.analysis.conftest import (
    REGIMES,
    synthetic,
    with_conditions,
    with_levels,
    with_pairs_across,
    with_twins,
)

from sharpscope.analysis.drawing.figures import STYLE
from sharpscope.analysis.report import contents_of
from sharpscope.analysis.section import Evidence

HOSTILE = (
    r"$\alpha_{x}^2$ 100%_of #{it} & more",
    "a label\nof three\nlines and a\ttab",
    "\u05e9\u05dc\u05d5\u05dd \u05e2\u05d5\u05dc\u05dd \u0645\u0631\u062d\u0628\u0627",  # from right to left
    "wide " + "W" * 195,
    "words " * 33 + "to the end",
    "_hidden",
)  # fmt: skip


def renamed(results):
    """Return a study whose regimes and quantities are called by hostile labels."""
    names = dict(zip(REGIMES, HOSTILE, strict=True))

    def table(found):
        return found.assign(regime=found["regime"].map(names)) if "regime" in found else found

    of_study = {**results.study, "regimes": [{"label": label} for label in HOSTILE]}
    labels = {
        name: replace(quantity, label=f"{HOSTILE[place % len(HOSTILE)]} {quantity.label}")
        for place, (name, quantity) in enumerate(results.quantities.items())
    }
    tables = ("ledger", "pairs", "reliability", "confidence", "failures", "conditions")
    return replace(
        results, study=of_study, quantities=labels, **{name: table(getattr(results, name)) for name in tables}
    )


def study(**options):
    whole = synthetic(seeds=5, **options)
    results = with_levels(whole, "0.1")
    more = {name: whole.quantities[name] for name in ("prediction_disagreement", "geometric_complexity")}
    results = replace(results, quantities={**results.quantities, **more})
    results = with_pairs_across(with_conditions(results), error_consistency=0.3)
    # Small numbers that span a factor of about 50 have the widest marks, and many.
    ledger = results.ledger.assign(**{"sam_sharpness@0.1": results.ledger["sam_sharpness"] / 12})
    results = replace(results, ledger=ledger)
    twins = with_twins(results, "calibrated", {"relative_flatness": ledger["relative_flatness"] ** 0.9})
    primary = ["relative_flatness", "sam_sharpness", "test_accuracy"]
    density = {"nodes": [[-0.1, 0.01, 0.5, 30.0]], "weights": [[0.1, 0.6, 0.2, 0.1]]}
    spectra = dict.fromkeys(ledger["run_id"], density)
    known = replace(twins, details=lambda name: spectra if name == "sam_sharpness" else {})
    return renamed(replace(known, study={**twins.study, "primary": primary}))


def boxes(figure):
    """Return the text that is drawn in a figure with the box of each."""
    drawn, draw = [], Text.draw

    def noting(text, renderer, *args, **kwargs):
        if text.get_visible() and text.get_text().strip():
            drawn.append((text, text.get_window_extent(renderer)))
        return draw(text, renderer, *args, **kwargs)

    with mock.patch.object(Text, "draw", noting):
        figure.canvas.draw()
    return drawn


def overlapping(one, other):
    """Return whether two boxes lie over one another by more than a point of 72 an inch in both directions."""
    across = min(one.x1, other.x1) - max(one.x0, other.x0)
    up = min(one.y1, other.y1) - max(one.y0, other.y0)
    return across > 1 and up > 1


def faults(figure):
    """Return what is cut, and what lies over another."""
    seen = boxes(figure)
    width, height = figure.canvas.get_width_height()
    cut = [
        f"cut: {text.get_text()!r}"
        for text, box in seen
        if box.x0 < -1 or box.y0 < -1 or box.x1 > width + 1 or box.y1 > height + 1
    ]
    # Boxes of oblique labels overlap though they do not.
    level = [(text, box) for text, box in seen if text.get_rotation() in (0, 90)]
    over = [
        f"over one another: {a.get_text()!r} and {b.get_text()!r}"
        for (a, one), (b, other) in itertools.combinations(level, 2)
        if overlapping(one, other)
    ]
    return cut + over


TWO = pytest.param({"training__lr": [0.01, 0.1]}, id="two settings", marks=pytest.mark.slow)


@pytest.fixture(scope="module", params=[pytest.param({}, id="one setting"), TWO])
def drawings(request):
    contents = contents_of(Evidence(study(**request.param)))
    return {name: draw for content in contents.values() for name, draw in content.figures.items()}


def test_every_kind_of_figure_is_looked_at(drawings):
    kinds = {"sizes", "levels", "matched_loss", "reliability", "robustness", "severities", "consistency"}
    kinds |= {"disagreement", "is_it_confidence", "is_it_complexity", "measures_vs_train_loss"}
    kinds |= {"measures_vs_geometric_complexity", "measures_vs_ece", "spectra"}
    assert kinds <= set(drawings)


def test_no_label_is_cut_or_lies_over_another(drawings):
    found = {}
    with mpl.rc_context(STYLE):
        for name, draw in drawings.items():
            figure = draw()
            if figure is not None:
                figure.dpi = 72
                FigureCanvasAgg(figure)
                found[name] = faults(figure)
    assert {name: told for name, told in found.items() if told} == {}
