"""How many samples each measure needs: stated errors of subsets beside their true deviations from all data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from benchmarks.problems import digits, trained
from benchmarks.timing import table
from sharpscope import Estimate, Measurements, measure

SIZES = (64, 128, 256, 512, 1024)
WANTED = 0.1


@dataclass(frozen=True)
class Group:
    """Measures that are repeated on as many subsets, by what they cost.

    Attributes:
        subsets: How many subsets of each size are drawn.
        measures: Options by key, with budgets large enough that the subset is what matters.
    """

    subsets: int
    measures: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


GROUPS = (
    Group(
        subsets=10,
        measures={
            "relative_flatness": {},
            "fisher_rao_norm": {},
            "fisher_rao_norm_analytic": {},
            "gradient_norm": {},
            "margin": {},
        },
    ),
    Group(
        subsets=3,
        measures={
            "boundary_distance": {},
            "input_jacobian_norm": {"method": "exact"},
            "geometric_complexity": {"method": "exact"},
            "sam_sharpness": {"method": "expansion"},
            "worst_case_sharpness": {},
        },
    ),
    Group(
        subsets=2,
        measures={"hessian_trace": {"sketch": 4, "probes": 8}, "hessian_top_eigenvalue": {}},
    ),
)


@dataclass
class Spread:
    """What subsets of one size say of one measure, as shares of its value on all data.

    Attributes:
        stated: Root of the mean squared standard error.
        true: Root of the mean squared deviation from the value on all data.
    """

    stated: float
    true: float

    @classmethod
    def of(cls, found: list[Estimate], truth: Estimate) -> Spread:
        """Compare estimates with the value on all data."""
        stated = math.sqrt(sum(e.stderr**2 for e in found) / len(found))
        true = math.sqrt(sum((e.value - truth.value) ** 2 for e in found) / len(found))
        return cls(stated / abs(truth.value), true / abs(truth.value))


def needed(spreads: Mapping[int, Spread]) -> str:
    """Return the smallest size from which on the true deviation is as small as wanted."""
    for size in spreads:
        if all(spread.true <= WANTED for other, spread in spreads.items() if other >= size):
            return str(size)
    return f"over {max(spreads)}"


def converge(model: nn.Module, data: Any, group: Group) -> list[list[str]]:
    """Return a row a measure: its value on all data, and stated and true deviation at each size."""
    truth = measure(model, data, group.measures)
    found: dict[int, list[Measurements]] = {
        size: [measure(model, data, group.measures, subset=size, seed=1 + seed) for seed in range(group.subsets)]
        for size in SIZES
    }
    rows = []
    for key in group.measures:
        spreads = {size: Spread.of([m[key] for m in many], truth[key]) for size, many in found.items()}
        cells = [f"{s.stated:.1%} / {s.true:.1%}" for s in spreads.values()]
        rows.append([f"`{key}`", f"{truth[key].value:.3g}", *cells, needed(spreads), str(group.subsets)])
    return rows


def main() -> None:
    """Print the table."""
    data = digits(1797, 8)
    model = trained("resnet8", data, epochs=5)
    rows = [row for group in GROUPS for row in converge(model, data, group)]
    header = ["measure", "all data", *map(str, SIZES), f"enough for {WANTED:.0%}", "subsets"]
    table(f"Deviation from all {len(data[1])} samples: stated / true", header, rows)
