"""Sharpness at matched train loss."""

from __future__ import annotations

from functools import partial

from sharpscope.analysis.latex import to_csv
from sharpscope.analysis.section import SECTIONS, Content, Evidence, SectionFacts, beside
from sharpscope.analysis.sections.matched_loss.agreement import at_matched_loss
from sharpscope.analysis.sections.matched_loss.data import closeness_table, panel_sets
from sharpscope.analysis.sections.matched_loss.figure import lanes
from sharpscope.analysis.sections.matched_loss.table import latex


@SECTIONS.register(
    facts=SectionFacts(
        "Sharpness at matched train loss",
        place=20,
        template=beside(__file__),
        nothing=(
            "No run was measured at a matched train loss. A study that names losses to match, as in "
            "<code>checkpoints_at_loss: [0.1]</code> under <code>training</code>, tells here whether differences in "
            "sharpness are there at equal loss."
        ),
    )
)
def matched_loss(evidence: Evidence) -> Content:
    """Measures where every run first had the same train loss, beside those at the end."""
    results = evidence.results
    if not results.losses:
        return Content()
    closeness = closeness_table(results)
    return Content(
        {
            "sets": panel_sets(results, evidence.levels, evidence.comparisons, closeness),
            "agreement": at_matched_loss(results, evidence.contrasts),
            "every": results.study.get("training", {}).get("check_loss_every"),
        },
        figures={"matched_loss": partial(lanes, results, evidence.levels)},
        tables={"matched_loss.csv": to_csv(closeness), "matched_loss.tex": latex(results, closeness)},
    )
