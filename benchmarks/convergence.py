"""How many samples each measure needs: stated errors of subsets beside their true deviations from all data.

``python -m benchmarks convergence`` takes scikit-learn's digits. For MNIST, for some measures only, or in parts:
``python -m benchmarks.convergence --data-dir DIR --results FILE hessian_trace ggn_trace``. What stands in FILE is not
measured again, so a run that was stopped goes on where it ended, and the table is of all that is there.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import t as student
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.problems import digits, trained
from benchmarks.timing import machine, table
from sharpscope import Estimate, measure
from sharpscope.data import DATASETS, DataSource
from sharpscope.files import write_atomic

SIZES = (64, 128, 256, 512, 1024)
WANTED = 0.1
MNIST_SAMPLES = 4096


@dataclass(frozen=True)
class Group:
    """Measures that are repeated on as many subsets, by what they cost, and share their passes.

    Attributes:
        subsets: How many subsets of each size are drawn.
        measures: Options by key. The random numbers of estimators are the same on all subsets and on all data, so that
            small budgets do: what differs is the samples.
    """

    subsets: int
    measures: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


_TRACE = {"sketch": 4, "probes": 8}
_DENSITY = {"starts": 12, "steps": 2}  # its value, the trace, is the same after two steps and after many
GROUPS = (
    Group(
        subsets=20,
        measures={
            "relative_flatness": {},
            "fisher_rao_norm": {},
            "fisher_rao_norm_analytic": {},
            "gradient_norm": {},
            "margin": {},
        },
    ),
    Group(
        subsets=10,
        measures={
            "boundary_distance": {},
            "input_jacobian_norm": {"method": "exact"},
            "geometric_complexity": {"method": "exact"},
            "sam_sharpness": {"method": "expansion"},
            "worst_case_sharpness": {},
            "average_case_sharpness": {"draws": 10},
        },
    ),
    Group(
        subsets=4,
        measures={
            "pac_bayes_flatness of the accuracy": {"measure": "pac_bayes_flatness", "draws": 4},
            "pac_bayes_flatness of the loss": {"measure": "pac_bayes_flatness", "criterion": "loss", "draws": 4},
        },
    ),
    Group(subsets=4, measures={"hessian_trace": _TRACE, "hessian_frobenius_norm": _TRACE}),
    Group(subsets=4, measures={"hessian_top_eigenvalue": {}}),
    Group(subsets=4, measures={"hessian_density": _DENSITY}),
    Group(subsets=4, measures={"ggn_trace": _TRACE, "ggn_frobenius_norm": _TRACE}),
    Group(subsets=4, measures={"ggn_top_eigenvalue": {}}),
    Group(subsets=4, measures={"ggn_density": _DENSITY}),
)
# It has no value on all data to come near to, but one for each number of samples.
BY_NUMBER = "information_geometric_sharpness"
_FORMS = {"all parameters": "all", "head": "head"}
_NUMBERS, _DRAWS = (64, 128, 256, 512), 4
# Whose intervals are counted: the measure that few samples carry most, and the groups that its error is found from.
COVERED = "fisher_rao_norm"
_COVERAGE, _SUBSETS = {64: 8, 256: 16, 1024: 16}, 100


class Results:
    """Values and errors by what was measured on what, kept in a file if one is named.

    Args:
        path: The file; nothing is kept when None.
        model: The network.
        data: All samples.
        name: What the two are called.
    """

    def __init__(self, path: Path | None, model: nn.Module, data: tuple[Tensor, Tensor], name: str) -> None:
        self._path = path
        self._model = model
        self._data = data
        self._name = name
        self._known = json.loads(path.read_text()) if path is not None and path.exists() else {}

    def of(self, measures: Mapping[str, Mapping[str, Any]], *, subset: int | None = None, seed: int = 0) -> Any:
        """Return ``{key: [value, error of the subset]}``, measured if it is not known."""
        asked = json.dumps([self._name, measures, subset, seed])
        if asked not in self._known:
            print(f"{', '.join(measures)} on {subset or 'all'} samples, {seed}", file=sys.stderr, flush=True)
            # Another order of the data makes another subset, with the same random numbers of estimators.
            order = torch.from_numpy(np.random.default_rng(seed).permutation(len(self._data[1])))
            data = (self._data[0][order], self._data[1][order])
            found = measure(self._model, data, measures, subset=subset)
            self._known[asked] = {key: [e.value, _sampling_error(e)] for key, e in found.items()}
            if self._path is not None:
                write_atomic(self._path, json.dumps(self._known, indent=1).encode())
        return self._known[asked]


def _sampling_error(estimate: Estimate) -> float:
    error = estimate.details.get("sampling_stderr", 0.0)
    return math.inf if error is None else error


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
    def of(cls, found: Sequence[tuple[float, float]], truth: float) -> Spread:
        """Compare values and their errors with the value on all data."""
        stated = math.sqrt(sum(error**2 for _, error in found) / len(found))
        true = math.sqrt(sum((value - truth) ** 2 for value, _ in found) / len(found))
        return cls(stated / abs(truth), true / abs(truth))


def needed(spreads: Mapping[int, Spread]) -> str:
    """Return the smallest size from which on the true deviation is as small as wanted."""
    for size in spreads:
        if all(spread.true <= WANTED for other, spread in spreads.items() if other >= size):
            return f"{size:,}"
    return f"over {max(spreads):,}"


def converge(results: Results, group: Group) -> list[list[str]]:
    """Return a row a measure: its value on all data, and stated and true deviation at each size."""
    truth = results.of(group.measures)
    found = {
        size: [results.of(group.measures, subset=size, seed=1 + k) for k in range(group.subsets)] for size in SIZES
    }
    rows = []
    for key in group.measures:
        value, _ = truth[key]
        spreads = {size: Spread.of([m[key] for m in many], value) for size, many in found.items()}
        cells = [f"{s.stated:.1%} / {s.true:.1%}" for s in spreads.values()]
        name, *rest = key.split(" ", 1)
        label = " ".join([f"`{name}`", *rest])
        shown = f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
        rows.append([label, shown, *cells, needed(spreads), str(group.subsets)])
    return rows


def by_number(results: Results) -> list[list[str]]:
    """Return a row for each form of information geometric sharpness: its mean and range by the number of samples."""
    rows = []
    for label, parameters in _FORMS.items():
        cells = []
        for number in _NUMBERS:
            asked = {label: {"measure": BY_NUMBER, "samples": number, "parameters": parameters}}
            values = [results.of(asked, seed=1 + k)[label][0] for k in range(_DRAWS)]
            cells.append(f"{np.mean(values):.3g} ({min(values):.3g} to {max(values):.3g})")
        rows.append([label, *cells])
    return rows


def coverage(results: Results) -> list[str]:
    """Return the share of intervals of 95% that contain the value on all data, at each size."""
    asked: dict[str, Mapping[str, Any]] = {COVERED: {}}
    truth, _ = results.of(asked)[COVERED]
    cells = []
    for size, groups in _COVERAGE.items():
        quantile = student.ppf(0.975, groups - 1)
        found = [results.of(asked, subset=size, seed=1 + k)[COVERED] for k in range(_SUBSETS)]
        cells.append(f"{np.mean([abs(value - truth) <= quantile * error for value, error in found]):.0%}")
    return cells


def problem(data_dir: Path | None) -> tuple[str, tuple[Tensor, Tensor]]:
    """Return what the data are called, and images with their classes: MNIST where it is, else digits."""
    if data_dir is None:
        return "digits", digits(1797, 8)
    mnist = DATASETS["mnist"](DataSource(data_dir, download=False), train_size=MNIST_SAMPLES)
    return "MNIST", (F.avg_pool2d(mnist.normalize(mnist.train_inputs), 2), mnist.train_targets)


def main(arguments: Sequence[str] = ()) -> None:
    """Print the tables."""
    groups = {key.split()[0]: group for group in GROUPS for key in group.measures}
    parser = argparse.ArgumentParser(prog="python -m benchmarks.convergence", description="Samples a measure needs.")
    parser.add_argument("measures", nargs="*", help="only these, and those that share their passes")
    parser.add_argument("--data-dir", type=Path, help="where the files of MNIST are; digits of scikit-learn without it")
    parser.add_argument("--results", type=Path, help="a JSON file that keeps what was measured")
    given = parser.parse_args(arguments)
    wanted = given.measures or [*groups, BY_NUMBER]
    if unknown := set(wanted) - {*groups, BY_NUMBER}:
        parser.error(f"not among the measures of this benchmark: {', '.join(sorted(unknown))}")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    name, data = problem(given.data_dir)
    model = trained("resnet8", data, epochs=5, width=8)
    with torch.no_grad():
        outputs = model(data[0])
    loss, accuracy = float(F.cross_entropy(outputs, data[1])), float((outputs.argmax(1) == data[1]).float().mean())
    results = Results(given.results, model, data, name)
    rows = [row for group in GROUPS if any(groups.get(w) is group for w in wanted) for row in converge(results, group)]
    print(f"\n{machine()}; {name}, {len(data[1])} samples, train loss {loss:.3g}, accuracy {accuracy:.1%}")
    if rows:
        header = ["measure", "all data", *(f"{size:,}" for size in SIZES), f"enough for {WANTED:.0%}", "subsets"]
        table("Deviation from all samples: stated / true", header, rows)
    if BY_NUMBER in wanted:
        title = f"{BY_NUMBER} by the number of samples: mean and range of {_DRAWS} draws"
        table(title, ["gradients of", *map(str, _NUMBERS)], by_number(results))
    if COVERED in wanted:
        title = f"Intervals of 95% that contain the value on all samples, of {_SUBSETS}"
        table(title, ["measure", *(f"{size:,}" for size in _COVERAGE)], [[COVERED, *coverage(results)]])
    torch.set_num_threads(threads)


if __name__ == "__main__":
    main(sys.argv[1:])
