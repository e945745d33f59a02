"""Rank correlations against SciPy and loops, and the forms of Simpson's paradox planted."""

import itertools

import numpy as np
import pytest
from scipy import stats

from sharpscope.analysis.statistics.ranks import (
    Ranked,
    kendall,
    mean_spearman,
    orders,
    permutation_spearman,
    spearman,
    spearman_given,
    spearman_of,
)
from sharpscope.analysis.statistics.relations import Design, flags, relations, within_seeds
from sharpscope.numpy_stream import NumpyStream

STREAM = NumpyStream(0, "test")


def grid(levels, seeds, settings=1):
    each = np.indices((settings, levels, seeds)).reshape(3, -1)
    return Design(seeds=each[2], levels=each[1], settings=each[0])


@pytest.mark.parametrize("n", [9, 130])
def test_resampled_ranks_are_those_of_the_resample(n):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, n)), rng.integers(0, 4, (3, n)).astype(float)
    weights = rng.multinomial(n, np.full(n, 1 / n), size=5).astype(float)
    found = spearman(Ranked.of(x), Ranked.of(y), weights)
    for r, i, j in np.ndindex(5, 2, 3):
        drawn = np.repeat(np.arange(n), weights[r].astype(int))
        assert found[r, i, j] == pytest.approx(stats.spearmanr(x[i, drawn], y[j, drawn]).statistic)
    assert np.isnan(spearman(Ranked.of(np.ones((1, n))), Ranked.of(y), weights)).all()


@pytest.mark.parametrize("runs", [3, 60])
def test_resampled_units_bring_all_their_runs(runs):
    rng = np.random.default_rng(0)
    unit = np.repeat([0, 2, 3, 4], [runs, 1, 2 * runs, runs])  # one unit has no run here
    x, y = rng.normal(size=(2, len(unit))), rng.integers(0, 9, (2, len(unit))).astype(float)
    weights = rng.integers(1, 4, (6, 5)).astype(float)
    found = spearman(Ranked.of(x, unit, units=5), Ranked.of(y, unit, units=5), weights)
    for r, i, j in np.ndindex(6, 2, 2):
        drawn = np.repeat(np.arange(len(unit)), weights[r, unit].astype(int))
        assert found[r, i, j] == pytest.approx(stats.spearmanr(x[i, drawn], y[j, drawn]).statistic)


def test_coefficients_that_are_equal_are_equal_to_the_last_bit():
    """Resamples that are as the runs were must count as ties with the estimate, which is no matter of rounding."""
    rng = np.random.default_rng(2)
    for n in (4, 7, 23, 400):
        x = rng.normal(size=(1, n))
        y = np.stack([np.exp(x[0]), -x[0], rng.normal(size=n)])
        weights = np.stack([np.ones(n), np.full(n, 3.0)])
        once, thrice = spearman(Ranked.of(x), Ranked.of(y), weights)
        assert once[0, :2].tolist() == [1.0, -1.0]
        assert once.tolist() == thrice.tolist()
        order = rng.permutation(n)
        assert spearman_of(x[:, order], y[:, order]).tolist() == once.tolist()


def test_partial_is_the_correlation_of_residuals_of_ranks():
    rng = np.random.default_rng(1)
    given = rng.normal(size=12)
    x, y = rng.normal(size=(2, 12)) + given, rng.normal(size=(2, 12)) - given
    ones, ranked = np.ones((1, 12)), [Ranked.of(values) for values in (x, y, given[None])]
    found = spearman_given(*ranked, ones)[0]

    def rest(values):
        ranks = stats.rankdata(values)
        return ranks - np.polyval(np.polyfit(stats.rankdata(given), ranks, 1), stats.rankdata(given))

    for i, j in np.ndindex(2, 2):
        assert found[0, i, j] == pytest.approx(stats.spearmanr(x[i], y[j]).statistic)
        assert found[1, i, j] == pytest.approx(np.corrcoef(rest(x[i]), rest(y[j]))[0, 1])
    assert np.isnan(spearman_given(Ranked.of(given[None] ** 3), *ranked[1:], ones)[0, 1]).all()
    assert np.isnan(spearman_given(*ranked[:2], None, ones)[0, 1]).all()


def test_partial_given_several_is_the_correlation_of_residuals():
    rng = np.random.default_rng(3)
    given = rng.normal(size=(3, 15))
    given[2] = given[0] ** 3  # tells nothing that the first does not
    x, y = rng.normal(size=(2, 15)) + given[0], rng.normal(size=(2, 15)) - given[1]
    found = spearman_given(*(Ranked.of(values) for values in (x, y, given)), np.ones((1, 15)))[0, 1]
    columns = np.column_stack([np.ones(15), *stats.rankdata(given, axis=1)])

    def rest(values):
        ranks = stats.rankdata(values)
        return ranks - columns @ np.linalg.lstsq(columns, ranks, rcond=None)[0]

    for i, j in np.ndindex(2, 2):
        assert found[i, j] == pytest.approx(np.corrcoef(rest(x[i]), rest(y[j]))[0, 1])


