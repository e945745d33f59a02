"""What a study says of published claims: a verdict on each prediction, at the end and under its controls."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sharpscope.analysis.results import StudyResults
from sharpscope.analysis.values import Values
from sharpscope.analysis.verdicts import CONDITIONS, END, LOSS, Judged
from sharpscope.analysis.verdicts.kinds import KINDS
from sharpscope.analysis.verdicts.studied import lacking
from sharpscope.spec import Claim


def judge(results: StudyResults) -> list[Judged]:
    """Return what a study says of each claim that it names."""
    values = Values(results)
    return [_judged(values, claim) for claim in results.claims]


def _judged(values: Values, claim: Claim) -> Judged:
    kinds = dict.fromkeys(one.kind for one in claim.predictions)
    by_kind = {kind: [one for one in claim.predictions if one.kind == kind] for kind in kinds}
    tests = [test for kind, of_kind in by_kind.items() for test in KINDS[kind](values, claim, of_kind)]
    return Judged(claim, tuple(tests), lacking(values, claim.predictions))


def rows_of(judged: Iterable[Judged]) -> list[dict[str, Any]]:
    """Return every test as a row of a table: what is claimed, what was found under each condition, and the verdict."""
    rows = []
    for one in judged:
        for test in one.tests:
            row: dict[str, Any] = {"claim": one.claim.name, "kind": test.kind, "quantity": test.quantity}
            row |= {"level_or_outcome": test.other, "reference": test.reference, "predicted": test.predicted}
            for condition in CONDITIONS:
                found = test.found.get(condition)
                for part in ("value", "low", "high", "n", "favor"):
                    row[f"{condition}_{part}"] = getattr(found, part) if found is not None else None
            scale = test.found[END].scale
            loss = test.found[LOSS].at if LOSS in test.found else ""
            row |= {"scale": scale, "matched_loss": loss, "seeds": test.seeds}
            rows.append({**row, "verdict": test.verdict, "note": test.note})
    return rows
