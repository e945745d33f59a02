"""The columns of the ledger: their names, and the facts that a report tells of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sharpscope.curvature.measure import MEASURES
from sharpscope.errors import SpecError, suggest
from sharpscope.safety import SCORES
from sharpscope.spec import Point, Study
from sharpscope.study.record import SCHEMA, Wish, Wishes

RESERVED = ("run_id", "state", "regime", "seed")
FIXED = {
    "train_loss": ("training", "Train loss", "lower", "nats", "Mean cross-entropy on the clean training set"),
    "test_loss": ("score", "Test loss", "lower", "nats", "Mean cross-entropy on the test set"),
    "train_accuracy": ("training", "Train accuracy", "higher", "fraction", "Accuracy on the clean training set"),
    "test_accuracy": ("score", "Test accuracy", "higher", "fraction", "Accuracy on the test set"),
}
# Scores that every ledger has under another name already; a report tells them once.
TWINS = {"accuracy": "test_accuracy"}
PRIMARY = ("relative_flatness", "fisher_rao_norm", "test_accuracy", "ece", "corruption_accuracy")


def check_columns(wishes: Wishes) -> None:
    """See that every key makes a column of its own.

    Raises:
        SpecError: If a key is taken.
    """
    taken = dict.fromkeys((*RESERVED, *FIXED), "a column that every ledger has")
    for kind, keys in (("measure", wishes.measures), ("score", wishes.scores | wishes.pair_scores)):
        for key in keys:
            for column in (key, f"{key}_stderr") if kind == "measure" else (key,):
                if column in taken:
                    message = f"'{key}' cannot be the key of a {kind}: '{column}' is {taken[column]}"
                    raise SpecError(message, (f"{kind}s", key))
                taken[column] = f"a column of the {kind} '{key}'"


def primary_of(declared: Sequence[str] | None, wishes: Wishes) -> tuple[str, ...]:
    """Return the primary family: as declared, or the usual one as far as it is measured.

    Raises:
        SpecError: If a declared quantity is not a column of the ledger.
    """
    known = [*FIXED, *wishes.measures, *wishes.scores, *wishes.pair_scores]
    if declared is None:
        return tuple(name for name in PRIMARY if name in known)
    family: list[str] = []
    for index, written in enumerate(declared):
        name = TWINS.get(written, written)
        if name not in known:
            message = f"the primary quantity '{name}' is not measured in this study{suggest(name, known)}"
            raise SpecError(message, ("primary", index))
        if name in family:
            raise SpecError(f"the primary quantity '{name}' is listed twice", ("primary", index))
        family.append(name)
    return tuple(family)


def catalog_of(study: Study, points: Iterable[Point], wishes: Wishes) -> dict[str, Any]:
    """Return the content of ``catalog.json``."""
    quantities = [
        {"name": name, "kind": kind, "label": label, "better": better, "unit": unit, "summary": summary}
        for name, (kind, label, better, unit, summary) in FIXED.items()
    ]
    quantities += [_measure(key, wanted) for key, wanted in wishes.measures.items()]
    scores = {key: w for key, w in (wishes.scores | wishes.pair_scores).items() if key not in TWINS}
    quantities += [_score(key, wanted) for key, wanted in scores.items()]
    grid = [
        {
            "run_id": point.run.id,
            "regime": point.run.regime.label,
            "seed": point.run.seed,
            "coordinates": point.coordinates,
        }
        for point in points
    ]
    return {
        "schema": SCHEMA,
        "varying": study.varying,
        "training": list(FIXED),
        "measures": {key: wanted.stamp("measure") for key, wanted in wishes.measures.items()},
        "scores": {key: wanted.stamp("score") for key, wanted in wishes.scores.items()},
        "pair_scores": {key: wanted.stamp("score") for key, wanted in wishes.pair_scores.items()},
        "quantities": quantities,
        "grid": grid,
    }


def _measure(key: str, wanted: Wish) -> dict[str, Any]:
    member = MEASURES[wanted.name]
    facts = member.facts
    return {
        "name": key,
        "kind": "measure",
        "label": _label(facts.label, key, wanted),
        "sharper_is": facts.sharper_is,
        "unit": facts.unit,
        "symbol": facts.symbol,
        "summary": member.summary,
        "reference": facts.reference,
        "caveats": list(facts.caveats),
    }


def _score(key: str, wanted: Wish) -> dict[str, Any]:
    member = SCORES[wanted.name]
    facts = member.facts
    return {
        "name": key,
        "kind": "score",
        "label": _label(facts.label, key, wanted),
        "better": facts.better,
        "unit": facts.unit,
        "summary": member.summary,
        "reference": facts.reference,
    }


def _label(label: str, key: str, wanted: Wish) -> str:
    """Tell a measure or score that stands in the study under a key of its own from the plain one."""
    return label if key == wanted.name else f"{label} ({key})"
