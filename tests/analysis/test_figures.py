"""Figures: vector files with their fonts, which say the same every time."""

import io
from dataclasses import replace

import matplotlib as mpl
import pytest
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sharpscope.analysis.drawing import STYLE, files_of
from sharpscope.analysis.lettering import lettered
from sharpscope.analysis.palette import looks
from sharpscope.analysis.report import contents_of, write_report
from sharpscope.analysis.section import Evidence


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
    contents = contents_of(Evidence(results))
    assert all(files_of(content.figures) == {} for content in contents.values())


def test_regimes_look_different_and_well_known_ones_always_the_same():
    some = looks(["sam", "sam(rho=0.1)", "mine", "baseline"])
    assert len({(look.color, look.symbol) for look in some.values()}) == 4
    assert looks(["baseline", "sam"])["sam"] == some["sam"]


ANY_TEXT = [
    "$$", "$", r"$\frac{1}", "a_b^c {d", "_hidden", "\\", "%{x} <b>&amp;</b>", "<script>alert(1)</script>",
    "\U0001f469\u200d\U0001f4bb \u6f22\u5b57 e\u0301", "no", "two  words", "long " * 60, "x" * 400,
]  # fmt: skip


@pytest.mark.slow
def test_any_text_is_a_label(make_results, tmp_path):
    results = make_results(seeds=2, regimes=("$$", "<script>alert(1)</script>", "_a^b {\\"))
    names = ("train_loss", "ece", "relative_flatness")
    labels = dict(zip(names, ("%{x} <b>$", r"$\frac{1}", "\u6f22 \U0001f600" * 30), strict=True))
    results = replace(
        results,
        study={**results.study, "primary": list(names)},
        quantities={name: replace(results.quantities[name], label=label) for name, label in labels.items()},
    )
    page = write_report(results, tmp_path).read_text("utf-8")
    assert "<script>alert(1)" not in page
    assert (tmp_path / "figures" / "regimes.pdf").is_file()


@pytest.mark.parametrize("text", ANY_TEXT)
def test_a_label_is_drawn_as_it_stands(text):
    shown = lettered(text)
    assert 0 < len(shown) <= 49
    assert not shown.startswith("_")
    figure = Figure()
    with mpl.rc_context(STYLE):
        # A glyph that the font lacks, or a label that a legend leaves out, is a warning, which is an error here.
        figure.legend(handles=[Line2D([], [], label=shown)])
        FigureCanvasSVG(figure).print_svg(io.BytesIO())
