"""Pairs of runs of different levels: which there are, their scores, and that none is scored twice."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from sharpscope.analysis.ledger import load_ledger, load_results
from sharpscope.analysis.section import Evidence
from sharpscope.analysis.sections.consistency import consistency
from sharpscope.safety import SCORES
from sharpscope.safety.temperature import readings
from sharpscope.store.across import across_levels
from sharpscope.store.pairs import stored_pairs, update_pairs
from sharpscope.store.reading import Reading
from sharpscope.store.run_folder import RunFolder
from sharpscope.store.temperatures import fit_of
from sharpscope.store.wanted import Wanted

from .conftest import perform_all

THREE = {
    "regimes": ["baseline", "sam", "weight_decay"],
    "grid": {"seed": 3},
    "measures": ["parameter_norm"],
    "scores": ["prediction_disagreement", "error_consistency"],
    "training": {"epochs": 1, "batch_size": 32},
}


def keys_of(store):
    """Level and seed of both runs of each pair, and their settings."""
    runs = {run.run_id: run for run in Reading.of(store).runs}
    pairs = [pair for _, pairs in across_levels(Reading.of(store)) for pair in pairs]
    return [
        tuple((runs[r].point["regime"], runs[r].point["seed"], runs[r].point["coordinates"]) for r in p) for p in pairs
    ]


def test_every_seed_meets_itself_and_its_neighbors_in_every_other_level(plan_of, store):
    perform_all(plan_of(**THREE), store)
    found = [((a, s), (b, t)) for (a, s, _), (b, t, _) in keys_of(store)]
    expected = {
        ((a, s), (b, t))
        for a, b in itertools.combinations(THREE["regimes"], 2)
        for s in range(3)
        for t in (s, (s + 1) % 3, (s + 2) % 3)
    }
    assert set(found) == expected
    assert len(found) == len(expected) == 3 * 3 * 3


def test_their_scores_are_those_of_the_predictions(plan_of, store):
    perform_all(plan_of(**THREE), store)
    before = load_ledger(store.path)
    assert update_pairs(store).notes == []
    found = load_results(store.path).pairs_across
    assert len(found) == 27
    for row in found.to_dict("records"):
        first, second = (
            folder.read_predictions(folder.read_record())
            for folder in (store.run(row["run_a"]), store.run(row["run_b"]))
        )
        assert row["prediction_disagreement"] == np.mean(first.test.predicted != second.test.predicted)
        assert row["error_consistency"] == SCORES["error_consistency"](first, second)
    # What the ledger has of pairs is of one cell alone.
    assert load_ledger(store.path).equals(before)
    assert len(load_results(store.path).pairs) == 3 * 3


@pytest.mark.parametrize(("key", "values", "pairs"), [("noise", [0.0, 0.3], 0), ("train_size", [60, 80], 4)])
def test_levels_that_are_tested_on_other_samples_are_not_compared(key, values, pairs, plan_of, store):
    # Circles of another noise have the same targets, and other points.
    name = "circles" if key == "noise" else "digits"
    study = {"compare": f"data.{key}", "grid": {"seed": 2, f"data.{key}": values}, "data": {"name": name}}
    perform_all(plan_of(**{**THREE, **study, "regimes": ["baseline"]}), store)
    runs = Reading.of(store).runs
    targets = [run.folder.read_predictions(run.record).test.targets for run in runs]
    assert all((found == targets[0]).all() for found in targets)
    assert len(keys_of(store)) == pairs
    assert update_pairs(store).notes == []
    results = load_results(store.path)
    assert len(results.pairs_across) == pairs
    assert len(results.pairs) == 2
    told = consistency(Evidence(results)).page
    assert told["other_data"] == (not pairs)
    assert bool(told["matrices"]) == bool(pairs)


def test_none_is_scored_twice_and_none_where_no_score_of_pairs_is_asked_for(plan_of, store, monkeypatch):
    perform_all(plan_of(**THREE), store)
    update_pairs(store)
    assert len(stored_pairs(store)) == 2 * (9 + 27)
    read = []
    monkeypatch.setattr(RunFolder, "peek_predictions", lambda self, *a, **k: read.append(self.run_id))
    update_pairs(store)
    assert read == []
    store.write_catalog(plan_of(**{**THREE, "scores": ["ece"]}).catalog)
    assert update_pairs(store).across == []
    assert read == []


def test_runs_of_other_settings_never_meet(plan_of, store):
    perform_all(plan_of(**{**THREE, "grid": {"seed": 2, "training.lr": [0.01, 0.1]}}), store)
    pairs = keys_of(store)
    assert all(a == b for (*_, a), (*_, b) in pairs)
    assert len(pairs) == 2 * 3 * 4


def test_levels_may_be_those_of_another_factor(plan_of, store):
    plan = plan_of(**{**THREE, "grid": {"seed": 2, "training.lr": [0.01, 0.1]}, "compare": "training.lr"})
    perform_all(plan, store)
    pairs = keys_of(store)
    assert all(a == b for (a, *_), (b, *_) in pairs)
    assert {(a["training.lr"], b["training.lr"]) for (*_, a), (*_, b) in pairs} == {(0.01, 0.1)}
    assert len(pairs) == 3 * 4


def test_one_seed_meets_itself_alone(plan_of, store):
    perform_all(plan_of(**{**THREE, "grid": {"seed": 1}}), store)
    assert [(s, t) for (_, s, _), (_, t, _) in keys_of(store)] == [(0, 0)] * 3


def test_a_run_that_cannot_be_read_is_told_once(plan_of, store):
    perform_all(plan_of(**THREE), store)
    run = Reading.of(store).runs[0]
    (run.folder.path / "predictions.safetensors").write_bytes(b"torn")
    found = update_pairs(store)
    assert [note for note in found.notes if run.run_id in note] == found.notes
    assert len(found.notes) == 1
    assert not [pair for pair in found.across if run.run_id in pair[1:3]]


TWINS = {**THREE, "twins": ["calibrated"], "training": {"epochs": 6, "batch_size": 16, "lr": 0.2}}
PAIRED = ["js_divergence", "activation_distance", "symmetric_kl", "brier_variance", "error_consistency"]


@pytest.mark.parametrize("calibration_size", [None, 0])
def test_twins_are_compared_at_the_temperatures_of_both(calibration_size, plan_of, store):
    data = {"name": "digits", "train_size": 60, "calibration_size": calibration_size}
    perform_all(plan_of(**{**TWINS, "data": data, "regimes": ["baseline", "sam"], "scores": PAIRED}), store)
    update_pairs(store)
    results, reading = load_results(store.path), Reading.of(store)
    wanted = Wanted.from_catalog(reading.catalog)
    said = {}
    for run in reading.runs:
        fit = fit_of(run.record, "end~calibrated", wanted)
        assert len(fit.halves) == (5 if calibration_size == 0 else 0)
        said[run.run_id] = readings(run.folder.read_predictions(run.record), fit)
    for rows in (results.pairs_across, ran_of(results)):
        for row in rows.to_dict("records"):
            both = list(zip(said[row["run_a"]], said[row["run_b"]], strict=True))
            for name in PAIRED[:-1]:
                expected = np.mean([SCORES[name](*pair) for pair in both])
                assert row[f"{name}~calibrated"] == pytest.approx(expected, rel=1e-12)
                assert row[f"{name}~calibrated"] != pytest.approx(row[name], rel=1e-3)
    # What no temperature changes is told once.
    assert "error_consistency~calibrated" not in results.ledger.columns
    quantity = results.quantities["js_divergence~calibrated"]
    assert (quantity.label, quantity.twin) == ("Jensen-Shannon divergence, calibrated", "calibrated")
    ledger = load_ledger(store.path)
    one = ledger.iloc[0]
    own = results.pairs.query("regime == @one.regime and (seed_a == @one.seed or seed_b == @one.seed)")
    assert one["js_divergence~calibrated"] == pytest.approx(own["js_divergence~calibrated"].mean())


def ran_of(results):
    """The pairs of one level with the runs that they are of."""
    ids = results.ledger.set_index(["regime", "seed"])["run_id"]
    runs = {
        f"run_{x}": [ids[row.regime, getattr(row, f"seed_{x}")] for row in results.pairs.itertuples()] for x in "ab"
    }
    return results.pairs.assign(**runs)


def test_a_pair_whose_twin_has_no_temperature_is_left_out_and_a_new_temperature_scores_it_anew(
    plan_of, store, monkeypatch
):
    study = {**TWINS, "regimes": ["baseline"], "scores": ["js_divergence"]}
    perform_all(plan_of(**study), store)
    assert len(update_pairs(store).rows) == 2 * 3
    before = {pair[:3]: pair.value for pair in stored_pairs(store)}
    (run, *_) = Reading.of(store).runs
    record = run.record
    entry = record.at("end~calibrated", "temperature")["temperature"]
    entry["values"]["temperature"] *= 2
    run.folder.write_record(record)
    after = {pair[:3]: pair.value for pair in update_pairs(store).rows}
    changed = {key for key in before if before[key] != after[key]}
    assert changed == {key for key in before if "~" in key[0] and run.run_id in key[1:]}
    entry |= {"converged": False, "reached": False}
    run.folder.write_record(record)
    pairs = update_pairs(store)
    assert pairs.failed == pairs.notes == []
    assert {pair[:3] for pair in pairs.rows} == before.keys() - changed
    # One that is missing does not empty the others.
    ledger = load_ledger(store.path)
    assert ledger["js_divergence"].notna().all()
    assert ledger.set_index("run_id")["js_divergence~calibrated"].isna().to_dict() == {
        one.run_id: one.run_id == run.run_id for one in Reading.of(store).runs
    }
