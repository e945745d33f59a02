"""How many seeds it takes, against the tests themselves on fresh studies."""

from dataclasses import replace

import numpy as np
import pytest
from tests.analysis.test_contrasts import of_ratios, small_study

from sharpscope.analysis.planner import planned
from sharpscope.analysis.statistics import holm, signed_rank_test, westfall_young
from sharpscope.errors import SharpscopeError
from sharpscope.numpy_stream import NumpyStream


def test_more_seeds_see_smaller_differences(make_results):
    results = make_results(regimes=("baseline", "sam"))
    table = planned(results, {"ece": 0.003}, seeds=(5, 8, 20))
    seen = table[table["quantity"] == "ece"].set_index("n")
    assert np.isinf(seen.loc[5, "detectable"])
    assert seen.loc[8, "detectable"] > seen.loc[20, "detectable"] > 0
    assert seen.loc[5, "power"] == 0 < seen.loc[8, "power"] < seen.loc[20, "power"]
    assert table.loc[table["quantity"] != "ece", "power"].isna().all()


def test_ratios_are_factors(make_results):
    results = of_ratios(make_results(regimes=("baseline", "sam")), "relative_flatness")
    table = planned(results, {"relative_flatness": 1.3}, seeds=(10,)).set_index("quantity")
    row = table.loc["relative_flatness"]
    assert row["scale"] == "ratio"
    assert row["detectable"] > 1
    assert (row["power"] >= 0.8) == (row["effect"] >= row["detectable"])


@pytest.mark.slow
@pytest.mark.parametrize("correction", ["westfall_young", "holm"])
def test_the_power_is_that_of_fresh_studies(correction):
    rng = np.random.default_rng(0)

    def differences(seeds, shift):
        noise = rng.normal(size=(3, 2, seeds)) + rng.normal(size=(1, 1, seeds))
        noise[0, 0] += shift
        return noise

    def finds(noise):
        tests = noise.reshape(6, -1)
        if correction == "holm":
            return holm(np.array([signed_rank_test(row, 0 * row).p for row in tests]))[0] <= 0.05
        return westfall_young(tests, NumpyStream(0))[0] <= 0.05

    size = 1.2 * np.sqrt(2)
    studies = [small_study(differences(300, 0.0)) for _ in range(3)]
    told = [replace(one, study={**one.study, "correction": correction}) for one in studies]
    expected = [planned(one, {"q0": size}, seeds=(9,)).iloc[0]["power"] for one in told]
    found = [finds(differences(9, size)) for _ in range(400)]
    assert np.mean(expected) == pytest.approx(np.mean(found), abs=0.1)


def test_what_cannot_be_planned_is_told(make_results):
    results = make_results(seeds=4, regimes=("baseline", "sam"))
    with pytest.raises(SharpscopeError, match="'eec' is no quantity of the primary family; did you mean 'ece'"):
        planned(results, {"eec": 0.1})
    with pytest.raises(SharpscopeError, match="the effect of 'ece' must be above 0, got -1"):
        planned(results, {"ece": -1.0})
    with pytest.raises(SharpscopeError, match="a factor above 1"):
        planned(of_ratios(results, "ece"), {"ece": 0.1})
    with pytest.raises(SharpscopeError, match="one tells nothing of their spread"):
        planned(make_results(seeds=1), {})
