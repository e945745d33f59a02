"""Figures: vector files with their fonts, which say the same every time."""

import io
import re
import zlib
from dataclasses import replace

import matplotlib as mpl
import pytest
from fontTools.ttLib import TTFont
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from tests.analysis.conftest import with_levels
from tests.pages import figures_of, with_few

from sharpscope.analysis.correlations import correlations_table
from sharpscope.analysis.drawing.figures import STYLE, files_of, logarithmic
from sharpscope.analysis.drawing.lettering import lettered
from sharpscope.analysis.drawing.palette import styles_of
from sharpscope.analysis.drawing.scale import Scale, marks, spans_decades
from sharpscope.analysis.report import write_report
from sharpscope.analysis.sections.scatter.data import scatter_data
from sharpscope.analysis.sections.scatter.figure import drawings
from sharpscope.spec import Factor


@pytest.fixture(scope="module")
def drawn(report):
    return {path.name: path.read_bytes() for path in (report.parent / "figures").iterdir()}


def test_every_figure_comes_as_pdf_and_svg(drawn):
    names = {
        "measures_vs_train_loss",
        "measures_vs_generalization_gap",
        "measures_vs_geometric_complexity",
        "measures_vs_ece",
        "reliability",
        "levels",
        "sizes",
        "is_it_complexity_shares",
        "disagreement",
    }
    assert set(drawn) == {f"{name}.{suffix}" for name in names for suffix in ("pdf", "svg")}


def test_fonts_are_embedded_and_colors_are_those_of_the_report(drawn, results):
    assert b"/FontFile2" in drawn["levels.pdf"]
    svg = drawn["measures_vs_ece.svg"].decode()
    assert "<text" not in svg
    assert all(look.color.lower() in svg for look in styles_of(results.factor).values())


def test_fonts_have_glyphs_and_nothing_to_set_them_by(drawn):
    streams = re.findall(rb"stream\r?\n(.*?)endstream", drawn["levels.pdf"], re.DOTALL)
    packed = [zlib.decompressobj().decompress(data) for data in streams if data[:1] == b"x"]
    fonts = [data for data in packed if data[:4] == b"\x00\x01\x00\x00"]
    assert fonts
    for font in fonts:
        with TTFont(io.BytesIO(font)) as found:
            assert "glyf" in found
            assert not {"GSUB", "GPOS", "kern"} & set(found.keys())


def test_files_bear_no_date(drawn):
    assert b"CreationDate" not in drawn["levels.pdf"]
    assert b"<dc:date>" not in drawn["levels.svg"]


def test_a_figure_is_laid_out_as_when_it_is_drawn():
    def panel():
        figure = Figure(figsize=(3, 2), layout="constrained")
        figure.subplots().set_ylabel("as wide\nas three\nlines")
        return figure

    found, expected = panel(), panel()
    before = found.axes[0].get_position().x0
    files_of({"panel": lambda: found})
    with mpl.rc_context(STYLE):
        expected.draw_without_rendering()
    assert found.axes[0].get_position().bounds == pytest.approx(expected.axes[0].get_position().bounds, abs=1e-3)
    assert abs(found.axes[0].get_position().x0 - before) > 0.01


def test_labels_stand_where_matplotlib_puts_them():
    def panels():
        figure = Figure(figsize=(5, 3), layout="constrained")
        left, right = figure.subplots(1, 2)
        left.plot([0, 1], [1000, 30000])
        left.set(xlabel="x label", ylabel="y label")
        right.set_title("title")
        figure.align_labels()
        return figure

    def places(svg):
        groups = re.findall(r'<g id="text_\d+">\s*<!-- (.*?) -->.*?translate\(([-.\d]+) ([-.\d]+)\)', svg, re.DOTALL)
        return {text: pytest.approx((float(x), float(y)), abs=0.05) for text, x, y in groups}

    expected = io.BytesIO()
    with mpl.rc_context(STYLE):
        figure = panels()
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
        FigureCanvasSVG(figure).print_svg(expected)
    found = places(files_of({"panels": panels})["panels.svg"].decode())
    assert {"x label", "y label", "title"} <= found.keys()
    assert found == {text: place.expected for text, place in places(expected.getvalue().decode()).items()}


def test_nothing_is_drawn_from_nothing(make_results):
    results = make_results(seeds=1, failed=6)
    assert figures_of(results) == {}


def regimes(*labels):
    return Factor.of({"regimes": [{"label": label} for label in labels]})


def test_regimes_look_different_and_well_known_ones_always_the_same():
    some = styles_of(regimes("sam", "sam(rho=0.1)", "mine", "baseline"))
    assert len({(look.color, look.symbol) for look in some.values()}) == 4
    assert styles_of(regimes("baseline", "sam"))["sam"] == some["sam"]


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
    assert (tmp_path / "figures" / "levels.pdf").is_file()


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


