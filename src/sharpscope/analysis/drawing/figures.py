"""Drawing fit for a paper: vector files at column width, fonts embedded, the same bytes for the same study."""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from fontTools.subset import Options
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.markers import TICKDOWN, TICKLEFT
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from sharpscope.analysis import numbers
from sharpscope.analysis.drawing.lettering import FAMILY, lettered, shortened, width_of, wrapped
from sharpscope.analysis.drawing.palette import styles_of
from sharpscope.analysis.drawing.scale import Scale, locator
from sharpscope.analysis.results import StudyResults, describe_group
from sharpscope.spec import REGIME

COLUMN, TEXT = 3.25, 6.75  # inches: one column and the full width of a two-column page
ROW_LABELS = 130.0  # points that labels of rows may take of the width
_GAP = 14.0  # points between panels, and at the ends of a line
_LINE = 10.0  # points from one line of text to the next
_KEY = 26.0  # points that a mark in a legend takes, with the space around it
_ALIKE = 1e-6  # values that differ by less than this share of them are one value on an axis

STYLE: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": [FAMILY],
    "text.parse_math": False,  # a dollar in a label of the user's is a dollar
    "font.size": 7,
    "axes.titlesize": 7.5,
    "axes.labelsize": 7,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.formatter.useoffset": False,
    "xtick.labelsize": 6,
    "ytick.labelsize": 6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.fontsize": 6.5,
    "legend.title_fontsize": 6.5,
    "legend.frameon": False,
    "pdf.fonttype": 42,
    "svg.fonttype": "path",
    "svg.hashsalt": "sharpscope",
}


def files_of(drawings: Mapping[str, Callable[[], Figure | None]]) -> dict[str, bytes]:
    """Return every figure as PDF and SVG, by the name of its file; one that has no data is left out."""
    files: dict[str, bytes] = {}
    with mpl.rc_context(STYLE), _glyphs_alone():
        for name, draw in drawings.items():
            figure = draw()
            if figure is not None:
                pdf, svg = _render(figure)
                files |= {f"{name}.pdf": pdf, f"{name}.svg": svg}
    return files


@contextlib.contextmanager
def _glyphs_alone() -> Iterator[None]:
    """Embed glyphs without the tables that tell how to set them: where each one stands is in the file already.

    To take these apart is a quarter of what figures cost, and Matplotlib has no option for it.
    """
    usual: list[str] = Options._drop_tables_default
    Options._drop_tables_default = [*usual, "GDEF", "GPOS", "GSUB", "MATH", "kern"]
    try:
        yield
    finally:
        Options._drop_tables_default = usual


def _render(figure: Figure) -> tuple[bytes, bytes]:
    """Return a figure as PDF and as SVG, without dates: the same figure gives the same bytes."""
    FigureCanvasAgg(figure)
    _fix_labels(figure, lambda axis: not axis.get_label_text())
    # Layout costs more than drawing, so both files share one; ``savefig`` would draw twice more for each.
    layout = figure.get_layout_engine()
    if layout is not None:
        layout.execute(figure)
        figure.set_layout_engine("none")
    pdf, svg = io.BytesIO(), io.BytesIO()
    FigureCanvasPdf(figure).print_pdf(pdf, metadata={"CreationDate": None})
    _fix_labels(figure)  # both have 72 dots to an inch, so they stand in the same place
    FigureCanvasSVG(figure).print_svg(svg, metadata={"Date": None})
    return pdf.getvalue(), svg.getvalue()


def _fix_labels(figure: Figure, which: Callable[[Axis], bool] = lambda _: True) -> None:
    """Keep the labels of axes where they stand, empty ones too.

    Else their places are found anew in each layout and drawing, which takes those of all labels of ticks.
    """
    for axis in (axis for panel in figure.axes for axis in (panel.xaxis, panel.yaxis) if which(axis)):
        axis.set_label_coords(*axis.label.get_position(), transform=axis.label.get_transform())


