"""New seeds and new data: which differences would be there with other test samples too."""

from __future__ import annotations

from sharpscope.analysis.latex import to_csv
from sharpscope.analysis.new_data import OtherData, Samples, new_data_table
from sharpscope.analysis.section import SECTIONS, Content, Evidence, SectionFacts, beside
from sharpscope.analysis.sections.new_data.data import rows_of
from sharpscope.analysis.sections.new_data.table import latex

_OTHER = (
    "What other test samples would change can be told where all runs are tested on the same samples; here they are not."
)
_CLASSES = "What other test samples would change is told of classifiers; this study predicts numbers."


@SECTIONS.register(
    facts=SectionFacts(
        "With new data?",
        place=41,
        template=beside(__file__),
        nothing="What each test sample adds to the scores has not been stored. A study that was run by an earlier "
        "version gets what is shown here when it is run again.",
    )
)
def new_data(evidence: Evidence) -> Content:
    """Which differences of scores would be there with new test samples too, and how sure seeds and samples are."""
    results = evidence.results
    if not results.task.classes:
        return Content(nothing=_CLASSES)
    try:
        samples = Samples.of(results)
        if not samples.values.others:
            return Content(nothing=f"There is no second {results.factor.noun} to compare.")
        table = new_data_table(results, samples)
    except OtherData:
        return Content(nothing=_OTHER)
    if table.empty:
        return Content()
    rows = rows_of(results, table)
    return Content(
        {
            "rows": rows,
            "samples": f"{int(table['samples'].min()):,}",
            "more": len(rows) < len(table),
            "unread": samples.unread,
            "waiting": samples.waiting,
        },
        tables={"new_data.csv": to_csv(table), "new_data.tex": latex(results, table)},
    )