def test_between_p_is_that_of_all_orders_of_the_levels():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 3, 4)), rng.normal(size=(1, 3, 4))
    rho, p = permutation_spearman(x, y, STREAM)
    for i in range(2):
        every = [
            stats.spearmanr(x[i].ravel(), y[0][:, list(order)].ravel()).statistic
            for order in itertools.permutations(range(4))
        ]
        assert rho[i, 0] == pytest.approx(every[0])
        assert p[i, 0] == pytest.approx(np.mean(np.abs(every) >= abs(every[0]) - 1e-9))
    assert np.isnan(permutation_spearman(x[:, :, :2], y[:, :, :2], STREAM)).all()
    assert len(orders(4, STREAM)) == 24
    assert len(orders(9, STREAM)) == 10_000


def test_mean_over_blocks_leaves_out_those_that_are_constant():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(1, 3, 5)), rng.normal(size=(1, 3, 5))
    x[0, 1] = 2.0
    expected = np.mean([stats.spearmanr(x[0, b], y[0, b]).statistic for b in (0, 2)])
    assert mean_spearman(x, y)[0, 0] == pytest.approx(expected)
    assert np.isnan(mean_spearman(x[..., :2], y[..., :2])).all()


def test_relations_are_those_of_loops_over_an_unbalanced_grid():
    rng = np.random.default_rng(0)
    whole = grid(levels=3, seeds=7, settings=2)
    rows = np.delete(np.arange(42), [0, 1, 2, 20])  # the first cell keeps four runs, too few for a coefficient
    design = whole.of(rows)
    x, y, loss = rng.normal(size=(1, 38)), rng.normal(size=(1, 38)), rng.normal(size=38)
    found = relations(x, y, loss, design, STREAM, resamples=200)
    cells = [np.flatnonzero(design.cells == cell) for cell in range(6)]
    assert (found.runs, found.points, found.cells[0, 0]) == (38, 6, 5)
    assert found.pooled.value[0, 0] == pytest.approx(stats.spearmanr(x[0], y[0]).statistic)
    within = [stats.spearmanr(x[0, c], y[0, c]).statistic for c in cells if len(c) >= 5]
    assert found.within.value[0, 0] == pytest.approx(np.mean(within))
    means = [np.array([[v[0, c].mean() for c in cells[3 * s : 3 * s + 3]] for s in range(2)]) for v in (x, y)]
    assert found.between[0, 0] == pytest.approx(stats.spearmanr(*(m.ravel() for m in means)).statistic)
    of_levels = [stats.spearmanr(means[0][s], means[1][s]).statistic for s in range(2)]
    assert found.between_levels[0, 0] == pytest.approx(np.mean(of_levels))
    assert np.isnan(found.between_settings[0, 0])
    without = [stats.spearmanr(x[0, keep], y[0, keep]).statistic for keep in (design.levels != k for k in range(3))]
    assert (found.least[0, 0], found.greatest[0, 0]) == (pytest.approx(min(without)), pytest.approx(max(without)))
    assert found.within.low[0, 0] <= found.within.value[0, 0] <= found.within.high[0, 0]


def flag(x, y, design):
    given = np.full(len(x), np.nan)
    found = relations(x[None], y[None], given, design, STREAM, resamples=1000)
    return flags(found.pooled, found.within)[0, 0]


def planted(within, between, seeds=12, noise=0.3):
    """Runs whose relation within levels has one sign and that between them another."""
    rng = np.random.default_rng(0)
    design = grid(levels=6, seeds=seeds)
    own = rng.normal(size=6 * seeds)
    x = 4 * design.levels + own
    y = 4 * between * design.levels + within * own + noise * rng.normal(size=6 * seeds)
    return x, y, design


def test_the_forms_of_simpsons_paradox_are_told_apart():
    assert flag(*planted(within=-1, between=1)) == "reversed"
    assert flag(*planted(within=1, between=1)) == ""
    assert flag(*planted(within=0, between=1, seeds=40, noise=1)) == "between only"
    # The levels' means lie in no order, which hides the relation that is there within each.
    x, y, design = planted(within=1, between=0)
    scattered = y + 40 * np.array([0, 1, -1, -1, 1, 0])[design.levels]
    assert flag(x, scattered, design) == "masked"


def test_few_seeds_leave_it_undecided_rather_than_between_only():
    x, y, design = planted(within=0, between=1, seeds=5, noise=1)
    assert flag(x, y, design) == "undecided"
    rng = np.random.default_rng(3)
    assert flag(rng.normal(size=30), rng.normal(size=30), grid(6, 5)) == "undecided"