def panels(count: int, width: float, height: float, columns: int) -> tuple[Figure, list[Axes]]:
    """Return a figure with so many panels; unused places of its grid stay empty."""
    columns = min(columns, count)
    rows = math.ceil(count / columns)
    figure = Figure(figsize=(width, rows * height + 0.45), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for unused in axes[count:]:
        unused.remove()
    return figure, list(axes[:count])


def logarithmic(axis: Axes, which: Literal["x", "y"]) -> None:
    """Make one axis logarithmic with few, plain labels; the usual minor labels overlap in small panels.

    To be called once all is drawn that the axis is to show.
    """
    of_axis = axis.xaxis if which == "x" else axis.yaxis
    low, high = sorted(axis.dataLim.intervalx if which == "x" else axis.dataLim.intervaly)
    if 0 < low <= high <= low * (1 + _ALIKE):
        # Equal but for rounding: an axis from one to the other would have no length.
        axis.set(**{f"{which}lim": (low / 2, high * 2)})
    axis.set(**{f"{which}scale": "log"})
    of_axis.set_major_locator(locator(Scale(low, high, logarithmic=True)))
    of_axis.set_major_formatter(FuncFormatter(lambda value, _: numbers.plain(value)))
    of_axis.set_minor_locator(NullLocator())
    _minor_marks(axis, which)


def _minor_marks(axis: Axes, which: Literal["x", "y"]) -> None:
    """Mark the multiples of powers of ten on a logarithmic axis, all as one artist.

    As ticks they would be one each, and half of what a figure takes to lay out.
    """
    low, high = axis.get_xlim() if which == "x" else axis.get_ylim()
    axis.set(**{f"{which}lim": (low, high)})  # what is drawn below moves no end
    values = np.asarray(LogLocator(subs=range(2, 10), numticks=100).tick_values(low, high))
    values = values[(values >= low) & (values <= high)]
    foot = np.zeros(len(values))
    look: Any = {"linestyle": "", "markersize": 1.5, "markeredgewidth": 0.5, "color": "black", "clip_on": False}
    if which == "x":
        axis.plot(values, foot, marker=TICKDOWN, transform=axis.get_xaxis_transform(), **look)
    else:
        axis.plot(foot, values, marker=TICKLEFT, transform=axis.get_yaxis_transform(), **look)


def suit(axis: Axes, which: Literal["x", "y"], *, log: bool) -> None:
    """Give an axis few marks, so that they do not overlap in small panels: logarithmic ones, or not."""
    if log:
        logarithmic(axis, which)
    else:
        axis.locator_params(axis=which, nbins=4)


def intervals(axis: Axes, at: np.ndarray, low: np.ndarray, high: np.ndarray, **look: Any) -> None:
    """Draw horizontal intervals, given where they lie and their ends, all as one broken line: that is soon drawn."""
    gaps = np.full(np.shape(at), np.nan)
    ends, heights = (np.column_stack(parts).ravel() for parts in ((low, high, gaps), (at, at, gaps)))
    axis.plot(ends, heights, **look)


def entitle(axis: Axes, text: str, *, beside: float = 0.0, size: float = STYLE["axes.titlesize"]) -> None:
    """Put a title above a panel of a grid, in as many lines as it needs to be about as wide as the panel.

    Args:
        axis: The panel.
        text: The title.
        beside: Points that labels take of the width of the figure, all in all.
        size: Of the letters.
    """
    place = axis.get_subplotspec()
    columns = place.get_gridspec().ncols if place is not None else 1
    room = (72 * figure_of(axis).get_figwidth() - beside) / columns - _GAP
    axis.set_title(wrapped(text, room, size), fontsize=size)


def describe(figure: Figure, text: str) -> None:
    """Say below a figure what its panels show, in as many lines as that needs, and leave the panels their height."""
    size = STYLE["axes.labelsize"]
    figure.supxlabel(wrapped(text, 72 * figure.get_figwidth() - _GAP, size), fontsize=size)
    lines: dict[int, int] = {}
    for axis in figure.axes:
        place = axis.get_subplotspec()
        if place is not None:
            row = place.rowspan.start
            lines[row] = max(lines.get(row, 0), axis.get_title().count("\n"))
    _heighten(figure, sum(lines.values()))


def _heighten(figure: Figure, lines: int) -> None:
    """Make a figure higher by so many lines of text."""
    figure.set_figheight(figure.get_figheight() + lines * _LINE / 72)


def figure_of(axis: Axes) -> Figure:
    """Return the figure that a panel is in."""
    found = axis.get_figure()
    assert isinstance(found, Figure), "a panel stands in a figure itself, not in a part of one"
    return found


def row_labels(labels: Iterable[str], room: float = ROW_LABELS) -> tuple[list[str], float]:
    """Return labels of rows, shortened to so many points, and how many they take beside the panels."""
    size = STYLE["ytick.labelsize"]
    shown = [shortened(label, room, size) for label in labels]
    return shown, max((width_of(label, size) for label in shown), default=0.0) + _GAP


def rows_of(axis: Axes, labels: Sequence[str], *, named: bool) -> None:
    """Make the vertical axis one of rows, the first on top, with their labels where it is the first beside others."""
    axis.set_yticks(range(len(labels)), labels) if named else axis.set_yticks([])
    axis.set_ylim(len(labels) - 0.5, -0.5)
    axis.spines["left"].set_visible(False)
    axis.tick_params(axis="y", length=0)


def level_legend(figure: Figure, results: StudyResults) -> None:
    """Put one legend of all levels of the factor above a figure."""
    factor, styles = results.factor, styles_of(results.factor)
    size, room = STYLE["legend.fontsize"], 72 * figure.get_figwidth() - _GAP
    labels = [shortened(lettered(level), room - _KEY, size) for level in results.levels]
    handles = [
        Line2D([], [], color=look.color, marker=look.marker, linestyle="", markersize=4, label=label)
        for label, look in zip(labels, map(styles.__getitem__, results.levels), strict=True)
    ]
    widest = max(width_of(label, size) for label in labels) + _KEY
    columns = max(1, min(len(handles), 6, int(room // widest)))
    title = "" if factor.name == REGIME else lettered(factor.name)
    _heighten(figure, math.ceil(len(handles) / columns) - 1)
    figure.legend(handles=handles, loc="outside upper center", ncols=columns, handletextpad=0.2, title=title)


def name_levels(figure: Figure, results: StudyResults) -> None:
    """Say beside the rows of a figure what their labels are levels of, where these do not say so themselves."""
    if results.factor.name != REGIME:
        figure.supylabel(lettered(results.factor.name), fontsize=STYLE["axes.labelsize"])


def cell_label(level: str, group: dict[str, Any], *, between: str = ", ") -> str:
    """Return the name of a level in a setting, as a figure can show it."""
    return between.join(map(lettered, filter(None, (level, describe_group(group)))))
