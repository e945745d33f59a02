"""The predictions of runs that are compared in pairs, and of twins of these, read when a pair asks for them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from sharpscope.errors import DataError
from sharpscope.safety import SCORES, Predictions
from sharpscope.safety.registry import FEATURES, INITIAL_FEATURES
from sharpscope.safety.temperature import Fit, readings
from sharpscope.store.files import Damaged
from sharpscope.store.reading import StoredRun
from sharpscope.store.run_folder import PREDICTED, PREDICTIONS
from sharpscope.store.snapshots import END, twin_at
from sharpscope.store.temperatures import fit_of
from sharpscope.store.wanted import CONDITIONS, PREDICTING, READS, TWIN, UNDER, Wanted, answers

Definition = Mapping[str, Any]
# What tells whether a score of a run is the same as it was: text, or numbers of JSON.
Seal = str | list[Any]


class PairedPredictions:
    """The predictions of some runs.

    Args:
        runs: Such as those of a cell.
        notes: Gets those that cannot be read.
        wanted: What the study wants of each run.
        scores: Those of pairs that will be asked for.
    """

    def __init__(
        self, runs: Iterable[StoredRun], notes: list[str], wanted: Wanted, scores: Collection[Definition]
    ) -> None:
        self._notes = notes
        self._wanted = wanted
        facts = [SCORES[definition["score"]].facts for definition in scores]
        self._cases = any(one.conditions for one in facts)
        self._train = any("train" in one.needs for one in facts)
        self._read: dict[str, Predictions | None] = {}
        self._twins: dict[tuple[str, str], list[Predictions]] = {}
        self._features: dict[tuple[str, str], np.ndarray] = {}
        self._runs: dict[str, StoredRun] = {}
        for run in runs:
            if run.damage:
                self._note(run.run_id, run.damage)
            elif run.state == "done" and PREDICTIONS in run.record.files:
                self._runs[run.run_id] = run

    def seal(self, run_id: str, definition: Definition) -> Seal | None:
        """Return what determines the part of a run in a score beside its definition; None if there is no such part.

        Args:
            run_id: The run.
            definition: The stamp of the score.
        """
        if run_id not in self._runs:
            return None
        files = self._runs[run_id].record.files
        read = PREDICTED if self._cases else (PREDICTIONS,)
        own = "".join(files[name]["blake2b"] for name in read if name in files)
        features = [self._features_file(run_id, name) for name in SCORES[definition["score"]].facts.features]
        if features:
            return None if None in features else [own, *(files[name]["blake2b"] for name in features if name)]
        if not definition.get(TWIN):
            return own
        fit = self._fit(run_id, definition[TWIN])
        return [own, fit.temperature, fit.halves] if fit.converged else None

    def score(self, definition: Definition, a: str, b: str) -> float | None:
        """Return a score of two runs that have a seal; None where the predictions of one cannot be read.

        Of twins whose test set was halved several times over it is the mean over these.

        Raises:
            DataError: If a run has no predictions under a condition that the score reads, or the score fails.
        """
        first, second = self._readings(a, definition), self._readings(b, definition)
        if not first or not second:
            return None
        read = definition.get(READS, {})
        self._check_made(read, a, b)
        score = SCORES[definition["score"]]
        values = [
            float(score(one.limited_to(read), other.limited_to(read), **definition["options"]))
            for one, other in zip(first, second, strict=True)
        ]
        return sum(values) / len(values)

    def _readings(self, run_id: str, definition: Definition) -> list[Predictions]:
        """Return what a run, or its twin, says; nothing where that cannot be read."""
        predictions = self._of(run_id)
        if predictions is None:
            return []
        if features := SCORES[definition["score"]].facts.features:
            return self._with_features(run_id, predictions, features)
        twin = definition.get(TWIN)
        if not twin:
            return [predictions]
        if (run_id, twin) not in self._twins:
            # The larger part is not kept a second time where no score reads it.
            read = predictions if self._train else replace(predictions, train=predictions.test)
            self._twins[run_id, twin] = readings(read, self._fit(run_id, twin))
        return self._twins[run_id, twin]

    def _features_file(self, run_id: str, name: str) -> str | None:
        """Return the file that has features of a run; None if there is none that answers what is wanted."""
        record = self._runs[run_id].record
        entry, stamp = record.at(END, FEATURES).get(name), self._wanted.at(END, FEATURES).get(name)
        if stamp is None or not answers(entry, stamp) or entry is None:
            return None
        return next((file for file in entry.get("files", ()) if file in record.files), None)

    def _with_features(self, run_id: str, predictions: Predictions, names: tuple[str, ...]) -> list[Predictions]:
        run = self._runs[run_id]
        for name in names:
            if (run_id, name) not in self._features:
                file = self._features_file(run_id, name)
                try:
                    found = run.folder.read_arrays(str(file), run.record.files.get(str(file)))[name]
                except Damaged as error:
                    self._note(run_id, str(error))
                    return []
                self._features[run_id, name] = found
        after, before = (
            self._features[run_id, name] if name in names else None for name in (FEATURES, INITIAL_FEATURES)
        )
        return [replace(predictions, features=after, initial_features=before)]

    def _fit(self, run_id: str, twin: str) -> Fit:
        found = fit_of(self._runs[run_id].record, twin_at(END, twin), self._wanted)
        return Fit(float("nan"), converged=False) if found is None else found

    def _check_made(self, conditions: Mapping[str, int], *runs: str) -> None:
        """See that the runs have predictions under conditions: under fewer, a mean over them would be another one.

        Raises:
            DataError: If one has not.
        """
        for run_id in runs:
            entry = self._runs[run_id].record.at(END, PREDICTING).get(UNDER, {})
            lacking = dict(conditions).items() - entry.get(CONDITIONS, {}).items()
            if lacking:
                names = " and ".join(sorted(f"'{name}'" for name, _ in lacking))
                raise DataError(f"run {run_id} has no predictions under the condition {names}")

    def _of(self, run_id: str) -> Predictions | None:
        if run_id not in self._read:
            self._read[run_id] = None
            run = self._runs[run_id]
            try:
                self._read[run_id] = run.folder.peek_predictions(run.record, cases=self._cases)
            except Damaged as error:
                self._note(run_id, str(error))
        return self._read[run_id]

    def _note(self, run_id: str, error: str) -> None:
        note = f"run {run_id}: {error}; its pairs are left out"
        if note not in self._notes:
            self._notes.append(note)
