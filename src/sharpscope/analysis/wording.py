"""Words that sentences of a report are made of."""

from __future__ import annotations

import math
from collections.abc import Sequence

from sharpscope.analysis import numbers
from sharpscope.analysis.results import StudyResults, TableRow

_PERSONS = ("Brier", "Fisher", "Gauss", "Hessian")


def label_of(results: StudyResults, name: str) -> str:
    """Return the name of a quantity within a sentence."""
    label = results.quantities[name].label
    # Acronyms as well as names keep their capital: "SAM sharpness", "Hessian trace".
    return label if label[1:2].isupper() or label.startswith(_PERSONS) else label[:1].lower() + label[1:]


def joined(names: Sequence[str]) -> str:
    """Return names as a sentence lists them: "a, b and c"."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def counted(n: int, noun: str) -> str:
    """Return so many of something: "1 seed", "3 seeds"."""
    return f"{n} {noun}{'' if n == 1 else 's'}"


def named(names: Sequence[str], noun: str, between: str = ", ") -> str:
    """Return things by their names: "seed 3", "seeds 3, 4"."""
    return f"{noun}{'' if len(names) == 1 else 's'} {between.join(names)}"


def cells_told(results: StudyResults) -> str:
    """Return what cells differ in, in the plural: "regimes", "regimes and settings", or "settings" of one regime."""
    parts = [f"{results.factor.noun}s"] if len(results.levels) > 1 or not results.keys else []
    return joined([*parts, *(["settings"] if results.keys else [])])


def no_ratio(not_positive: float, values: float) -> str:
    """Return why a quantity of ratios is not told by them: "12 of 541 runs have no value above 0 there"."""
    have = "has" if not_positive == 1 else "have"
    runs = f"{int(not_positive)} of {counted(int(values), 'run')}"
    return f"{runs} {have} no value above 0 there"


def fewer(row: TableRow, seeds: int) -> str:
    """Return how many seeds a row is of where there are more at the end: "6 of 10 seeds"; empty where there are not."""
    return f"{int(row['n'])} of {counted(int(seeds), 'seed')}" if row["n"] < seeds else ""


def difference_text(row: TableRow) -> str:
    """Return the difference of a row of a table with its interval: "×1.4 [1.2, 1.6]"."""
    return numbers.change(row["scale"], row["difference"], row["ci_low"], row["ci_high"])


def like_text(row: TableRow, unit: str = "") -> str:
    """Return what is left of a difference with its interval: "×1.4 [1.2, 1.6]".

    Where it is no ratio and that at the end is told as one, that stands beside it as a difference: "+0.6 [+0.4, +0.9]
    of +740 [+620, +900] at the end".

    Args:
        row: Of a table with ``end_difference``.
        unit: That of the quantity, which such differences have.
    """
    told, unit = difference_text(row), unit and f" {unit}"
    if not math.isfinite(row["end_difference"]):
        return told
    end = numbers.change(row["scale"], row["end_difference"], row["end_low"], row["end_high"])
    return f"{told}{unit} of {end}{unit} at the end"
