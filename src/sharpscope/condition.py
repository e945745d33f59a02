"""Conditions: altered copies of what is evaluated. What is told of them needs no torch.

How a condition alters inputs, weights or data is in ``sharpscope.data.conditions.applying``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from sharpscope.errors import DataError

ConditionKind = Literal["inputs", "attack", "weights", "data"]

# What a condition alters, for a reader.
KINDS: dict[ConditionKind, str] = {
    "inputs": "the inputs of the test set",
    "attack": "the inputs of the test set, in a search against the model",
    "weights": "the weights of the model",
    "data": "the test set: other samples take its place",
}

# Of corruptions: from slight to severe.
SEVERITIES = (1, 2, 3, 4, 5)


@dataclass(frozen=True)
class ConditionFacts:
    """What a condition declares.

    Attributes:
        kind: What it alters: "inputs" (a corruption, generated or published; the same for all models), "attack" (inputs
            that are searched for against a model), "weights" (rounded, pruned), or "data" (other data).
        label: Its name in a report: "Gaussian noise".
        family: Conditions of one family do similar damage; of corruptions "noise", "blur", "weather" or "digital".
        severities: How strongly it alters, from slight to severe; each makes a case of its own.
        colored: Whether it alters colored images alone, of three channels; no others come under it.
        passes: How many forward passes a sample takes at a severity, for estimates of time.
        caveats: What it cannot alter, and other traps, a sentence each.
        differs: How it departs from the recipe of its reference; empty where it does not.
        reference: Where it is defined.
    """

    kind: ConditionKind
    label: str
    family: str = ""
    severities: tuple[int, ...] = SEVERITIES
    colored: bool = False
    passes: int = 1
    caveats: tuple[str, ...] = ()
    differs: str = ""
    reference: str = ""


@dataclass(frozen=True)
class Case:
    """One condition at one of its severities.

    Attributes:
        condition: The name of the condition; those of a published suite have its name before theirs:
            ``CIFAR-10-C/fog``.
        severity: One of its severities.
        kind: What the condition alters.
        family: That of the condition.
    """

    condition: str
    severity: int
    kind: ConditionKind = "inputs"
    family: str = ""

    def __str__(self) -> str:
        return f"{self.condition}-{self.severity}"


# What the names of other datasets as conditions begin with, before a colon.
OTHER_DATA = "data"


def other_data_name(data: str | Mapping[str, Any]) -> str:
    """Return the condition whose samples are those of another dataset.

    Args:
        data: Its name, or a mapping of its name and options.

    >>> other_data_name("mnist"), other_data_name({"name": "mnist"}), other_data_name({"name": "names", "seed": 1})
    ('data:mnist', 'data:mnist', 'data:{"name": "names", "seed": 1}')
    """
    written = {"name": data} if isinstance(data, str) else dict(data)
    if not isinstance(written.get("name"), str):
        raise DataError(f"other data are a dataset: its name, or its name with options, got {data!r}")
    return f"{OTHER_DATA}:{written['name'] if len(written) == 1 else json.dumps(written, sort_keys=True)}"


# (options of a score, conditions by name) -> the names of those that the score reads predictions under. Of each
# condition its ``kind`` and its ``family`` can be asked for. A ``DataError`` says that the conditions do not suit.
Chosen = Callable[[Mapping[str, Any], Mapping[str, ConditionFacts | Case]], list[str]]


def of_kind(kind: ConditionKind) -> Chosen:
    """Return the choice of all conditions of a kind.

    >>> offered = {"fog": ConditionFacts("inputs", "Fog"), "rounded": ConditionFacts("weights", "Rounded weights")}
    >>> of_kind("weights")({}, offered)
    ['rounded']
    """

    def choose(options: Mapping[str, Any], offered: Mapping[str, ConditionFacts | Case]) -> list[str]:
        found = [name for name, facts in offered.items() if facts.kind == kind]
        if not found:
            raise DataError(f"a condition of {kind} is needed, and there is none{_among(offered)}; leave the score out")
        return found

    return choose


def named(*names: str) -> Chosen:
    """Return the choice of the conditions of these names.

    >>> named("fog")({}, {"fog": ConditionFacts("inputs", "Fog"), "snow": ConditionFacts("inputs", "Snow")})
    ['fog']
    """

    def choose(options: Mapping[str, Any], offered: Mapping[str, ConditionFacts | Case]) -> list[str]:
        missing = [repr(name) for name in names if name not in offered]
        if missing:
            told = " and ".join(missing)
            raise DataError(f"the condition {told} is needed, and is not there{_among(offered)}; leave the score out")
        return list(names)

    return choose


def _among(names: Mapping[str, object]) -> str:
    return f" among {', '.join(names)}" if names else ""
