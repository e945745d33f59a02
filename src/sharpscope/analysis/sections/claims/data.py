"""Verdicts on published claims as the page shows them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from sharpscope.analysis import numbers
from sharpscope.analysis.results import StudyResults
from sharpscope.analysis.verdicts import (
    CANNOT_TELL,
    CONDITIONS,
    CONFIDENCE,
    CONTRADICTED,
    CONTRADICTED_AT_END,
    CONTRADICTED_IN_PART,
    HOLDS,
    IN_PART,
    LOSS,
    MOST_SEEDS,
    ONLY_AT_END,
    ONLY_AT_END_IN_PART,
    UNCONTROLLED,
    UNCONTROLLED_IN_PART,
    Finding,
    Judged,
    TestedPrediction,
)
from sharpscope.analysis.verdicts.kinds import KINDS

# How each verdict is marked: a word for the style sheet.
_TONES = {
    HOLDS: "for",
    UNCONTROLLED: "partly",
    ONLY_AT_END: "partly",
    IN_PART: "partly",
    UNCONTROLLED_IN_PART: "partly",
    ONLY_AT_END_IN_PART: "partly",
    CANNOT_TELL: "open",
    CONTRADICTED_AT_END: "partly",
    CONTRADICTED_IN_PART: "against",
    CONTRADICTED: "against",
}


def cards(results: StudyResults, judged: Iterable[Judged]) -> list[dict[str, Any]]:
    """Return one card a claim: its words, the verdict, how that came about, and every test."""
    return [_card(results, one) for one in judged]


def _card(results: StudyResults, one: Judged) -> dict[str, Any]:
    made = [name for name in CONDITIONS if any(name in test.found for test in one.tests)]
    return {
        "claim": one.claim,
        "verdict": one.verdict,
        "tone": _TONES[one.verdict],
        "sentence": sentence(results, one),
        "conditions": [f"at {CONDITIONS[name]}" for name in made],
        "of_what": _header(results, one),
        "rows": [
            {
                "quantity": results.quantities[test.quantity].label,
                "other": test.told,
                "note": test.note,
                "found": [_cell(test.found.get(name)) for name in made],
                "verdict": test.verdict,
                "tone": _TONES[test.verdict],
                "seeds": seeds(test),
            }
            for test in one.tests
        ],
    }


def _header(results: StudyResults, one: Judged) -> str:
    """Return what stands above the predictions: what they are of, where they are of one kind."""
    headings = {KINDS[test.kind].facts.heading or results.factor.title for test in one.tests}
    return headings.pop() if len(headings) == 1 else "Prediction"


def _cell(found: Finding | None) -> dict[str, Any]:
    if found is None:
        return {"text": "", "favor": 0, "at": ""}
    return {"text": text_of(found), "favor": found.favor, "at": f"at {found.at}" if found.at else ""}


def text_of(found: Finding) -> str:
    """Return what was found, with its interval."""
    if found.scale == "size":
        return numbers.with_interval(found.value, found.low, found.high)
    if found.scale == "correlation":
        return numbers.with_interval(found.value, found.low, found.high, sign=True)
    if found.scale == "share":
        ends = (numbers.fixed(100 * end, 0, sign=True) for end in (found.value, found.low, found.high))
        return "{} [{}, {}] points".format(*ends)
    return numbers.change(found.scale, found.value, found.low, found.high)


def seeds(test: TestedPrediction) -> str:
    """Return how many seeds it would take to tell, in words; empty where the study can tell, or nothing is known."""
    if test.seeds is None:
        return ""
    return f"more than {MOST_SEEDS} seeds" if math.isinf(test.seeds) else f"about {int(test.seeds)} seeds"


def sentence(results: StudyResults, one: Judged) -> str:
    """Return how a verdict came about: how many of the tests say what, and what the study could not test."""
    total = len(one.tests)
    parts = []
    if not total:
        parts = ["The study does not have the levels that it takes to judge it."]
    elif total > 1 and len(one.counts) > 1:
        listed = [f"{verdict} for {count}" for verdict, count in one.counts.items()]
        parts = [f"Of {total} tests it {', '.join(listed)}."]
    elif total > 1:
        none = one.verdict == CANNOT_TELL
        parts = [f"None of its {total} tests can tell." if none else f"All {total} of its tests say so."]
    if one.untested and total:
        parts.append(f"Not in the study: {', '.join(one.untested)}.")
    lacking = [
        CONDITIONS[name]
        for name in (LOSS, CONFIDENCE)
        if any(name in (*test.controls, test.stated) for test in one.tests)
        and not any(name in test.found for test in one.tests)
    ]
    if lacking:
        parts.append(f"The study has nothing of it at {' or at '.join(lacking)}.")
    unable = [CONDITIONS[name] for name in CONDITIONS if any(name in test.unable for test in one.tests)]
    if unable:
        parts.append(f"What too few seeds have at {' or at '.join(unable)} for a test, is not judged by that.")
    return " ".join(parts)
