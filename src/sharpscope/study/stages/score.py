"""Scores of the predictions of one run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sharpscope.errors import FAULTS
from sharpscope.safety import SCORES
from sharpscope.safety.registry import Chosen
from sharpscope.spec import Run
from sharpscope.store.snapshots import END
from sharpscope.store.wanted import Stamp
from sharpscope.study.facts import described
from sharpscope.study.stage import STAGES, Column, Found, Stage
from sharpscope.study.timing import Timing
from sharpscope.study.wishes import Wish, Wishes
from sharpscope.study.work import Work


@STAGES.register("scores")
class Scoring(Stage):
    """Generalization, calibration and robustness at the end of the training."""

    needs = "predictions"

    def wanted(self, wishes: Wishes, snapshot: str) -> dict[str, Stamp]:
        """Return all scores, at the end."""
        wanted = wishes.scores if snapshot == END else {}
        return {key: score.stamp("score") for key, score in wanted.items()}

    def columns(self, wishes: Wishes, snapshot: str) -> list[Column]:
        """Return one column a score."""
        wanted = wishes.scores if snapshot == END else {}
        return score_columns(wanted, wishes)

    def do(self, work: Work, snapshot: str, missing: Mapping[str, Stamp]) -> Mapping[str, Found]:
        """Return the scores that can be had, and note why the others cannot."""
        predictions = work.predictions(snapshot)
        found = {}
        for key, stamp in missing.items():
            wanted = Wish.of(stamp, "score")
            try:
                found[key] = Found({"value": float(SCORES[wanted.name](predictions, **wanted.options))})
            except FAULTS as error:
                work.fail(snapshot, key, error)
        return found

    def seconds(self, timing: Timing, run: Run, left: Mapping[str, Mapping[str, Stamp]]) -> float:
        """Return nothing: beside all else it takes no time."""
        return 0.0


def score_columns(scores: Mapping[str, Wish], wishes: Wishes) -> list[Column]:
    """Return the columns of scores, of runs or of pairs; one that every ledger has already is told there."""
    return [
        Column(key, key, facts=None if key in wishes.task.twins else facts_of(key, wanted, wishes.corruptions))
        for key, wanted in scores.items()
    ]


def facts_of(key: str, wanted: Wish, corruptions: Iterable[str] = ()) -> dict[str, Any]:
    """Return what a report tells of a score."""
    facts = SCORES[wanted.name].facts
    found = {**described(SCORES, key, wanted), "kind": "score", "better": facts.better}
    if facts.chosen is not None and corruptions:
        found["summary"] += f"; here these are {_counted(facts.chosen, wanted, corruptions)}"
    return found


def _counted(chosen: Chosen, wanted: Wish, corruptions: Iterable[str]) -> str:
    """Return how many corruptions of each suite a score is taken over: a study may have several."""
    suites: dict[str, list[str]] = {}
    for name in corruptions:
        suites.setdefault(name.rpartition("/")[0], []).append(name)
    counts = {suite: len(chosen(wanted.options, names)) for suite, names in suites.items()}
    return " and ".join(f"{n} of {suite}" if suite else f"{n} generated ones" for suite, n in counts.items())
