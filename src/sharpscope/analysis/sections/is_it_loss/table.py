"""What is left of differences in sharpness at equal train loss, as LaTeX."""

from __future__ import annotations

from sharpscope.analysis.explanations.loss import EqualLoss
from sharpscope.analysis.latex import booktabs, escape
from sharpscope.analysis.results import StudyResults
from sharpscope.analysis.sections.is_it_loss.data import remaining_rows


def latex(results: StudyResults, found: EqualLoss) -> bytes:
    """Return a row a measure and level: its difference at the end, at each matched loss with its share, adjusted."""
    rows = []
    for row in remaining_rows(results, found):
        matched = [cell for there in row["matched"] for cell in (there["difference"], there["retained"])]
        adjusted = row["adjusted"]["difference"] or row["adjusted"]["became"]
        rows.append([*map(escape, (row["label"], row["level"], row["end"], *matched, adjusted))])
    header = ["Measure", escape(results.factor.title), "At the end"]
    header += [cell for loss in results.losses for cell in (f"At loss {escape(loss)}", "Retained")]
    title = (
        "Differences in sharpness to the reference at the end, at matched train loss (with the share of that at the "
        "end), and adjusted for the loss; 95% intervals over seeds."
    )
    return booktabs([*header, "Adjusted"], rows, left=2, title=title)
