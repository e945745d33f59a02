"""Scores of calibration against scikit-learn, plain loops, and arithmetic in the assert."""

import itertools
import math

import numpy as np
import pytest
from scipy.special import expit, log_softmax
from scipy.stats import kstest
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import brier_score_loss, roc_auc_score

from sharpscope.safety import SCORES, Predictions, Split
from sharpscope.safety.calibration.decomposition import decomposed, of_classes
from sharpscope.safety.calibration.expected_error import null_errors
from sharpscope.safety.reliability import equal_masses, grouped

SURE = 1000.0
KINDS = ("all right", "all wrong", "all certain", "certain and wrong", "ties", "one right", "one wrong", "spread")


def run_of(confidences, right):
    """A run of two classes with these confidences (in [0.5, 1]) in the predicted class 0."""
    confidences = np.asarray(confidences, dtype=np.float64)
    with np.errstate(divide="ignore"):
        margin = np.minimum(np.log(confidences) - np.log1p(-confidences), SURE)
    split = Split(np.stack([margin, np.zeros_like(margin)], axis=1), np.where(right, 0, 1))
    return Predictions(split, split)


def of_kind(kind):
    """A run at an edge of what there can be."""
    rng = np.random.default_rng(3)
    spread = rng.uniform(0.5, 1.0, 60)
    return {
        "all right": run_of(spread, np.ones(60, bool)),
        "all wrong": run_of(spread, np.zeros(60, bool)),
        "all certain": run_of(np.ones(60), np.ones(60, bool)),
        "certain and wrong": run_of(np.ones(60), np.zeros(60, bool)),
        "ties": run_of(np.repeat([0.6, 0.8, 0.9], 20), np.arange(60) % 3 > 0),
        "one right": run_of([0.8], [True]),
        "one wrong": run_of([0.8], [False]),
        "spread": run_of(spread, rng.random(60) < spread),
    }[kind]


def calibrated(samples, seed, classes=10, sharpness=3.0):
    """A run whose labels are drawn from its probabilities."""
    rng = np.random.default_rng(seed)
    logits = sharpness * rng.normal(size=(samples, classes))
    probabilities = np.exp(log_softmax(logits, axis=1)).cumsum(axis=1)
    targets = (rng.random((samples, 1)) > probabilities[:, :-1]).sum(axis=1)
    split = Split(logits, targets)
    return Predictions(split, split)


@pytest.fixture(params=KINDS)
def edge(request):
    return of_kind(request.param)


@pytest.fixture(params=[0, 1, 2])
def any_run(request):
    """A run of 7 classes that is too sure of itself, with ties."""
    rng = np.random.default_rng(request.param)
    targets = rng.integers(0, 7, 300)
    logits = 2.0 * rng.normal(size=(300, 7))
    logits[np.arange(300), targets] += 2.0
    logits[150:200] = logits[100:150]
    split = Split(logits.astype(np.float32), targets)
    return Predictions(split, split)


def test_the_null_by_hand():
    # Two samples of confidence 0.75 in one bin: none, one or both are right with 1/16, 6/16 and 9/16.
    run = run_of([0.75, 0.75], [True, False])
    expected = 1 / 16 * 0.75 + 6 / 16 * 0.25 + 9 / 16 * 0.25
    assert SCORES["ece_null"](run, draws=20_000) == pytest.approx(expected, abs=0.003)
    assert SCORES["ece"](run) == pytest.approx(0.25)
    assert SCORES["ece_excess"](run, draws=20_000) == pytest.approx(0.25 - expected, abs=0.003)
    assert SCORES["p_cal"](run) == 1.0
    both_wrong = run_of([0.75, 0.75], [False, False])
    assert SCORES["p_cal"](both_wrong, draws=20_000) == pytest.approx(1 / 16, abs=0.006)


@pytest.mark.parametrize("norm", ["l1", "l2", "max"])
def test_the_null_is_that_of_plain_draws(any_run, norm):
    split = any_run.test
    rng, drawn = np.random.default_rng(8), []
    # A run whose predicted class 0 is right where the draw says so has the calibration error of that draw.
    for _ in range(150):
        right = rng.random(300) < split.confidence
        drawn.append(SCORES["ece"](Predictions(split, with_outcomes(split, right)), norm=norm))
    found = null_errors(split, 15, norm, 2000)
    assert found.mean() == pytest.approx(np.mean(drawn), abs=4 * np.std(drawn) / math.sqrt(150))
    assert found.std() == pytest.approx(np.std(drawn), rel=0.3)