def test_a_relation_through_the_loss_is_gone_given_it():
    rng = np.random.default_rng(0)
    design = grid(levels=6, seeds=12)
    loss = rng.normal(size=72)
    x, y = loss + 0.2 * rng.normal(size=72), loss + 0.2 * rng.normal(size=72)
    found = relations(x[None], y[None], loss, design, STREAM, resamples=1000)
    assert found.within.sign[0, 0] == 1
    assert found.partial.sign[0, 0] == 0


def test_intervals_hold_the_truth_within_cells():
    rng, covered = np.random.default_rng(0), 0
    design, rho = grid(levels=4, seeds=8), 0.5
    truth = mean_of_ranks(rho, 8)
    for _ in range(100):
        x = rng.normal(size=32)
        y = rho * x + np.sqrt(1 - rho**2) * rng.normal(size=32)
        found = relations(x[None], y[None], x, design, STREAM, resamples=500).within
        covered += bool(found.low[0, 0] <= truth <= found.high[0, 0])
    assert covered >= 90


def mean_of_ranks(rho, n):
    """The expectation of Spearman's coefficient of n normal pairs (Moran 1948)."""
    return 6 / (np.pi * (n + 1)) * (np.arcsin(rho) + (n - 2) * np.arcsin(rho / 2))


def test_kendall_is_scipys():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 15)), rng.integers(0, 4, (3, 15)).astype(float)
    for i, j in np.ndindex(2, 3):
        assert kendall(x, y)[i, j] == pytest.approx(stats.kendalltau(x[i], y[j]).statistic, abs=1e-6)
    assert np.isnan(kendall(np.ones((1, 15)), y)).all()


def test_within_seeds_is_the_mean_over_seeds_of_coefficients_over_levels():
    rng = np.random.default_rng(8)
    design = grid(levels=8, seeds=9, settings=2)
    n = len(design.seeds)
    loss = rng.normal(size=n)
    x, y = rng.normal(size=(2, n)) + 0.3 * design.levels + 0.5 * loss, rng.normal(size=(3, n)) + 0.3 * design.levels
    found = within_seeds(x, y, loss, design, STREAM)

    def partial(a, b, c):
        left = [v - np.polyval(np.polyfit(c, v, 2), c) for v in (a, b)]
        return np.corrcoef(*left)[0, 1]

    groups = [(design.seeds == s) & (design.settings == c) for s in range(9) for c in range(2)]
    for i, j in np.ndindex(2, 3):
        plain = np.mean([stats.spearmanr(x[i, rows], y[j, rows]).statistic for rows in groups])
        assert found.plain.value[i, j] == pytest.approx(plain)
        assert found.partial.value[i, j] == pytest.approx(
            np.mean([partial(x[i, rows], y[j, rows], loss[rows]) for rows in groups])
        )
    assert (found.cells == 18).all()
    assert (found.plain.low < found.plain.value).all()
    few = design.of(np.flatnonzero(design.levels < 4))
    short = len(few.seeds)
    assert np.isnan(within_seeds(x[:, :short], y[:, :short], loss[:short], few, STREAM).plain.value).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    "curve", [lambda loss: 0.8 * loss, lambda loss: 0.1 * (loss + 4) ** 2], ids=["line", "parabola"]
)
@pytest.mark.parametrize("seeds", [10, 40])
def test_what_follows_the_loss_alone_is_seldom_related_beside_it(seeds, curve):
    rng, studies, missed, found = np.random.default_rng(1), 200, 0, []
    design = grid(levels=6, seeds=seeds)
    for _ in range(studies):
        loss = 0.4 * design.levels + 0.4 * (rng.normal(size=seeds)[design.seeds] + rng.normal(size=6 * seeds)) - 3
        x, y = curve(loss) + 0.15 * rng.normal(size=(2, len(loss)))
        of = within_seeds(x[None], y[None], loss, design, STREAM, resamples=500).partial
        found.append(of.value[0, 0])
        missed += int(of.sign[0, 0] != 0)
    assert np.mean(found) == pytest.approx(0, abs=0.04)
    assert missed / studies <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / studies)


def test_what_is_shared_beside_the_loss_is_related_given_a_curve_of_it():
    rng, design = np.random.default_rng(2), grid(levels=6, seeds=10)
    loss = 0.4 * design.levels + 0.5 * rng.normal(size=60) - 3
    shared = 0.3 * rng.normal(size=60)
    x, y = 0.1 * (loss + 4) ** 2 + shared + 0.1 * rng.normal(size=(2, 60))
    assert within_seeds(x[None], y[None], loss, design, STREAM).partial.low[0, 0] > 0.5
