"""Figures: vector files with their fonts, which say the same every time."""

import pytest

from sharpscope.analysis.comparisons import regimes_table
from sharpscope.analysis.figures import figure_files
from sharpscope.analysis.palette import looks


@pytest.fixture(scope="module")
def drawn(report):
    return {path.name: path.read_bytes() for path in (report.parent / "figures").iterdir()}


def test_every_figure_comes_as_pdf_and_svg(drawn):
    names = {"measures_vs_train_loss", "measures_vs_generalization_gap", "measures_vs_ece", "reliability", "regimes"}
    assert set(drawn) == {f"{name}.{suffix}" for name in names for suffix in ("pdf", "svg")}


def test_fonts_are_embedded_and_colors_are_those_of_the_report(drawn, results):
    assert b"/FontFile2" in drawn["regimes.pdf"]
    svg = drawn["measures_vs_ece.svg"].decode()
    assert "<text" not in svg
    assert all(look.color.lower() in svg for look in looks(results.regimes).values())


def test_files_bear_no_date(drawn):
    assert b"CreationDate" not in drawn["regimes.pdf"]
    assert b"<dc:date>" not in drawn["regimes.svg"]


def test_nothing_is_drawn_from_nothing(make_results):
    results = make_results(seeds=1, failed=6)
    assert figure_files(results, regimes_table(results)) == {}


def test_regimes_look_different_and_well_known_ones_always_the_same():
    some = looks(["sam", "sam(rho=0.1)", "mine", "baseline"])
    assert len({(look.color, look.symbol) for look in some.values()}) == 4
    assert looks(["baseline", "sam"])["sam"] == some["sam"]