def with_outcomes(split, right):
    """The same confidences, right and wrong where asked for."""
    return Split(split.logits, np.where(right, split.predicted, (split.predicted + 1) % split.logits.shape[1]))


def test_the_null_does_not_depend_on_how_many_draws_are_held_at_a_time(any_run, monkeypatch):
    whole = null_errors(any_run.test, 15, "l1", 50)
    monkeypatch.setattr("sharpscope.safety.calibration.expected_error._AT_A_TIME", 1)
    again = Split(any_run.test.logits, any_run.test.targets)
    assert (null_errors(again, 15, "l1", 50) == whole).all()


@pytest.mark.parametrize(
    ("samples", "runs"), [(100, 300), (1000, 100), pytest.param(10_000, 60, marks=pytest.mark.slow)]
)
def test_of_a_calibrated_model_there_is_no_miscalibration_to_be_seen(samples, runs):
    found = [calibrated(samples, seed) for seed in range(runs)]
    p = np.array([SCORES["p_cal"](run) for run in found])
    # Uniform, but for steps of 1/201: as many below any level as the level says.
    assert kstest(p, "uniform").pvalue > 0.01
    assert (p <= 0.05).mean() == pytest.approx(0.05, abs=3 * math.sqrt(0.05 * 0.95 / runs))
    for name in ("ece_excess", "ece_debiased", "overconfidence"):
        values = [SCORES[name](run) for run in found]
        assert abs(np.mean(values)) < 4 * np.std(values) / math.sqrt(runs)
    # Without its null, the error alone looks like one.
    assert np.mean([SCORES["ece"](run) for run in found]) > 0.2 / math.sqrt(samples)


def test_of_a_model_that_is_too_sure_there_is(any_run):
    sure = Split(4 * any_run.test.logits, any_run.test.targets)
    run = Predictions(sure, sure)
    assert SCORES["p_cal"](run) == 1 / 201
    assert SCORES["overconfidence"](run) > 0.05
    assert SCORES["ece_excess"](run) > 0.05


def test_bins_of_equal_mass_by_hand():
    confidence = np.array([0.9, 0.5, 0.6, 0.7, 0.8, 0.55])
    edges = equal_masses(confidence, 3)
    assert edges.tolist() == [0.0, 0.55, 0.7, 1.0]
    bins = grouped(confidence, np.array([1, 0, 1, 1, 0, 0]), edges)
    assert bins.count.tolist() == [2, 2, 2]
    assert bins.confidence.tolist() == pytest.approx([0.525, 0.65, 0.85])
    assert bins.accuracy.tolist() == [0.0, 1.0, 0.5]
    # Samples of one confidence share a bin, and others stay empty.
    tied = np.array([0.6, 0.6, 0.6, 0.9])
    assert grouped(tied, np.ones(4), equal_masses(tied, 4)).count.tolist() == [3, 0, 0, 1]
    assert grouped(tied[:1], np.ones(1), equal_masses(tied[:1], 15)).count.sum() == 1


def test_the_debiased_error_by_hand():
    run = run_of([0.6, 0.7, 0.8, 0.9], [False, True, True, True])
    # Bins of two: accuracies 1/2 and 1, confidences 0.65 and 0.85.
    expected = 1 / 2 * (0.15**2 - 0.25 / 1) + 1 / 2 * (0.15**2 - 0)
    assert SCORES["ece_debiased"](run, bins=2) == pytest.approx(expected)


def test_the_debiased_error_is_unbiased_by_all_outcomes():
    confidences = np.array([0.6, 0.7, 0.8, 0.9])
    true = np.array([0.5, 0.9, 0.7, 0.7])
    mean = 0.0
    for outcome in np.ndindex(2, 2, 2, 2):
        right = np.array(outcome, bool)
        mean += np.where(right, true, 1 - true).prod() * SCORES["ece_debiased"](run_of(confidences, right), bins=2)
    # The variance of the accuracy of a bin is estimated as if its samples had one probability, hence the last terms.
    gaps = [(0.7 - 0.65) ** 2, (0.7 - 0.85) ** 2]
    spread = [((0.5 - 0.9) / 2) ** 2, 0.0]
    assert mean == pytest.approx(np.mean(gaps) - np.mean(np.array(spread) / 1))


