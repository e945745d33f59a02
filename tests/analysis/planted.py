"""Studies whose runs are made up, with all the tables that such a study has none of."""

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from sharpscope.analysis.results import Quantity, StudyResults


def planted(
    name: str,
    ledger: pd.DataFrame,
    quantities: Iterable[Quantity],
    *claimed: Mapping[str, Any],
    grid: Mapping[str, list[Any]],
    regimes: Iterable[str] = ("baseline",),
    **told: Any,
) -> StudyResults:
    """Return what a study found whose runs all ended, without pairs, reliability, failures or provenance.

    Args:
        name: Of the study.
        ledger: One row a run; of its seed, state, regime and factors, and a column for each quantity.
        quantities: What the columns are.
        *claimed: The claims that it judges.
        grid: As the study declares it.
        regimes: The labels of its regimes.
        **told: What else it declares.
    """
    study = {"name": name, "regimes": [{"label": label} for label in regimes], "grid": grid, **told}
    return StudyResults(
        study=study,
        quantities={quantity.name: quantity for quantity in quantities},
        ledger=ledger,
        pairs=pd.DataFrame(columns=["regime", *(key for key in grid if key != "seed"), "seed_a", "seed_b"]),
        reliability=pd.DataFrame(),
        failures=pd.DataFrame(columns=["run_id", "regime", "seed", "state", "reason"]),
        provenance={},
        claimed=claimed,
    )
