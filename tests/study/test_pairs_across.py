"""Pairs of runs of different levels: which there are, their scores, and that none is scored twice."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from sharpscope.analysis.ledger import load_ledger, load_results
from sharpscope.safety import SCORES
from sharpscope.store.across import across_levels
from sharpscope.store.folder import Store
from sharpscope.store.pairs import stored_pairs, update_pairs
from sharpscope.store.reading import Reading
from sharpscope.store.run_folder import RunFolder

from .conftest import perform_all

THREE = {
    "regimes": ["baseline", "sam", "weight_decay"],
    "grid": {"seed": 3},
    "measures": ["parameter_norm"],
    "scores": ["prediction_disagreement", "error_consistency"],
    "training": {"epochs": 1, "batch_size": 32},
}


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "out")


def keys_of(store):
    """Level and seed of both runs of each pair, and their settings."""
    runs = {run.run_id: run for run in Reading.of(store).runs}
    pairs = [pair for _, pairs in across_levels(Reading.of(store)) for pair in pairs]
    return [
        tuple((runs[r].point["regime"], runs[r].point["seed"], runs[r].point["coordinates"]) for r in p) for p in pairs
    ]


def test_every_seed_meets_itself_and_the_next_in_every_other_level(plan_of, store):
    perform_all(plan_of(**THREE), store)
    found = [((a, s), (b, t)) for (a, s, _), (b, t, _) in keys_of(store)]
    expected = {
        ((a, s), (b, t))
        for a, b in itertools.combinations(THREE["regimes"], 2)
        for s in range(3)
        for t in (s, (s + 1) % 3)
    }
    assert set(found) == expected
    assert len(found) == len(expected) == 3 * 2 * 3


def test_their_scores_are_those_of_the_predictions(plan_of, store):
    perform_all(plan_of(**THREE), store)
    before = load_ledger(store.path)
    assert update_pairs(store).notes == []
    found = load_results(store.path).pairs_across
    assert len(found) == 18
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


def test_none_is_scored_twice_and_none_where_no_score_of_pairs_is_asked_for(plan_of, store, monkeypatch):
    perform_all(plan_of(**THREE), store)
    update_pairs(store)
    assert len(stored_pairs(store)) == 2 * (9 + 18)
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
