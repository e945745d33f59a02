"""Scores of the predictions of one run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from sharpscope.data.conditions.applying import facts_of as facts_of_condition
from sharpscope.errors import FAULTS
from sharpscope.safety import SCORES
from sharpscope.spec import Run
from sharpscope.store.record import BY_CONDITION
from sharpscope.store.snapshots import END, base_of, twin_of
from sharpscope.store.wanted import CONDITIONS, READS, Stamp
from sharpscope.study.work.facts import described
from sharpscope.study.work.outputs import passes_of_twin
from sharpscope.study.work.requested import RequestedValue, RequestedValues
from sharpscope.study.work.stage import STAGES, Column, Stage, StageResult
from sharpscope.study.work.timing import Timing
from sharpscope.study.work.work import Work


@STAGES.register("scores")
class ScoreStage(Stage):
    """Generalization, calibration and robustness at the end of the training."""

    needs = "predictions"
    stamps_conditions = True
    twins = True

    def wanted(self, requested: RequestedValues, snapshot: str) -> dict[str, Stamp]:
        """Return all scores, at the end; of its twin, those that another confidence changes."""
        return {key: score.stamp("score") for key, score in scores_at(snapshot, requested.scores).items()}

    def columns(self, requested: RequestedValues, snapshot: str) -> list[Column]:
        """Return one column a score."""
        return score_columns(scores_at(snapshot, requested.scores), requested)

    def do(self, work: Work, snapshot: str, missing: Mapping[str, Stamp]) -> Mapping[str, StageResult]:
        """Return the scores that can be had, and note why the others cannot."""
        asked = {key: RequestedValue.of(stamp, "score") for key, stamp in missing.items()}
        plain = work.readings(snapshot, under={name for wanted in asked.values() for name in wanted.reads})
        found = {}
        for key, wanted in asked.items():
            try:
                work.check_made(wanted.reads)
                held = "calibration" in SCORES[wanted.name].facts.needs
                readings = work.readings(snapshot, calibration=True, under=wanted.reads) if held else plain
                own = [reading.limited_to(wanted.reads) for reading in readings]
                values = [float(SCORES[wanted.name](reading, **wanted.options)) for reading in own]
                found[key] = StageResult({"value": sum(values) / len(values)})
            except FAULTS as error:
                work.fail(snapshot, key, error)
        return found

    def seconds(self, timing: Timing, run: Run, left: Mapping[str, Mapping[str, Stamp]]) -> float:
        """Return the time of evaluating twins anew under conditions, beyond what their table by condition needs."""
        dataset, passes = timing.dataset(run), 0
        for snapshot, keys in left.items():
            if twin_of(snapshot):
                read = {name for stamp in keys.values() for name in stamp.get(READS, {})}
                tabled = timing.plan.wanted.at(snapshot, BY_CONDITION).get(BY_CONDITION, {}).get(CONDITIONS, {})
                passes += passes_of_twin(dataset, read - tabled.keys())
        return timing.forward(run) * passes * len(dataset.test_inputs) if passes else 0.0


def scores_at(snapshot: str, scores: Mapping[str, RequestedValue]) -> dict[str, RequestedValue]:
    """Return which scores, of runs or of pairs, are wanted at a snapshot: at the end all, of twins those that differ.

    No temperature changes the scores of predicted classes. Pairs of twins are compared without conditions alone, since
    predictions of twins under these are not stored.
    """
    if base_of(snapshot) != END:
        return {}
    if not twin_of(snapshot):
        return dict(scores)
    facts = {key: SCORES[wanted.name].facts for key, wanted in scores.items()}
    same = {key for key, one in facts.items() if one.by_classes or (one.of_pairs and one.conditions)}
    return {key: wanted for key, wanted in scores.items() if key not in same}


def score_columns(scores: Mapping[str, RequestedValue], requested: RequestedValues) -> list[Column]:
    """Return the columns of scores, of runs or of pairs; one that every ledger has already is told there."""
    return [
        Column(key, key, facts=None if key in requested.task.aliases else facts_of(key, wanted))
        for key, wanted in scores.items()
    ]


def facts_of(key: str, wanted: RequestedValue) -> dict[str, Any]:
    """Return what a report tells of a score."""
    facts = SCORES[wanted.name].facts
    found = {**described(SCORES, key, wanted), "kind": "score", "better": facts.better}
    found["summary"] += _counted(name for name in wanted.reads if facts_of_condition(name).kind == "inputs")
    return found


def _counted(corruptions: Iterable[str]) -> str:
    """Return how many corruptions of each suite a score is taken over: a study may have several."""
    suites = Counter(name.rpartition("/")[0] for name in corruptions)
    told = [f"{n} of {suite}" if suite else f"{n} generated ones" for suite, n in suites.items()]
    return f"; here these are {' and '.join(told)}" if told else ""