def test_bins_of_the_debiased_error_are_those_of_the_calibration_split():
    test = run_of([0.6, 0.7, 0.8, 0.9], [False, True, True, True]).test
    other = run_of([0.85, 0.95], [True, True]).test
    run = Predictions(test, test, calibration=other)
    # One edge at 0.85: three samples below, and one above, which tells nothing.
    expected = 3 / 4 * ((2 / 3 - 0.7) ** 2 - 2 / 9 / 2)
    assert SCORES["ece_debiased"](run, bins=2) == pytest.approx(expected)


def sweep_by_loops(split, power):
    order = np.argsort(split.confidence, kind="stable")
    confidence, right = split.confidence[order], split.correct[order]
    samples, found = len(order), None
    for bins in range(1, samples + 1):
        groups = [[] for _ in range(bins)]
        edges = [confidence[math.ceil(samples * k / bins) - 1] for k in range(1, bins)]
        for c, y in zip(confidence, right, strict=True):
            groups[next((k for k, edge in enumerate(edges) if c <= edge), bins - 1)].append((c, y))
        means = [np.mean(group, axis=0) for group in groups if group]
        if any(b[1] < a[1] for a, b in itertools.pairwise(means)):
            break
        weights = [len(group) / samples for group in groups if group]
        found = sum(w * abs(y - c) ** power for w, (c, y) in zip(weights, means, strict=True)) ** (1 / power)
    return found


@pytest.mark.parametrize(("norm", "power"), [("l1", 1), ("l2", 2)])
def test_the_sweep_is_that_of_plain_loops(any_run, norm, power):
    assert SCORES["ece_sweep"](any_run, norm=norm) == pytest.approx(sweep_by_loops(any_run.test, power))


def test_the_sweep_at_the_edges(edge):
    assert SCORES["ece_sweep"](edge) == pytest.approx(sweep_by_loops(edge.test, 1), abs=1e-12)


def test_the_sweep_by_hand():
    # Three bins, of two samples, one and one, have accuracies 1/2, 1 and 1; those of four fall from 1 to 0.
    run = run_of([0.55, 0.6, 0.7, 0.9], [True, False, True, True])
    expected = 1 / 2 * (1 / 2 - 0.575) ** 2 + 1 / 4 * (1 - 0.7) ** 2 + 1 / 4 * (1 - 0.9) ** 2
    assert SCORES["ece_sweep"](run, norm="l2") == pytest.approx(math.sqrt(expected))


def smooth_by_loops(split):
    grid = (np.arange(1000) + 0.5) / 1000
    gaps = split.correct - split.confidence

    def error(width):
        total = np.zeros_like(grid)
        for c, gap in zip(split.confidence, gaps, strict=True):
            for image in (c + 2 * k for k in range(-4, 5)):
                for center in (image, -image):
                    total += gap * np.exp(-((grid - center) ** 2) / (2 * width**2))
        return np.abs(total).mean() / (len(gaps) * width * math.sqrt(2 * math.pi))

    low, high = 1e-3, 1.0
    for _ in range(12):
        middle = (low + high) / 2
        low, high = (middle, high) if error(middle) > middle else (low, middle)
    return (low + high) / 2


def test_the_smooth_error_is_that_of_sums_of_reflected_kernels():
    for kind in ("spread", "ties", "one wrong"):
        run = of_kind(kind)
        assert SCORES["smooth_ece"](run) == pytest.approx(smooth_by_loops(run.test), abs=6e-4)


def test_the_smooth_error_by_hand():
    # The whole gap lies at one confidence, so that no width takes any of it away.
    assert SCORES["smooth_ece"](run_of([0.9] * 10, [True] * 7 + [False] * 3)) == pytest.approx(0.2)
    assert SCORES["smooth_ece"](of_kind("all certain")) == 0.0
    assert SCORES["smooth_ece"](of_kind("certain and wrong")) == pytest.approx(1.0)
    # Far below the width of a cell.
    assert SCORES["smooth_ece"](run_of([1 - 1e-6] * 10, [True] * 10)) == pytest.approx(1e-6, rel=1e-4)


