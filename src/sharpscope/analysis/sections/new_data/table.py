"""What new test samples would change, as LaTeX."""

from __future__ import annotations

import pandas as pd

from sharpscope.analysis.latex import booktabs, escape
from sharpscope.analysis.results import StudyResults
from sharpscope.analysis.sections.new_data.data import rows_of


def latex(results: StudyResults, table: pd.DataFrame) -> bytes:
    """Return a row a score and level: its difference over seeds, and over seeds and samples, with both errors."""
    columns = ("label", "level", "seeds", "sd_seed", "sd_test", "both", "holds")
    rows = [[escape(row[column]) for column in columns] for row in rows_of(results, table)]
    header = ["Score", escape(results.factor.title), "New seeds", "SE of seeds", "SE of samples"]
    header += ["New seeds and samples", "Seen"]
    title = (
        "Differences to the reference over new seeds on the same test samples (Hodges-Lehmann), and in the mean over "
        "new seeds and new test samples, with 95% intervals; standard errors (SE) of the means."
    )
    return booktabs(header, rows, left=2, title=title)
