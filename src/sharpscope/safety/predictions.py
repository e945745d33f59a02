"""The predictions of one run: all that scores may see of it."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Generic

import numpy as np

from sharpscope.condition import Case, Chosen
from sharpscope.errors import DataError
from sharpscope.safety.splits import SPLITS, RegressionSplit, Split, TopSplit

if TYPE_CHECKING:
    # That of Python itself has a default from 3.13 on.
    from typing_extensions import TypeVar

    S = TypeVar("S", bound="Split | RegressionSplit", default="Split")
else:
    from typing import TypeVar

    S = TypeVar("S")

CASES = "cases"
# Of predictions under corruptions as they were stored before there were conditions of other kinds.
_FORMER = "corrupted.conditions"


@dataclass(frozen=True)
class Predictions(Generic[S]):
    """What one trained model says about the clean training set and the test set, and what it says under conditions.

    Attributes:
        train: On the training set.
        test: On the test set.
        cases: In each case of each condition: a ``TopSplit`` of a classifier, a ``RegressionSplit`` of a model that
            predicts numbers.
        former: Whether they were stored with predictions under corruptions in the form of earlier versions, which is
            not read any more.
        calibration: On samples of the training pool that no model was trained on; None where there are none.
        features: What the head is given for some test samples, the same of all runs, ``[n, D]``; None where no score
            asks for them.
        initial_features: The same before the training.
    """

    train: S
    test: S
    cases: Mapping[Case, Any] = field(default_factory=dict)
    former: bool = False
    calibration: S | None = None
    features: np.ndarray | None = None
    initial_features: np.ndarray | None = None

    def basics(self) -> dict[str, float]:
        """Return what every ledger has of a run, by the names of its columns."""
        train, test = self.train.basics(), self.test.basics()
        return {f"{where}_{name}": found[name] for name in test for where, found in (("train", train), ("test", test))}

    def under(self, chosen: Chosen, **options: Any) -> list[Any]:
        """Return the splits under conditions, one for each case; see ``cases_under``."""
        return list(self.cases_under(chosen, **options).values())

    def cases_under(self, chosen: Chosen, **options: Any) -> dict[Case, Any]:
        """Return the splits under conditions by their cases.

        Args:
            chosen: Which conditions: ``of_kind("weights")``, ``named("fog")``, or the ``conditions`` of a score.
            options: Of the score, if ``chosen`` reads them.

        Raises:
            DataError: If there are no such predictions.
        """
        if self.former:
            raise DataError(
                "these predictions are those of an earlier version, which lack probabilities under corruptions; run "
                "the study again, which makes them anew from the weights"
            )
        wanted = chosen(options, {case.condition: case for case in self.cases})
        return {case: split for case, split in self.cases.items() if case.condition in wanted}

    def limited_to(self, conditions: Collection[str]) -> Predictions[S]:
        """Return the predictions without those under other conditions."""
        return replace(self, cases={case: split for case, split in self.cases.items() if case.condition in conditions})

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return the clean predictions as plain arrays, fit to be stored."""
        return _arrays("train", self.train) | _arrays("test", self.test)

    def cases_to_arrays(self) -> dict[str, np.ndarray]:
        """Return the predictions under conditions as plain arrays, with the targets of cases that have their own."""
        arrays: dict[str, np.ndarray] = {}
        for index, split in enumerate(self.cases.values()):
            found = _arrays(_name(index), split)
            if np.array_equal(split.targets, self.test.targets):
                del found[f"{_name(index)}.targets"]
            arrays |= found
        listed = json.dumps([asdict(case) for case in self.cases]).encode()
        return {**arrays, CASES: np.frombuffer(listed, dtype=np.uint8)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Predictions[Any]:
        """Return the predictions that ``to_arrays`` took apart; with the arrays of their cases, those too."""
        train, test = (_split(arrays, where, SPLITS.values()) for where in ("train", "test"))
        listed = json.loads(arrays[CASES].tobytes()) if CASES in arrays else []
        cases = {
            Case(**case): _split(arrays, _name(index), (TopSplit, RegressionSplit), test.targets)
            for index, case in enumerate(listed)
        }
        return cls(train, test, cases, former=_FORMER in arrays and CASES not in arrays)


def check_same_samples(first: Predictions[Any], second: Predictions[Any], score: str) -> None:
    """See that two runs were tested on the same samples.

    Raises:
        DataError: If they were not.
    """
    if not np.array_equal(first.test.targets, second.test.targets):
        raise DataError(
            f"{score} compares two runs on one test set, but their test targets differ; compare runs of the same data "
            "only"
        )


def _name(index: int) -> str:
    return f"case.{index}"


def _arrays(where: str, split: Any) -> dict[str, np.ndarray]:
    return {f"{where}.{what}": getattr(split, what) for what in (*split.stored, "targets")}


def _split(
    arrays: Mapping[str, np.ndarray], where: str, kinds: Collection[Any], targets: np.ndarray | None = None
) -> Any:
    """Return the split whose arrays are there; of the first kind, and so an error that tells what is missing, else."""
    kind = next((kind for kind in kinds if f"{where}.{kind.stored[0]}" in arrays), next(iter(kinds)))
    own = f"{where}.targets"
    found = targets if own not in arrays and targets is not None else arrays[own]
    return kind(*(arrays[f"{where}.{what}"] for what in kind.stored), found)