def test_the_class_wise_error_is_that_of_plain_loops(any_run):
    test, bins = any_run.test, 15
    errors = []
    for label in range(7):
        p, y = np.exp(test.log_probabilities[:, label]), test.targets == label
        ranked = sorted(p)
        edges = [ranked[math.ceil(len(p) * k / bins) - 1] for k in range(1, bins)]
        which = [next((k for k, edge in enumerate(edges) if value <= edge), bins - 1) for value in p]
        of_bins = [np.flatnonzero(np.array(which) == k) for k in range(bins)]
        errors.append(sum(abs(y[i].sum() - p[i].sum()) for i in of_bins) / len(p))
    assert SCORES["classwise_ece"](any_run) == pytest.approx(np.mean(errors))


def test_the_maximum_error_leaves_out_bins_of_few_samples():
    # Gaps of 0.1 over twenty samples and of 0.7 over one.
    run = run_of([0.9] * 20 + [0.7], [True] * 16 + [False] * 5)
    assert SCORES["ece"](run, norm="max") == pytest.approx(0.7)
    assert SCORES["mce"](run) == pytest.approx(0.1)
    assert SCORES["mce_bins"](run) == 1
    assert SCORES["mce"](run, least=1) == pytest.approx(0.7)
    assert SCORES["mce_bins"](run, least=1) == 2
    assert math.isnan(SCORES["mce"](run, least=21))
    assert SCORES["mce_bins"](run, least=21) == 0


def parts_by_sklearn(forecast, happened):
    recalibrated = IsotonicRegression().fit(forecast, happened).predict(forecast)
    error, best = (brier_score_loss(happened, p, pos_label=1) for p in (forecast, recalibrated.clip(0, 1)))
    base = happened.mean() * (1 - happened.mean())
    return [error - best, base - best, base]


def test_the_decomposition_is_that_of_scikit_learn(any_run):
    test = any_run.test
    expected = parts_by_sklearn(test.confidence, test.correct.astype(int))
    found = [SCORES[f"top_label_{part}"](any_run) for part in ("miscalibration", "discrimination", "uncertainty")]
    assert found == pytest.approx(expected, abs=1e-9)
    columns = [
        parts_by_sklearn(p, (test.targets == k).astype(int)) for k, p in enumerate(np.exp(test.log_probabilities).T)
    ]
    found = [SCORES[f"brier_{part}"](any_run) for part in ("miscalibration", "discrimination", "uncertainty")]
    assert found == pytest.approx(np.sum(columns, axis=0), abs=1e-9)


def test_the_parts_sum_to_the_score(edge, any_run):
    for run in (edge, any_run):
        brier = [SCORES[f"brier_{part}"](run) for part in ("miscalibration", "discrimination", "uncertainty")]
        assert brier[0] - brier[1] + brier[2] == pytest.approx(SCORES["brier"](run), abs=1e-12)
        top = [SCORES[f"top_label_{part}"](run) for part in ("miscalibration", "discrimination", "uncertainty")]
        error = ((run.test.confidence - run.test.correct) ** 2).mean()
        assert top[0] - top[1] + top[2] == pytest.approx(error, abs=1e-12)
        assert min(*brier, *top) >= 0


def test_the_decomposition_by_hand():
    # The order of 0.7 and 0.8 is the wrong way round, so that both are recalibrated to their mean, 1/2.
    parts = decomposed(np.array([0.6, 0.7, 0.8, 0.9]), np.array([False, True, False, True]))
    error = (0.6**2 + 0.3**2 + 0.8**2 + 0.1**2) / 4
    best = (0 + 1 / 4 + 1 / 4 + 0) / 4
    assert parts == pytest.approx((error - best, 1 / 4 - best, 1 / 4))
    # Equal forecasts stay equal.
    assert decomposed(np.array([0.5, 0.5]), np.array([True, False])) == pytest.approx((0, 0, 1 / 4))


def test_the_parts_of_one_split_are_found_once(any_run, monkeypatch):
    first = of_classes(any_run.test)
    monkeypatch.setattr("sharpscope.safety.calibration.decomposition.decomposed", None)
    assert of_classes(any_run.test) is first


def aurc_by_orders(split, rng, orders=400):
    found = []
    for _ in range(orders):
        order = np.lexsort((rng.random(len(split.targets)), -split.confidence))
        wrong = (~split.correct)[order]
        found.append((wrong.cumsum() / np.arange(1, len(wrong) + 1)).mean())
    return np.mean(found)


def test_the_area_under_the_curve_is_the_mean_over_the_orders_of_ties():
    run = of_kind("ties")
    assert SCORES["aurc"](run) == pytest.approx(aurc_by_orders(run.test, np.random.default_rng(0)), abs=0.005)


