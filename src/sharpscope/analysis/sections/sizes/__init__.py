"""The one picture: each difference in sharpness raw, at equal loss, at equal confidence, and at both."""

from __future__ import annotations

from functools import partial

from sharpscope.analysis.latex import to_csv
from sharpscope.analysis.section import SECTIONS, Content, Evidence, SectionFacts, beside
from sharpscope.analysis.sections.sizes.data import conditions_of, notes_of, panels_of, table_rows
from sharpscope.analysis.sections.sizes.figure import dumbbells
from sharpscope.analysis.sections.sizes.table import latex
from sharpscope.analysis.sizes import sizes_table
from sharpscope.analysis.tested import PRIMARY
from sharpscope.analysis.told_intervals import told_intervals


@SECTIONS.register(
    facts=SectionFacts(
        "How much sharper, and how much of it is loss or confidence",
        place=7,
        template=beside(__file__),
    )
)
def sizes(evidence: Evidence) -> Content:
    """Every primary difference in sharpness as it is, at equal loss, at equal confidence, and at both."""
    results = evidence.results
    table = sizes_table(results, evidence.equal_loss.remains, evidence.equal_confidence)
    if table.empty:
        return Content()
    family = evidence.contrasts[(evidence.contrasts["family"] == PRIMARY) & evidence.contrasts["p"].notna()]
    return Content(
        {
            "panels": panels_of(results, table),
            "conditions": conditions_of(table),
            "rows": table_rows(results, table),
            "unlike": notes_of(results, table),
            "apart": told_intervals(family[family["quantity"].isin(table["quantity"])], len(family)),
        },
        figures={"sizes": partial(dumbbells, results, table)},
        tables={"sizes.csv": to_csv(table), "sizes.tex": latex(results, table)},
    )
