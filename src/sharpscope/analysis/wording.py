"""Words that sentences of a report are made of."""

from __future__ import annotations

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


def difference_text(row: TableRow) -> str:
    """Return the difference of a row of a table with its interval: "×1.4 [1.2, 1.6]"."""
    return numbers.change(row["scale"], row["difference"], row["ci_low"], row["ci_high"])