def test_the_area_under_the_curve_by_hand():
    run = run_of([0.9, 0.8, 0.7], [True, False, True])
    assert SCORES["aurc"](run) == pytest.approx((0 + 1 / 2 + 1 / 3) / 3)
    assert SCORES["e_aurc"](run) == pytest.approx((0 + 1 / 2 + 1 / 3) / 3 - (0 + 0 + 1 / 3) / 3)
    tied = run_of([0.8, 0.8], [True, False])
    # First the right one, or first the wrong one.
    assert SCORES["aurc"](tied) == pytest.approx(((0 + 1 / 2) / 2 + (1 + 1 / 2) / 2) / 2)


def test_the_excess_area_is_nothing_where_wrong_ones_are_the_least_sure():
    run = run_of([0.9, 0.8, 0.7, 0.6], [True, True, False, False])
    assert SCORES["e_aurc"](run) == 0.0
    assert SCORES["aurc"](run) == pytest.approx((1 / 3 + 2 / 4) / 4)


def test_the_excess_area_is_about_that_of_geifman_for_many_samples():
    run = calibrated(20_000, 0)
    error = 1 - SCORES["accuracy"](run)
    limit = error + (1 - error) * math.log(1 - error)
    assert SCORES["e_aurc"](run) == pytest.approx(SCORES["aurc"](run) - limit, abs=1e-4)


def test_failures_are_ranked_as_in_scikit_learn(any_run):
    expected = roc_auc_score(any_run.test.correct, any_run.test.confidence)
    assert SCORES["failure_auroc"](any_run) == pytest.approx(expected, rel=1e-12)
    ties = of_kind("ties")
    expected = roc_auc_score(ties.test.correct, ties.test.confidence)
    assert SCORES["failure_auroc"](ties) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("factor", [1.0, 30.0, 1e5])
def test_failures_are_ranked_though_all_confidences_round_to_1(factor):
    # Of two classes, confidence has the order of the margin, however large that is.
    rng = np.random.default_rng(3)
    margin = rng.uniform(1, 5, 400) * np.where(rng.random(400) < 0.5, 1, -1)
    wrong = rng.random(400) < np.exp(-np.abs(margin)) + 0.02
    logits, targets = np.stack([margin, np.zeros(400)], axis=1), np.where((margin > 0) ^ wrong, 0, 1)
    run, plain = (Predictions(split, split) for split in (Split(k * logits, targets) for k in (factor, 1.0)))
    assert SCORES["failure_auroc"](run) == pytest.approx(roc_auc_score(~wrong, np.abs(margin)))
    for name in ("aurc", "e_aurc"):
        assert SCORES[name](run) == pytest.approx(SCORES[name](plain))


EXPECTED = {
    # Of samples that are all right: the error of each is how much it lacks to 1.
    "all right": {"aurc": 0.0, "e_aurc": 0.0, "failure_auroc": math.nan, "top_label_uncertainty": 0.0},
    "all wrong": {"aurc": 1.0, "e_aurc": 0.0, "failure_auroc": math.nan, "top_label_uncertainty": 0.0},
    "all certain": {"ece": 0.0, "ece_null": 0.0, "ece_excess": 0.0, "p_cal": 1.0, "ece_debiased": 0.0, "mce": 0.0},
    "certain and wrong": {"ece": 1.0, "ece_null": 0.0, "p_cal": 1 / 201, "ece_debiased": 1.0, "mce": 1.0},
    "one right": {"ece": 0.2, "ece_debiased": 0.0, "ece_sweep": 0.2, "overconfidence": -0.2, "mce": math.nan},
    "one wrong": {"ece": 0.8, "ece_debiased": 0.0, "ece_sweep": 0.8, "overconfidence": 0.8, "aurc": 1.0},
}


@pytest.mark.parametrize("kind", EXPECTED)
def test_the_edges_by_hand(kind):
    run = of_kind(kind)
    found = {name: SCORES[name](run) for name in EXPECTED[kind]}
    assert found == pytest.approx(EXPECTED[kind], abs=1e-12, nan_ok=True)


def test_confidence_that_lacks_little_is_told_from_certainty():
    run = run_of(expit([20.0, 25.0, 30.0]), [False, True, True])
    assert SCORES["aurc"](run) == pytest.approx((0 + 0 + 1 / 3) / 3)
    assert SCORES["failure_auroc"](run) == 1.0
