"""Spectra: shares of eigenvalues beyond a size by counting, and where a study shows them."""

import io
from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from tests.pages import section_of, with_few

from sharpscope.analysis.drawing.figures import STYLE
from sharpscope.analysis.results import Quantity
from sharpscope.analysis.sections.spectra.data import panels_of

DENSITY = "hessian_density"


def eigenvalues(level, seed):
    """Return a whole spectrum: what a quadrature of one start and many steps finds, each with the share 1 / size."""
    rng = np.random.default_rng(seed)
    largest = 10.0 if level == "sam" else 100.0
    return np.concatenate([largest * rng.uniform(0.1, 1, 4), 1e-3 * rng.uniform(0, 1, 95), [-0.5]])


@pytest.fixture(scope="module")
def results(make_results):
    few = with_few(make_results(seeds=3, regimes=("baseline", "sam")), "train_loss")
    quantity = Quantity(DENSITY, "sharpness", "Hessian spectral density", sharper_is="larger")
    stored = {}
    for run in few.ledger.to_dict("records"):
        found = eigenvalues(run["regime"], run["seed"])
        # Two starts that have found the same.
        stored[run["run_id"]] = {"nodes": [found.tolist()] * 2, "weights": [[0.01] * 100] * 2}
    ledger = few.ledger.assign(**{DENSITY: 1.0})
    quantities = {**few.quantities, DENSITY: quantity}
    return replace(few, ledger=ledger, quantities=quantities, details=lambda name: stored if name == DENSITY else {})


def test_shares_are_those_of_counting(results):
    positive, negative = panels_of(results)
    assert (positive.side, negative.side) == ("positive", "negative")
    for level in ("baseline", "sam"):
        for seed in range(3):
            found = eigenvalues(level, seed)
            counted = [np.mean(found >= size) for size in positive.sizes]
            np.testing.assert_allclose(positive.shares[level][seed], counted, atol=1e-12)
            counted = [np.mean(-found >= size) for size in negative.sizes]
            np.testing.assert_allclose(negative.shares[level][seed], counted, atol=1e-12)
    assert positive.least == pytest.approx(0.01)


def test_a_study_with_densities_shows_them_and_another_has_no_such_section(results):
    page, content = section_of("spectra", results)
    assert page.count("<polyline") == 4
    assert "positive eigenvalues" in page
    table = pd.read_csv(io.BytesIO(content.tables["spectra.csv"]))
    assert set(table["side"]) == {"positive", "negative"}
    with mpl.rc_context(STYLE):
        figure = content.figures["spectra"]()
        FigureCanvasAgg(figure).draw()
    assert [axis.get_xscale() for axis in figure.axes] == ["log", "log"]
    page, content = section_of("spectra", replace(results, details=lambda name: {}))
    assert "Spectra" not in page
    assert not content.figures
