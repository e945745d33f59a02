"""What the analysis is given: the facts of every column and the tables of a study."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pandas as pd

from sharpscope.spec import REGIME, Claim, Factor, is_option, value_text
from sharpscope.store.snapshots import END
from sharpscope.task import CLASSIFICATION, Task

RUN_COLUMNS = ("run_id", "state", "regime", "seed")
MEASURES = ("sharpness", "complexity", "control")  # kinds of quantities that describe the minimum and its function
PAIR_COLUMNS = ("regime", "seed_a", "seed_b")
MISSING_COLUMNS = ["run_id", "regime", "seed", "missing", "reason"]

TableRow = dict[str, Any]  # one row of a table
# Arrays by their names of each run, and why those of other runs cannot be read.
Arrays = tuple[dict[str, dict[str, np.ndarray]], dict[str, str]]


def _no_arrays(stage: str, snapshot: str) -> Arrays:
    return {}, {}


def _no_details(name: str) -> dict[str, dict[str, Any]]:
    return {}


@dataclass(frozen=True)
class Quantity:
    """Facts of one column of the ledger.

    Attributes:
        name: The column: "relative_flatness", "test_accuracy", "ece", ...
        kind: What it describes: the sharpness of the minimum, the complexity of its function, a control of both, the
            function's worth, or the training itself.
        label: Its name in prose: "Relative flatness".
        better: Which direction is better, of a score; None where neither is.
        sharper_is: Which direction means a sharper minimum, or a more complex function; None where neither does.
        unit: "fraction", "nats", or empty when dimensionless.
        scale: Whether values are compared by their ratio or by their difference.
        symbol: LaTeX, without the dollars.
        summary: One line that says what it is.
        reference: Where it is defined.
        caveats: What a reader must know before believing it.
        unchanged_by: The changes of a model, as words, under which it does not change; None where that is not known.
        matched_loss: The train loss at whose first crossing it was found, as text; empty at the end of training.
        twin: The twin of the model that it was found of, such as ``calibrated``; empty of the model itself.
    """

    name: str
    kind: Literal["sharpness", "complexity", "control", "score", "training"]
    label: str
    better: Literal["higher", "lower"] | None = None
    sharper_is: Literal["larger", "smaller"] | None = None
    unit: str = ""
    scale: Literal["ratio", "difference"] = "difference"
    symbol: str = ""
    summary: str = ""
    reference: str = ""
    caveats: tuple[str, ...] = ()
    unchanged_by: tuple[str, ...] | None = None
    matched_loss: str = ""
    twin: str = ""

    @property
    def short_label(self) -> str:
        """Its name where the matched loss is told: "Relative flatness" of "Relative flatness at train loss 0.1"."""
        return self.label.removesuffix(f" at train loss {self.matched_loss}")

    @property
    def base(self) -> str:
        """The column of the same thing at the end of training: "relative_flatness" of "relative_flatness@0.1"."""
        return self.name.removesuffix(f"@{self.matched_loss}")

    @property
    def orientation(self) -> int:
        """+1 if more of it is better or sharper, -1 if less of it is, 0 if it has no direction.

        How closely the training data were fitted has none: a regularizer that leaves more of the loss is not worse.
        """
        if self.kind == "training":
            return 0
        sharper = self.sharper_is if self.kind == "sharpness" else None
        return {"higher": 1, "larger": 1, "lower": -1, "smaller": -1}.get(self.better or sharper or "", 0)

    @property
    def direction(self) -> str:
        """What more or less of it means: "larger is sharper"; empty where it means nothing."""
        if self.better and self.kind != "training":
            return f"{self.better} is better"
        if self.sharper_is:
            return f"{self.sharper_is} is {'sharper' if self.kind == 'sharpness' else 'more complex'}"
        return ""

    def verdict(self, effect: float) -> str:
        """Return what an effect of this sign means: better, worse, sharper, flatter, higher, lower or equal."""
        if not effect:
            return "equal"
        if not self.orientation:
            return "higher" if effect > 0 else "lower"
        positive = effect * self.orientation > 0
        if self.better is not None:
            return "better" if positive else "worse"
        return "sharper" if positive else "flatter"


@dataclass(frozen=True)
class StudyResults:
    """All that a study found, as tables.

    Attributes:
        study: The study as run, defaults filled in.
        quantities: Facts of every measured column, in the order of display; keys are columns of the ledger.
        ledger: One row a run; a run that did not finish has NaN in its measured columns.
        pairs: One row an unordered pair of seeds of one cell, a column for each score of pairs.
        reliability: One row a run and bin of confidence: count, mean confidence, accuracy on the test set, and between
            which accuracies a calibrated model lies; see ``safety.diagram``.
        failures: The runs that did not finish, with their reasons.
        missing: What runs that did finish lack, a row for each measure or score, with the reason; of a score of pairs,
            a row for each pair.
        default_primary: Whether the primary family is the usual one, which a study has that declares none.
        first_primary: The primary family when the study first ran.
        provenance: Versions, platform, command and the like, for a reader who wants to repeat it.
        notes: What is wrong with the stored files, and scores of pairs that failed.
        damaged: Whether a stored file is not what was written.
        task: What was asked of the networks.
        claimed: The published statements that the study judges, as plain values.
        confidence: One row a run that has bins of confidence: its calibration error, that of a calibrated model, the
            share of sure predictions, and how its doubts are spread.
        pairs_across: One row a pair of runs of different levels, ``run_a`` and ``run_b``, a column for each score of
            pairs; see ``across_levels``.
        conditions: One row a run and case of a condition, and one without a condition: how well the run fares there;
            see ``conditions_table``.
        watched: Facts of what was measured along the trainings.
        read_arrays: Reads the arrays of a stage at a snapshot; see ``arrays``.
        beside: Another study that this one is set beside; None where it stands alone.
        details: Gives what is stored beside the values of a measure at the end of training, by run.
    """

    study: dict[str, Any]
    quantities: dict[str, Quantity]
    ledger: pd.DataFrame
    pairs: pd.DataFrame
    reliability: pd.DataFrame
    failures: pd.DataFrame
    provenance: dict[str, str]
    default_primary: bool = False
    first_primary: list[str] | None = None
    missing: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=MISSING_COLUMNS))
    notes: tuple[str, ...] = ()
    damaged: bool = False
    task: Task = CLASSIFICATION
    claimed: tuple[dict[str, Any], ...] = ()
    confidence: pd.DataFrame = field(default_factory=pd.DataFrame)
    pairs_across: pd.DataFrame = field(default_factory=pd.DataFrame)
    conditions: pd.DataFrame = field(default_factory=pd.DataFrame)
    watched: tuple[Quantity, ...] = ()
    read_arrays: Callable[[str, str], Arrays] = field(default=_no_arrays, repr=False)
    beside: StudyResults | None = field(default=None, repr=False)
    details: Callable[[str], dict[str, dict[str, Any]]] = field(default=_no_details, repr=False)

    def arrays(self, stage: str, snapshot: str = END) -> Arrays:
        """Return the arrays that a stage has stored of each run that is done.

        Args:
            stage: Its name.
            snapshot: ``end``, or a matched train loss, such as ``loss-0.1``.

        Returns:
            The arrays by run and name, and by run why others cannot be read; runs where the stage found none are in
            neither.
        """
        return self.read_arrays(stage, snapshot)

    @property
    def sound(self) -> bool:
        """Whether no run has failed, and no stored file that was looked at is damaged."""
        return not self.damaged and not {"failed", "damaged"} & set(self.failures["state"])

    @cached_property
    def claims(self) -> list[Claim]:
        """The published statements that the study judges."""
        return [Claim.model_validate(claim) for claim in self.claimed]

    @cached_property
    def factor(self) -> Factor:
        """What the study compares; its reference may have no run."""
        return Factor.of(self.study)

    @cached_property
    def levels(self) -> list[str]:
        """The levels of the factor that have runs, in the order of the study."""
        present = set(self.runs[self.factor.name])
        return [level for level in self.factor.levels if level in present]

    @property
    def reference(self) -> str:
        """The level that the others are compared with."""
        return self.factor.reference

    @cached_property
    def runs(self) -> pd.DataFrame:
        """The ledger as it is compared; see ``arranged``."""
        return self.arranged(self.ledger)

    @cached_property
    def pairs_compared(self) -> pd.DataFrame:
        """The pairs as they are compared; see ``arranged``."""
        return self.arranged(self.pairs)

    def arranged(self, table: pd.DataFrame) -> pd.DataFrame:
        """Return a table of runs, or of pairs of them, as they are compared.

        The column of the factor has its levels as text, and ``regime`` the setting of each regime, where regimes are
        not themselves the levels.
        """
        factor = self.factor
        rows = records(table[[c for c in table.columns if c == REGIME or c in self._varying]])
        columns = {factor.name: pd.Series([factor.level(row[REGIME], row) for row in rows], table.index, dtype=object)}
        if factor.name != REGIME:
            columns[REGIME] = table[REGIME].map(factor.settings)
        return table.assign(**columns)

    @cached_property
    def keys(self) -> list[str]:
        """Columns that vary besides factor and seed: they make groups, each analyzed on its own."""
        if self.factor.name == REGIME:
            return [key for key in self._varying if not is_option(key)]
        several = len(set(self.factor.settings.values())) > 1
        return [*([REGIME] if several else []), *(key for key in self._varying if key != self.factor.name)]

    @cached_property
    def _varying(self) -> list[str]:
        grid = self.study.get("grid", {})
        return [column for column in self.ledger.columns if column in grid and column not in RUN_COLUMNS]

    @cached_property
    def measured(self) -> list[str]:
        """Columns of the ledger that hold at least one number, in the order of display; of twins the primary ones."""
        primary = self.study.get("primary") or ()
        shown = [name for name, quantity in self.quantities.items() if not quantity.twin or name in primary]
        return [name for name in shown if name in self.ledger.columns and self.ledger[name].notna().any()]

    @cached_property
    def of_pairs(self) -> list[str]:
        """The measured columns that are scores of pairs of runs."""
        return [name for name in self.measured if name in self.pairs.columns]

    def unconverged(self, name: str) -> pd.Series:
        """Return, for each run, whether it has a value of the column that did not reach its precision."""
        column = f"{name}_converged"
        if column not in self.ledger.columns:
            return pd.Series(data=False, index=self.ledger.index)
        return self.ledger[name].notna() & ~self.ledger[column].fillna(value=True).astype(bool)

    def of_kind(self, kind: str, loss: str = "") -> list[str]:
        """Return the measured columns of one kind: at the end of training, or at a matched train loss."""
        return [name for name in self.at(loss) if self.quantities[name].kind == kind]

    def measures(self, loss: str = "") -> list[str]:
        """Return the measured columns that measures made, at the end of training or at a matched train loss."""
        return [name for name in self.at(loss) if self.quantities[name].kind in MEASURES]

    def at(self, loss: str) -> list[str]:
        """Return the measured columns at a matched train loss; those at the end of training for the empty loss."""
        return [name for name in self.measured if self.quantities[name].matched_loss == loss]

    @cached_property
    def losses(self) -> list[str]:
        """The matched train losses that some run has reached, in the order of the columns."""
        return list(dict.fromkeys(loss for name in self.measured if (loss := self.quantities[name].matched_loss)))

    @property
    def moments(self) -> list[str]:
        """The matched train losses and then, as an empty loss, the end: as a training comes by them."""
        return [*self.losses, ""]

    def across(self, name: str) -> dict[str, str]:
        """Return the measured columns of what ``name`` is at the end of training, by matched loss, as ``moments``."""
        columns = {self.quantities[c].matched_loss: c for c in self.measured if self.quantities[c].base == name}
        return {loss: columns[loss] for loss in self.moments if loss in columns}

    @cached_property
    def primary(self) -> list[str]:
        """The measured columns that the study declared as its primary family."""
        declared = set(self.study.get("primary", ()))
        return [name for name in self.measured if name in declared]

    @property
    def primary_changed(self) -> bool:
        """Whether the study once had another primary family, so that this one may have been chosen by its results."""
        return self.first_primary is not None and set(self.first_primary) != set(self.study["primary"])

    @cached_property
    def groups(self) -> list[tuple[dict[str, Any], pd.DataFrame]]:
        """Each combination of the keys with its runs, in the ledger's order."""
        return list(split(self.runs, self.keys))


