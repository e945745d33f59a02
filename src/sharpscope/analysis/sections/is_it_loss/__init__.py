"""Is it loss? Differences in sharpness beside those in train loss, and what is left of them at equal loss."""

from __future__ import annotations

from sharpscope.analysis.explanations.told_remains import told_unlike
from sharpscope.analysis.latex import to_csv
from sharpscope.analysis.section import SECTIONS, Content, Evidence, SectionFacts, beside
from sharpscope.analysis.sections.is_it_loss.data import covariate, level_rows, measure_rows, remaining_rows
from sharpscope.analysis.sections.is_it_loss.table import latex


@SECTIONS.register(
    facts=SectionFacts(
        "Is it loss?",
        place=16,
        template=beside(__file__),
        nothing="No sharpness was compared, so there is nothing that train loss could explain.",
    )
)
def is_it_loss(evidence: Evidence) -> Content:
    """Train losses at the end, how sharpness goes with them, and what is left of its differences at equal loss."""
    results, found = evidence.results, evidence.equal_loss
    page = {
        "levels": level_rows(results, found),
        "measures": measure_rows(results, found),
        "remaining": remaining_rows(results, found),
        "places": [*results.losses],
        "covariate": covariate(results),
        "unlike": told_unlike(results, found.remains, {}),
    }
    return Content(
        page if len(found.remains) else None,
        tables={
            "is_it_loss.csv": to_csv(found.remains),
            "is_it_loss_levels.csv": to_csv(found.levels),
            "is_it_loss_measures.csv": to_csv(found.measures),
            "is_it_loss.tex": latex(results, found),
        },
    )
