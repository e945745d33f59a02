"""Measures of the minimum, on the training data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sharpscope.curvature.estimate import Estimate
from sharpscope.curvature.measure import MEASURES
from sharpscope.measurement import Measurements
from sharpscope.spec import Run
from sharpscope.store.documents import plain
from sharpscope.store.snapshots import base_of, twin_of
from sharpscope.store.wanted import Stamp, answers
from sharpscope.study.work.facts import described
from sharpscope.study.work.measuring import measure_clean
from sharpscope.study.work.requested import RequestedValue, RequestedValues
from sharpscope.study.work.stage import STAGES, Column, Stage, StageResult
from sharpscope.study.work.timing import SAMPLES, Timing, first_of
from sharpscope.study.work.work import Work

MEASURING = "measures"
# What an entry says of an estimate.
_FOUND = ("value", "stderr", "samples", "converged", "details")


@STAGES.register(MEASURING)
class MeasureStage(Stage):
    """Estimates of sharpness, complexity and their controls."""

    twins = True

    def wanted(self, requested: RequestedValues, snapshot: str) -> dict[str, Stamp]:
        """Return all measures, at every snapshot."""
        return {key: wanted.stamp("measure") for key, wanted in requested.measures.items()}

    def columns(self, requested: RequestedValues, snapshot: str) -> list[Column]:
        """Return of each measure its value, its standard error, and whether it can be relied on."""
        return [
            column
            for key, wanted in requested.measures.items()
            for column in (
                Column(key, key, facts=facts_of(key, wanted)),
                Column(key, key, ("stderr",), "_stderr"),
                Column(key, key, ("converged",), "_converged", "boolean"),
            )
        ]

    def do(self, work: Work, snapshot: str, missing: Mapping[str, Stamp]) -> Mapping[str, StageResult]:
        """Return the estimates that can be had, and note why the others cannot."""
        known = _known(work, snapshot, missing)
        missing = {key: stamp for key, stamp in missing.items() if key not in known}
        if not missing:
            return known
        requested = {key: RequestedValue.of(stamp, "measure") for key, stamp in missing.items()}
        kept = {key: wanted for key, wanted in requested.items() if _is_kept(wanted, work.dataset.outputs)}
        if kept and twin_of(snapshot) and base_of(snapshot) not in work.twin_memories:
            # Taken of the model itself, so that a twin has the same value where its model was not measured just now.
            _measured(work, base_of(snapshot), kept)
        found = _measured(work, snapshot, requested)
        for key, error in found.failed.items():
            work.fail(snapshot, key, error)
        return {**known, **{key: StageResult(_entry(estimate)) for key, estimate in found.items()}}

    def seconds(self, timing: Timing, run: Run, left: Mapping[str, Mapping[str, Stamp]]) -> float:
        """Return the time of what is left to measure, from a few samples."""
        outputs = timing.dataset(run).outputs
        return sum(seconds_of(timing, run, _anew(snapshot, keys, outputs)) for snapshot, keys in left.items())


def _measured(work: Work, snapshot: str, requested: Mapping[str, RequestedValue]) -> Measurements:
    init = dict(work.initial_model().named_parameters())
    model, memory = work.model(snapshot), work.twin_memory(snapshot)
    return measure_clean(model, work.dataset, requested, work.run.seed, init, work.device, twins=memory)


def _is_kept(wanted: RequestedValue, outputs: int) -> bool:
    """Return whether a measure keeps of a model with so many outputs what it needs of its twins."""
    keeps = MEASURES[wanted.name].facts.kept_for_twins
    return keeps is not None and wanted.subset is None and keeps(wanted.options, outputs)


def _known(work: Work, snapshot: str, missing: Mapping[str, Stamp]) -> dict[str, StageResult]:
    """Return what a twin has in common with the snapshot that it is of."""
    if not twin_of(snapshot):
        return {}
    base = work.record.at(base_of(snapshot), MEASURING)
    alike = {key: base[key] for key in missing if _is_same(missing[key]) and answers(base.get(key), missing[key])}
    return {key: StageResult({name: entry[name] for name in _FOUND}) for key, entry in alike.items()}


def _anew(snapshot: str, keys: Mapping[str, Stamp], outputs: int) -> Mapping[str, Stamp]:
    """Return what takes time at a snapshot: of a twin, what is not known from the model itself."""
    if not twin_of(snapshot):
        return keys
    return {
        key: stamp
        for key, stamp in keys.items()
        if not _is_same(stamp) and not _is_kept(RequestedValue.of(stamp, "measure"), outputs)
    }


def _is_same(stamp: Stamp) -> bool:
    return MEASURES[RequestedValue.of(stamp, "measure").name].facts.same_for_twins


def _entry(estimate: Estimate) -> dict[str, Any]:
    return {
        "value": float(estimate.value),
        "stderr": float(estimate.stderr),
        "samples": int(estimate.samples),
        "converged": bool(estimate.converged),
        "details": plain(dict(estimate.details)),
    }


def facts_of(key: str, wanted: RequestedValue) -> dict[str, Any]:
    """Return what a report tells of a measure."""
    facts = MEASURES[wanted.name].facts
    caveats = list(facts.caveats)
    if wanted.subset is not None:
        # It stands before the others: it is of this study, they are of the measure.
        caveats.insert(
            0,
            f"Taken on {wanted.subset:,} training samples at most, the same of every run; the standard error holds "
            "that of this choice.",
        )
    return {
        **described(MEASURES, key, wanted),
        "kind": facts.kind,
        "sharper_is": None if facts.kind == "control" else facts.sharper_is,
        "symbol": facts.symbol,
        "caveats": caveats,
        "unchanged_by": facts.unchanged_by(wanted.options),
    }


def seconds_of(timing: Timing, run: Run, keys: Mapping[str, Stamp]) -> float:
    """Return about how long it takes to measure a model once, by the stamps of the measures."""
    model = run.model.model_dump_json() + run.data.model_dump_json()
    return timing.once(f"measures {model} {sorted(keys)}", lambda: _timed(timing, run, keys))


def _timed(timing: Timing, run: Run, keys: Mapping[str, Stamp]) -> float:
    requested = {key: RequestedValue.of(stamp, "measure") for key, stamp in keys.items()}
    model, dataset = timing.model(run), timing.dataset(run)
    init, population = dict(model.named_parameters()), len(dataset.train_inputs)
    total = 0.0
    for subset in dict.fromkeys(wanted.subset for wanted in requested.values()):
        part = {key: replace(w, subset=None) for key, w in requested.items() if w.subset == subset}
        size = min(population, subset or population)

        def measured(samples: int, part: dict[str, RequestedValue] = part) -> None:
            measure_clean(model, first_of(dataset, samples), part, 0, init, timing.device)

        # A subset is measured a second time, group by group.
        total += timing.extrapolated(measured, size, SAMPLES) * (1 + (size < population))
    return total