def split(table: pd.DataFrame, keys: list[str]) -> Iterator[tuple[dict[str, Any], pd.DataFrame]]:
    """Yield each combination of the keys' values with its rows; the whole table when there are no keys."""
    if not keys:
        yield {}, table
        return
    for values, part in table.groupby(keys, sort=False, dropna=False):
        yield dict(zip(keys, _as_tuple(values), strict=True)), part


def _as_tuple(values: Any) -> tuple[Any, ...]:
    return values if isinstance(values, tuple) else (values,)


def select(table: pd.DataFrame, group: dict[str, Any]) -> pd.DataFrame:
    """Return the rows of a table that belong to a group; keys that the table lacks do not select."""
    for key, value in group.items():
        if key in table.columns:
            same = table[key].isna() if pd.isna(value) else table[key] == value
            table = table[same]
    return table


def describe_group(group: dict[str, Any]) -> str:
    """Return a group in words: "training.lr = 0.01, training.batch_size = 128"; empty for the only group."""
    return ", ".join(f"{key} = {value_text(value)}" for key, value in group.items())


def describe_moment(loss: str) -> str:
    """Return when something was measured, in words: "train loss 0.1", "the end of training" for the empty loss."""
    return f"train loss {loss}" if loss else "the end of training"


def records(table: pd.DataFrame) -> list[TableRow]:
    """Return the rows of a table as mappings."""
    return [{str(key): value for key, value in row.items()} for row in table.to_dict("records")]


def by(table: pd.DataFrame, column: str) -> dict[str, TableRow]:
    """Return the rows of a table by the value of a column in which each value is once."""
    return {row[column]: row for row in records(table)}


def nested(table: pd.DataFrame, outer: str, inner: str) -> dict[str, dict[str, TableRow]]:
    """Return the rows of a table by the values of two columns, of which each two are together once."""
    found: dict[str, dict[str, TableRow]] = {}
    for row in records(table):
        found.setdefault(row[outer], {})[row[inner]] = row
    return found
