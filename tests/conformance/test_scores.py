"""What every registered score must do."""

import math
from dataclasses import replace

import numpy as np
import pytest

from sharpscope.condition import Case
from sharpscope.safety import SCORES, Predictions, RegressionSplit, ScoreFacts, Split
from sharpscope.task import TASKS

CASES = [
    *(Case("blur", 1, family="blur"), Case("blur", 2, family="blur"), Case("noise", 1, family="noise")),
    *(Case("quantized", bits, "weights") for bits in (8, 6, 4, 3)),
    *(Case("pruned", percent, "weights") for percent in (50, 80, 90)),
    *(Case("pgd", distance, "attack") for distance in (1, 2, 4, 8, 64)),
    Case("others", 1, "data"),
]


def features_of(rng, scale):
    """What the head is given for 30 test samples, after the training and before it."""
    return {name: (scale * rng.normal(size=(30, 6))).astype(np.float32) for name in ("features", "initial_features")}


def numbers_of(seed, n_test=120, scale=1.0):
    """A run of regression, with three numbers a sample."""
    fixed, rng = np.random.default_rng(99), np.random.default_rng(seed)
    targets = [fixed.normal(size=(n, 3)).astype(np.float32) for n in (80, n_test)]

    def split(t):
        return RegressionSplit((t + scale * rng.normal(size=t.shape)).astype(np.float32), t)

    cases = {case: split(targets[1]).condensed() for case in CASES}
    return Predictions(*map(split, targets), cases, **features_of(rng, scale))


def classes_of(seed, n_test=120, scale=1.0):
    """A run of classification; runs of other seeds share its targets but not its outputs."""
    fixed, rng = np.random.default_rng(99), np.random.default_rng(seed)
    train_targets, test_targets, others = (fixed.integers(0, 5, n) for n in (80, n_test, 60))

    def split(t):
        return Split((scale * (rng.normal(size=(len(t), 5)) + np.eye(5)[t])).astype(np.float32), t)

    cases = {case: split(test_targets).condensed() for case in CASES}
    # Far under attack nothing is left, so that what is left nearer has a meaning.
    lost = Split((7 * scale * np.eye(5)[(test_targets + 1) % 5]).astype(np.float32), test_targets)
    cases[Case("pgd", 64, "attack")] = lost.condensed()
    features = features_of(rng, scale)
    return Predictions(split(train_targets), split(test_targets), cases, calibration=split(others), **features)


RUNS = {"classification": classes_of, "regression": numbers_of}
# R2 needs targets that vary.
LEAST = {"classification": 1, "regression": 2}


def chosen(split, samples):
    """Some samples of a split."""
    return type(split)(*(getattr(split, what)[samples] for what in split.stored), split.targets[samples])


def reordered(predictions):
    rng = np.random.default_rng(7)
    train, test = (rng.permutation(len(s.targets)) for s in (predictions.train, predictions.test))
    cases = {case: chosen(predictions.cases[case], test) for case in reversed(CASES)}
    order = rng.permutation(30)
    features = {name: getattr(predictions, name)[order] for name in ("features", "initial_features")}
    return replace(
        predictions,
        train=chosen(predictions.train, train),
        test=chosen(predictions.test, test),
        cases=cases,
        **features,
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
    assert facts.better in {"higher", "lower", None}
    assert facts.bounds[0] < facts.bounds[1]
    assert facts.tasks
    assert set(facts.tasks) <= set(TASKS)
    assert set(facts.needs) <= {"train", "test", "calibration", "features", "initial_features"}
    assert facts.of_pairs or not {"features", "initial_features"} & set(facts.needs)
    assert facts.needs or facts.conditions
    assert entry.summary
    assert set(entry.defaults) == set(entry.complete({}))


def test_declares_how_its_values_are_compared(entry):
    facts = entry.facts
    assert facts.scale in {"ratio", "difference"}
    if facts.scale == "ratio":
        assert facts.bounds[0] >= 0, "ratios are of what is positive"
        assert facts.unit != "fraction", "a fraction near 1 moves by differences"
        assert not facts.of_pairs, "values of seeds are made of pairs by differences"


@pytest.mark.parametrize("scale", [0.0, 0.1, 1.0, 30.0, 1e4])
@pytest.mark.parametrize("n_test", [None, 120])
def test_is_a_float_within_its_bounds(entry, task, scale, n_test):
    score = value(entry, task, scale=scale, n_test=n_test or LEAST[task])
    assert type(score) is float
    low, high = entry.facts.bounds
    assert low <= score <= high or (math.isnan(score) and entry.facts.undefined)


def test_does_not_depend_on_the_order_of_samples_and_conditions(entry, task):
    assert value(entry, task, change=reordered) == pytest.approx(value(entry, task), rel=1e-12, abs=1e-15)


def test_reads_only_what_it_declares(entry, task):
    facts = entry.facts

    def stripped(predictions):
        one = chosen(predictions.test, slice(1))
        train, test = (getattr(predictions, where) if where in facts.needs else one for where in ("train", "test"))
        by_name = {case.condition: case for case in CASES}
        wanted = facts.conditions(entry.defaults, by_name) if facts.conditions else []
        others = ("calibration", "features", "initial_features")
        beside = {name: getattr(predictions, name) if name in facts.needs else None for name in others}
        return Predictions(train, test, predictions.limited_to(wanted).cases, **beside)

    assert value(entry, task, change=stripped) == value(entry, task)


def test_says_whether_a_temperature_changes_it(entry, task):
    if task != "classification":
        pytest.skip("has no temperature")

    def hotter(predictions):
        def split(found):
            return Split(found.logits.astype(np.float64) / 3.0, found.targets)

        train, test, calibration = map(split, (predictions.train, predictions.test, predictions.calibration))
        cases = {case: kept.divided(3.0, 5) for case, kept in predictions.cases.items()}
        return replace(predictions, train=train, test=test, cases=cases, calibration=calibration)

    # Rounding alone may differ where it does not; a share of few samples may be the same where it does.
    found, expected = ([value(entry, task, change=c, scale=s) for s in (1.0, 2.0, 4.0)] for c in (hotter, lambda p: p))
    assert (found == pytest.approx(expected, rel=1e-12)) == entry.facts.by_classes


def test_what_samples_add_is_what_its_mean_is_made_of(entry, task):
    by_sample = entry.facts.by_sample
    if by_sample is None:
        pytest.skip("is no mean over test samples")
    run = RUNS[task](0, scale=2.0)
    parts = by_sample(run, **entry.defaults)
    assert parts.shape == run.test.targets.shape
    assert parts.mean() == pytest.approx(entry(run), rel=1e-6)
    # Each number is that of its own sample.
    few = replace(run, test=chosen(run.test, slice(7)), cases={c: chosen(s, slice(7)) for c, s in run.cases.items()})
    assert by_sample(few, **entry.defaults) == pytest.approx(parts[:7], rel=1e-6)
    assert not entry.facts.of_pairs


def test_leaves_the_predictions_as_they_were(entry, task):
    def arrays(predictions):
        return predictions.to_arrays() | predictions.cases_to_arrays()

    before = arrays(RUNS[task](0))

    def kept(predictions):
        runs.append(predictions)
        return predictions

    runs = []
    value(entry, task, change=kept)
    assert all((arrays(runs[0])[name] == array).all() for name, array in before.items())
