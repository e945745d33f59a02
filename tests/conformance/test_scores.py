"""What every registered score must do."""

import numpy as np
import pytest

from sharpscope.safety import SCORES, Corrupted, Predictions, RegressionSplit, ScoreFacts, Split
from sharpscope.task import TASKS

CONDITIONS = ("blur-1", "blur-2", "noise-1")


def numbers_of(seed, n_test=120, scale=1.0):
    """A run of regression, with three numbers a sample."""
    fixed, rng = np.random.default_rng(99), np.random.default_rng(seed)
    targets = [fixed.normal(size=(n, 3)).astype(np.float32) for n in (80, n_test)]
    outputs = [(t + scale * rng.normal(size=t.shape)).astype(np.float32) for t in targets]
    return Predictions(*map(RegressionSplit, outputs, targets))


def classes_of(seed, n_test=120, scale=1.0):
    """A run of classification, with corruptions; runs of other seeds share its targets but not its outputs."""
    fixed, rng = np.random.default_rng(99), np.random.default_rng(seed)
    train_targets, test_targets = fixed.integers(0, 5, 80), fixed.integers(0, 5, n_test)
    splits = [
        Split((scale * (rng.normal(size=(len(t), 5)) + np.eye(5)[t])).astype(np.float32), t)
        for t in (train_targets, test_targets)
    ]
    predicted = rng.integers(0, 5, (3, n_test))
    return Predictions(*splits, Corrupted(CONDITIONS, predicted, rng.random((3, n_test)).astype(np.float16)))


RUNS = {"classification": classes_of, "regression": numbers_of}
# R2 needs targets that vary.
LEAST = {"classification": 1, "regression": 2}


def chosen(split, samples):
    """Some samples of a split."""
    return type(split)(getattr(split, split.stored_as)[samples], split.targets[samples])


def reordered(predictions):
    rng = np.random.default_rng(7)
    train, test = (rng.permutation(len(s.targets)) for s in (predictions.train, predictions.test))
    corrupted = predictions.corrupted
    splits = chosen(predictions.train, train), chosen(predictions.test, test)
    if corrupted is None:
        return Predictions(*splits)
    conditions = np.array([2, 0, 1])
    return Predictions(
        *splits,
        Corrupted(
            tuple(corrupted.conditions[i] for i in conditions),
            corrupted.predicted[conditions][:, test],
            corrupted.confidence[conditions][:, test],
        ),
    )


def value(entry, task, *, change=lambda predictions: predictions, **kind):
    runs = [RUNS[task](seed, **kind) for seed in range(2 if entry.facts.of_pairs else 1)]
    return entry(*map(change, runs))


@pytest.fixture(params=list(SCORES))
def entry(request):
    return SCORES[request.param]


@pytest.fixture
def task(entry):
    return entry.facts.tasks[0]


def test_declares_itself(entry):
    facts = entry.facts
    assert isinstance(facts, ScoreFacts)
    assert facts.label
    assert facts.better in {"higher", "lower"}
    assert facts.bounds[0] < facts.bounds[1]
    assert facts.tasks
    assert set(facts.tasks) <= set(TASKS)
    assert set(facts.needs) <= {"train", "test", "corrupted"}
    assert facts.needs
    assert entry.summary
    assert set(entry.defaults) == set(entry.complete({}))


@pytest.mark.parametrize("scale", [0.0, 0.1, 1.0, 30.0, 1e4])
@pytest.mark.parametrize("n_test", [None, 120])
def test_is_a_float_within_its_bounds(entry, task, scale, n_test):
    score = value(entry, task, scale=scale, n_test=n_test or LEAST[task])
    assert type(score) is float
    low, high = entry.facts.bounds
    assert low <= score <= high


def test_does_not_depend_on_the_order_of_samples_and_conditions(entry, task):
    assert value(entry, task, change=reordered) == pytest.approx(value(entry, task), rel=1e-12, abs=1e-15)


def test_reads_only_what_it_declares(entry, task):
    def stripped(predictions):
        one = chosen(predictions.test, slice(1))
        needs = entry.facts.needs
        return Predictions(
            predictions.train if "train" in needs else one,
            predictions.test if {"test", "corrupted"} & set(needs) else one,
            predictions.corrupted if "corrupted" in needs else None,
        )

    assert value(entry, task, change=stripped) == value(entry, task)


def test_leaves_the_predictions_as_they_were(entry, task):
    before = RUNS[task](0).to_arrays()

    def kept(predictions):
        runs.append(predictions)
        return predictions

    runs = []
    value(entry, task, change=kept)
    assert all((runs[0].to_arrays()[name] == array).all() for name, array in before.items())