@pytest.mark.parametrize(
    "values", [[0.002, 9.0], [0.3, 4.0], [2.1, 2.2], [0.0105, 0.028], [1e-7, 1e-3], [5e-5, 2.5e-3]], ids=str
)
def test_figures_and_page_mark_an_axis_alike(values):
    figure = Figure()
    axis = figure.subplots()
    axis.scatter(values, values)
    logarithmic(axis, "y")
    FigureCanvasSVG(figure)
    figure.draw_without_rendering()
    drawn = zip(axis.get_yticks(), [label.get_text() for label in axis.get_yticklabels()], strict=True)
    found = marks(Scale(*values, logarithmic=True))
    low, high = values
    within = [text for value, text in found if low <= value <= high]
    assert within == [text for value, text in drawn if low <= value <= high]
    assert 1 < len(within) <= 5


def scatter_of(results, name):
    figure = drawings(results)[name]()
    FigureCanvasSVG(figure)
    figure.draw_without_rendering()
    return figure


def test_what_is_compared_by_ratio_is_drawn_on_logarithmic_axes(make_results):
    results = with_few(make_results(seeds=3), "train_loss", "relative_flatness", "geometric_complexity", "margin")
    ratio = {name: replace(results.quantities[name], scale="ratio") for name in results.quantities if name != "margin"}
    results = replace(results, quantities={**results.quantities, **ratio})
    assert set(drawings(results)) >= {"measures_vs_train_loss", "measures_vs_geometric_complexity"}
    (axis,) = scatter_of(results, "measures_vs_geometric_complexity").axes  # not against itself
    assert (axis.get_title(), axis.get_xscale(), axis.get_yscale()) == ("Relative flatness", "log", "log")
    (axis,) = scatter_of(with_few(results, "train_loss", "margin"), "measures_vs_train_loss").axes
    assert (axis.get_title(), axis.get_xscale(), axis.get_yscale()) == ("Margin", "log", "linear")
    negative = replace(results, ledger=results.ledger.assign(relative_flatness=-results.ledger["relative_flatness"]))
    assert scatter_of(negative, "measures_vs_train_loss").axes[0].get_yscale() == "linear"


def test_an_axis_of_the_page_has_the_marks_of_all_moments(make_results):
    results = with_levels(make_results(seeds=3, regimes=("baseline", "sam")), "0.1")
    axes = scatter_data(results, correlations_table(results))["axes"]
    columns = list(results.across("sam_sharpness").values())
    assert len(columns) == 2
    values = results.ledger[columns].to_numpy(float)
    facts = axes["y"]["sam_sharpness"]
    expected = marks(Scale(values.min(), values.max(), logarithmic=True))
    assert list(zip(facts["ticks"], facts["texts"], strict=True)) == expected
    assert facts["logarithmic"] == spans_decades(values.ravel())
    assert axes["x"]["train_loss"]["logarithmic"]
    signed = replace(results, ledger=results.ledger.assign(ece=results.ledger["ece"] - 1))
    negative = scatter_data(signed, correlations_table(signed))["axes"]["x"]["ece"]
    assert negative == {"logarithmic": False, "ticks": [], "texts": []}


@pytest.mark.parametrize("values", [(0.5, 0.5), (0.5, 0.5 * (1 + 1e-15)), (1e-12, 1e-12 * (1 + 1e-9))])
@pytest.mark.parametrize("which", ["x", "y"])
def test_a_logarithmic_axis_of_one_value_has_a_length(values, which):
    axis = Figure().subplots()
    axis.plot(*((values, (1, 2)) if which == "x" else ((1, 2), values)))
    logarithmic(axis, which)
    low, high = axis.get_xlim() if which == "x" else axis.get_ylim()
    assert low < 0.8 * values[0]
    assert high > 1.2 * values[0]


def test_controls_have_panels_only_where_there_is_nothing_else(make_results):
    results = make_results()
    measures = {name: results.quantities[name].kind for name in results.measures()}
    assert set(measures.values()) == {"sharpness", "complexity", "control"}
    for name, kinds in (("train_loss", {"sharpness", "complexity"}), ("geometric_complexity", {"sharpness"})):
        shown = [axis.get_title() for axis in scatter_of(results, f"measures_vs_{name}").axes]
        assert len(shown) == sum(kind in kinds for kind in measures.values())
    controls = [name for name, kind in measures.items() if kind == "control"]
    assert len(scatter_of(with_few(results, "train_loss", *controls), "measures_vs_train_loss").axes) == len(controls)
