"""What every registered score must do."""

import numpy as np
import pytest

from sharpscope.safety import SCORES, Corrupted, Predictions, ScoreFacts, Split

CONDITIONS = ("blur-1", "blur-2", "noise-1")


def predictions_of(seed, n_test=120, scale=1.0):
    """A run; runs of other seeds share its targets but not its outputs."""
    fixed, rng = np.random.default_rng(99), np.random.default_rng(seed)
    train_targets, test_targets = fixed.integers(0, 5, 80), fixed.integers(0, 5, n_test)
    splits = [
        Split((scale * (rng.normal(size=(len(t), 5)) + np.eye(5)[t])).astype(np.float32), t)
        for t in (train_targets, test_targets)
    ]
    predicted = rng.integers(0, 5, (3, n_test))
    return Predictions(*splits, Corrupted(CONDITIONS, predicted, rng.random((3, n_test)).astype(np.float16)))


def reordered(predictions):
    rng = np.random.default_rng(7)
    train, test = (rng.permutation(len(s.targets)) for s in (predictions.train, predictions.test))
    corrupted = predictions.corrupted
    conditions = np.array([2, 0, 1])
    return Predictions(
        Split(predictions.train.logits[train], predictions.train.targets[train]),
        Split(predictions.test.logits[test], predictions.test.targets[test]),
        Corrupted(
            tuple(corrupted.conditions[i] for i in conditions),
            corrupted.predicted[conditions][:, test],
            corrupted.confidence[conditions][:, test],
        ),
    )


def value(entry, *, change=lambda predictions: predictions, **kind):
    runs = [predictions_of(seed, **kind) for seed in range(2 if entry.facts.of_pairs else 1)]
    return entry(*map(change, runs))


@pytest.fixture(params=list(SCORES))
def entry(request):
    return SCORES[request.param]


def test_declares_itself(entry):
    facts = entry.facts
    assert isinstance(facts, ScoreFacts)
    assert facts.label
    assert facts.better in {"higher", "lower"}
    assert facts.bounds[0] < facts.bounds[1]
    assert set(facts.needs) <= {"train", "test", "corrupted"}
    assert facts.needs
    assert entry.summary
    assert set(entry.defaults) == set(entry.complete({}))


@pytest.mark.parametrize("scale", [0.0, 0.1, 1.0, 30.0, 1e4])
@pytest.mark.parametrize("n_test", [1, 120])
def test_is_a_float_within_its_bounds(entry, scale, n_test):
    score = value(entry, scale=scale, n_test=n_test)
    assert type(score) is float
    low, high = entry.facts.bounds
    assert low <= score <= high


def test_does_not_depend_on_the_order_of_samples_and_conditions(entry):
    assert value(entry, change=reordered) == pytest.approx(value(entry), rel=1e-12, abs=1e-15)


def test_reads_only_what_it_declares(entry):
    def stripped(predictions):
        one = Split(np.zeros((1, 5)), np.zeros(1, dtype=int))
        needs = entry.facts.needs
        return Predictions(
            predictions.train if "train" in needs else one,
            predictions.test if {"test", "corrupted"} & set(needs) else one,
            predictions.corrupted if "corrupted" in needs else None,
        )

    assert value(entry, change=stripped) == value(entry)


def test_leaves_the_predictions_as_they_were(entry):
    before = predictions_of(0).to_arrays()

    def kept(predictions):
        runs.append(predictions)
        return predictions

    runs = []
    value(entry, change=kept)
    assert all((runs[0].to_arrays()[name] == array).all() for name, array in before.items())
