"""The registry of what judges predictions: a function for each kind, under the name of the kind."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sharpscope.analysis.values import Values
from sharpscope.analysis.verdicts.verdict import TestedPrediction
from sharpscope.registry import Registry
from sharpscope.spec import Claim


@dataclass(frozen=True)
class KindFacts:
    """What a kind of prediction declares.

    Attributes:
        heading: What stands in a report above what is predicted; empty for the name of the factor.
    """

    heading: str


# From the values of a study, a claim, and all of its predictions of one kind, to the tests of these.
Judge = Callable[[Values, Claim, Sequence[Any]], Iterator[TestedPrediction]]
KINDS: Registry[Judge] = Registry("kind of prediction", package="sharpscope.analysis.verdicts")
