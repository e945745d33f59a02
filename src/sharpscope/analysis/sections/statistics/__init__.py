"""The tests: those over the whole study, which decide, and every comparison."""

from __future__ import annotations

from sharpscope.analysis.latex import to_csv
from sharpscope.analysis.section import SECTIONS, Content, Evidence, SectionFacts, beside
from sharpscope.analysis.sections.statistics.data import all_comparisons, all_contrasts, family_table, without
from sharpscope.analysis.sections.statistics.table import comparisons_latex, contrasts_latex
from sharpscope.analysis.tested import PRIMARY
from sharpscope.analysis.told_intervals import told_carried, told_intervals


@SECTIONS.register(
    facts=SectionFacts(
        "Statistics",
        place=60,
        template=beside(__file__),
    )
)
def statistics(evidence: Evidence) -> Content:
    """The families of tests, what each could find, every contrast over the study and every comparison."""
    results, contrasts, comparisons = evidence.results, evidence.contrasts, evidence.comparisons
    family = contrasts[(contrasts["family"] == PRIMARY) & contrasts["p"].notna()]
    tested = all_contrasts(results, contrasts)
    return Content(
        {
            "families": family_table(results, contrasts, comparisons),
            "contrasts": tested,
            "without": without(tested),
            "comparisons": all_comparisons(results, comparisons) if results.keys else [],
            "apart": " ".join(filter(None, [told_intervals(family, len(family)), *told_carried(results, family)])),
            "correction": results.study.get("correction", "westfall_young"),
            # Initial weights are drawn for the model and the shape of the data.
            "same_start": not results.factor.name.startswith(("model.", "data.")),
        },
        tables={
            "contrasts.csv": to_csv(contrasts),
            "contrasts.tex": contrasts_latex(results, contrasts),
            "comparisons.csv": to_csv(comparisons),
            "comparisons.tex": comparisons_latex(results, comparisons),
        },
    )
