"""What is watched against the steps of training, a panel a quantity and a line a level."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sharpscope.analysis.drawing.figures import TEXT, level_legend, logarithmic, panels
from sharpscope.analysis.drawing.lettering import lettered
from sharpscope.analysis.drawing.palette import styles_of
from sharpscope.analysis.results import StudyResults, describe_group
from sharpscope.analysis.sections.along_training.data import Panel, StepAxis


def courses(results: StudyResults, shown: list[Panel]) -> Figure:
    """Draw medians over seeds, with bands from the least to the largest."""
    figure, axes = panels(len(shown), TEXT, 1.7, 3)
    steps = StepAxis.of(shown)
    for axis, panel in zip(axes, shown, strict=True):
        _draw(axis, results, panel, steps)
    figure.supxlabel("Steps of training (line: median over seeds, band: from the least to the largest)", fontsize=7)
    level_legend(figure, results)
    return figure


def _draw(axis: Axes, results: StudyResults, panel: Panel, steps: StepAxis) -> None:
    styles = styles_of(results.factor)
    for line in panel.lines:
        look, at = styles[line.level], [steps.at(step) for step in line.steps]
        axis.fill_between(at, line.low, line.high, color=look.color, alpha=0.15, linewidth=0)
        axis.plot(at, line.middle, color=look.color, marker=look.marker, markersize=2.5, linewidth=1)
    if panel.values.logarithmic:
        logarithmic(axis, "y")
    axis.set_xticks([steps.at(step) for step in steps.marks], [f"{step:,}" for step in steps.marks])
    between = "\n" if panel.group else ""
    axis.set_title(f"{lettered(panel.quantity.label)}{between}{lettered(describe_group(panel.group))}")
