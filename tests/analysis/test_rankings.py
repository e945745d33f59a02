"""Rankings of runs that differ in one axis, on studies in which they are known."""

from dataclasses import replace

import numpy as np
import pytest

from sharpscope.analysis.rankings import rankings_table


def with_gap(results, gap):
    return replace(results, ledger=results.ledger.assign(generalization_gap=gap))


def test_a_measure_that_orders_every_axis_has_psi_one_and_no_sign_error(make_results):
    results = make_results(seeds=8, regimes=("baseline", "sam", "augmentation"), training__lr=[0.01, 0.1])
    table = rankings_table(with_gap(results, 2 * results.ledger["margin"])).set_index("measure")
    row = table.loc["margin"]
    assert (row["psi"], row["sign_error_greatest"]) == (1.0, 0.0)
    assert row["axes"] == "training.lr 1.00, regime 1.00"
    opposite = rankings_table(with_gap(results, -results.ledger["margin"])).set_index("measure").loc["margin"]
    assert opposite["psi"] == -1.0


def test_a_measure_that_tells_regimes_alone_is_told_by_axis(make_results):
    results = make_results(seeds=8, regimes=("baseline", "sam", "augmentation"), training__lr=[0.01, 0.1])
    level = results.ledger["regime"].map({"baseline": 0, "sam": 1, "augmentation": 2}).to_numpy(float)
    rng = np.random.default_rng(0)
    gap = 10 * level + rng.normal(size=len(level))
    ledger = results.ledger.assign(margin=10 * level + rng.normal(size=len(level)))
    row = rankings_table(with_gap(replace(results, ledger=ledger), gap)).set_index("measure").loc["margin"]
    of_axis = {axis.split(" ")[0]: float(axis.split(" ")[1]) for axis in row["axes"].split(", ")}
    assert of_axis["regime"] == 1.0
    assert abs(of_axis["training.lr"]) < 0.5
    assert row["psi"] == pytest.approx(np.mean(list(of_axis.values())), abs=0.01)
    assert row["pairs"] >= 6
    assert row["sign_error_median"] == 0.0


def test_without_a_gap_or_levels_there_is_none(make_results):
    results = make_results(seeds=3)
    assert rankings_table(replace(results, ledger=results.ledger.drop(columns="generalization_gap"))).empty
    alone = rankings_table(make_results(seeds=3, regimes=("baseline",)))
    assert alone["psi"].isna().all()
    assert (alone["pairs"] == 0).all()
