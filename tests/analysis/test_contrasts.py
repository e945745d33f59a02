"""Contrasts over a whole study, against the same numbers in plain loops, and where the truth is known."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from tests.analysis.conftest import synthetic
from tests.pages import section_of, words

from sharpscope.analysis.comparisons import comparisons_table
from sharpscope.analysis.contrasts import contrasts_table
from sharpscope.analysis.findings import find
from sharpscope.analysis.results import Quantity
from sharpscope.analysis.section import Evidence
from sharpscope.analysis.statistics import holm, signed_rank_test, study_wide, westfall_young
from sharpscope.analysis.values import Values
from sharpscope.numpy_stream import NumpyStream

LR = "training.lr"


def one(table, **where):
    for column, value in where.items():
        table = table[table[column] == value]
    assert len(table) == 1
    return table.iloc[0]


def of_ratios(results, *names):
    quantities = {n: replace(q, scale="ratio") if n in names else q for n, q in results.quantities.items()}
    return replace(results, quantities=quantities)


@pytest.fixture(scope="module")
def settings(make_results):
    return make_results(seeds=8, regimes=("baseline", "sam", "augmentation"), training__lr=[0.01, 0.1, 1.0])


@pytest.fixture(scope="module")
def over_settings(settings):
    return contrasts_table(settings)


def walsh_median(values):
    return np.median([(a + b) / 2 for a, b in itertools.combinations_with_replacement(values, 2)])


def by_seed(results, name, regime):
    """The mean over settings of the differences of each seed, by loops over the ledger."""
    ledger = results.ledger.set_index(["regime", "seed", LR])[name]
    seeds, rates = sorted(results.ledger["seed"].unique()), results.ledger[LR].unique()
    return np.array([np.mean([ledger[regime, s, lr] - ledger["baseline", s, lr] for lr in rates]) for s in seeds])


def test_a_contrast_is_the_mean_over_settings_within_seeds(settings, over_settings):
    assert len(over_settings) == len(settings.measured) * 2
    row = one(over_settings, quantity="nll", regime="sam")
    values = by_seed(settings, "nll", "sam")
    assert row["difference"] == pytest.approx(walsh_median(values))
    assert (row["n"], row["settings"]) == (8, 3)
    rates = settings.ledger[LR].unique()
    parts = {lr: replace(settings, ledger=settings.ledger[settings.ledger[LR] == lr]) for lr in rates}
    signs = [np.sign(walsh_median(by_seed(part, "nll", "sam"))) for part in parts.values()]
    assert row["same_direction"] == signs.count(np.sign(row["difference"]))
    assert (row["risen"], row["differ"]) == ((values > 0).sum(), 8)
    assert row["p_sign"] == pytest.approx(stats.binomtest(int((values > 0).sum()), 8).pvalue)


def test_the_primary_family_is_one_however_many_settings(settings, over_settings):
    primary = over_settings[over_settings["family"] == "primary"]
    assert len(primary) == 5 * 2
    differences = np.array([by_seed(settings, row["quantity"], row["regime"]) for _, row in primary.iterrows()])
    np.testing.assert_allclose(primary["p_adjusted"], westfall_young(differences, NumpyStream(0)))
    assert (primary["p"] <= primary["p_adjusted"] + 1e-15).all()
    secondary = over_settings[over_settings["family"] == "secondary"]
    np.testing.assert_allclose(secondary["p_adjusted"], stats.false_discovery_control(secondary["p"], method="bh"))


def test_holm_is_an_option(settings):
    table = contrasts_table(replace(settings, study={**settings.study, "correction": "holm"}))
    primary = table[table["family"] == "primary"]
    differences = [by_seed(settings, r["quantity"], r["regime"]) for _, r in primary.iterrows()]
    p = [signed_rank_test(values, np.zeros(8)).p for values in differences]
    np.testing.assert_allclose(primary["p"], p)
    assert set(primary["correction"]) == {"Holm"}
    np.testing.assert_allclose(primary["p_adjusted_smallest"], 10 * 2 / 2**8)


def test_a_failed_run_costs_its_seed_and_is_named(settings):
    ledger = settings.ledger.copy()
    lost = (ledger["regime"] == "sam") & (ledger["seed"] == 5) & (ledger[LR] == 0.1)
    ledger.loc[lost, settings.measured] = np.nan
    table = contrasts_table(replace(settings, ledger=ledger))
    row = one(table, quantity="ece", regime="sam")
    assert (row["n"], row["seeds_left_out"], row["settings"]) == (7, "5", 3)
    assert row["difference"] == pytest.approx(walsh_median(np.delete(by_seed(settings, "ece", "sam"), 5)))
    assert one(table, quantity="ece", regime="augmentation")["n"] == 8


def test_a_regime_that_diverged_in_one_setting_is_compared_in_the_others(settings):
    ledger = settings.ledger.copy()
    lost = (ledger["regime"] == "sam") & (ledger["seed"] > 0) & (ledger[LR] == 1.0)
    ledger.loc[lost, settings.measured] = np.nan
    row = one(contrasts_table(replace(settings, ledger=ledger)), quantity="ece", regime="sam")
    assert (row["n"], row["settings"], row["settings_left_out"]) == (8, 2, "training.lr = 1")
    assert row["seeds_left_out"] == ""


def test_one_failed_pair_of_many_empties_no_comparison(make_results):
    results = make_results(regimes=("baseline", "sam"))
    pairs = results.pairs.drop(index=results.pairs.index[7])
    row = one(contrasts_table(replace(results, pairs=pairs)), quantity="prediction_disagreement")
    whole = one(contrasts_table(results), quantity="prediction_disagreement")
    assert (row["n"], whole["n"]) == (10, 10)
    assert row["difference"] == pytest.approx(whole["difference"], abs=0.2 * (whole["ci_high"] - whole["ci_low"]))


def test_ratios_are_told_as_factors(results):
    scaled = of_ratios(results, "nll")
    row = one(contrasts_table(scaled), quantity="nll", regime="sam")
    ledger = results.ledger.set_index(["regime", "seed"])["nll"]
    logs = np.log(ledger["sam"]) - np.log(ledger["baseline"])
    assert row["scale"] == "ratio"
    assert row["difference"] == pytest.approx(np.exp(walsh_median(logs)))
    assert row["ci_low"] < row["difference"] < row["ci_high"]
    assert row["mean_difference"] == pytest.approx(np.exp(logs.mean()))
    assert row["verdict"] == ("better" if row["difference"] < 1 else "worse")
    np.testing.assert_allclose(Values(scaled).differences("nll", "sam")[0], logs)


def test_a_ratio_quantity_with_values_that_are_not_positive_is_compared_by_differences(results):
    ledger = results.ledger.copy()
    ledger.loc[[3, 17], "nll"] = [0.0, -0.01]
    row = one(contrasts_table(of_ratios(replace(results, ledger=ledger), "nll")), quantity="nll", regime="sam")
    plain = one(contrasts_table(replace(results, ledger=ledger)), quantity="nll", regime="sam")
    assert (row["scale"], row["not_positive"]) == ("difference", 2)
    assert row["difference"] == plain["difference"]


def test_what_would_have_been_found_is_told_of_primary_tests_that_found_nothing(contrasts):
    primary = contrasts[contrasts["family"] == "primary"]
    assert primary.loc[primary["significant"], "detectable"].isna().all()
    assert (primary.loc[~primary["significant"], "detectable"] > 0).all()
    assert contrasts.loc[contrasts["family"] == "secondary", "detectable"].isna().all()


@pytest.mark.slow
def test_a_difference_of_the_detectable_size_is_found_in_four_of_five():
    """Simulated studies: one quantity and level, of which the table says what could have been found."""
    rng = np.random.default_rng(0)
    tables = [contrasts_table(small_study(rng.normal(0, 1, (1, 1, 10)))) for _ in range(20)]
    sizes = [table["detectable"].iloc[0] for table in tables]
    fresh = rng.normal(np.nanmedian(sizes), 1, (500, 10))
    found = [westfall_young(row[None], NumpyStream(0))[0] <= 0.05 for row in fresh]
    assert 0.7 <= np.mean(found) <= 0.92


def test_too_few_seeds_could_have_seen_nothing(make_results):
    table = contrasts_table(make_results(seeds=4))
    assert np.isinf(table.loc[table["family"] == "primary", "detectable"]).all()


def test_equivalence_is_told_where_a_margin_is_declared(results):
    def equivalent(margin, scaled=results):
        table = contrasts_table(replace(scaled, study={**scaled.study, "margin": {"nll": margin}}))
        assert table.loc[table["quantity"] != "nll", "equivalent"].isna().all()
        return one(table, quantity="nll", regime="weight_decay")["equivalent"]

    assert equivalent(0.5) is True
    assert equivalent(1e-6) is False
    assert equivalent(3.0, of_ratios(results, "nll")) is True
    assert equivalent(1.0001, of_ratios(results, "nll")) is False
    few = replace(results, ledger=results.ledger[results.ledger["seed"] < 3])
    assert equivalent(0.5, few) is False, "three seeds have no interval at 90%"


def test_settings_that_differ_are_seen(make_results):
    results = make_results(seeds=8, regimes=("baseline", "sam"), training__lr=[0.01, 0.1, 1.0])
    ledger = results.ledger.copy()
    ledger.loc[(ledger["regime"] == "sam") & (ledger[LR] == 1.0), "nll"] += 1.0
    found = contrasts_table(replace(results, ledger=ledger)).set_index("quantity")["p_heterogeneity"]
    assert found["nll"] < 0.01 < found["brier"]
    assert contrasts_table(make_results(seeds=4))["p_heterogeneity"].isna().all()


def test_of_a_study_of_one_setting_the_comparisons_are_the_contrasts(results, contrasts):
    table = comparisons_table(results)
    assert table.equals(contrasts[table.columns])


def small_study(differences):
    """A study of nothing but differences of primary quantities to the reference, [quantities, levels, seeds]."""
    quantities, levels, seeds = differences.shape
    names = [f"q{i}" for i in range(quantities)]
    results = synthetic(regimes=("baseline", *(f"r{k}" for k in range(levels))), seeds=seeds)
    ledger = results.ledger[["run_id", "state", "regime", "seed"]].copy()
    for i, name in enumerate(names):
        ledger[name] = np.concatenate([np.zeros(seeds), differences[i].ravel()])
    return replace(
        results,
        ledger=ledger,
        quantities={name: Quantity(name, "score", name) for name in names},
        pairs=results.pairs.iloc[:0],
        study={**results.study, "primary": names},
    )


def family(values):
    """The contrasts of values, [settings, quantities, levels, seeds], whose first level is the reference."""
    differences = (values[:, :, 1:] - values[:, :, :1]).reshape(len(values), -1, values.shape[-1])
    return np.stack([study_wide(differences[:, test]).values for test in range(differences.shape[1])])


@pytest.mark.slow
@pytest.mark.parametrize("settings", [1, 4])
def test_the_family_wise_error_of_a_thousand_ledgers_without_effects(settings):
    rng = np.random.default_rng(0)
    found = [family(rng.normal(size=(settings, 5, 6, 10))) for _ in range(1000)]
    false = np.mean([westfall_young(differences, NumpyStream(0)).min() <= 0.05 for differences in found])
    assert false <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 1000)


@pytest.mark.slow
@pytest.mark.parametrize(("seeds", "least"), [(6, 0.2), (8, 0.7), (10, 0.9)])
def test_effects_are_found_that_holm_cannot_find(seeds, least):
    rng, ours, holms = np.random.default_rng(0), [], []
    for _ in range(100):
        values = rng.normal(size=(1, 5, 6, seeds))
        values[:, :2, 1:] += 2 * np.sqrt(2)
        differences = family(values)
        p = np.array([signed_rank_test(row, np.zeros(seeds)).p for row in differences])
        ours.append(np.mean(westfall_young(differences, NumpyStream(0))[:10] <= 0.05))
        holms.append(np.mean(holm(p)[:10] <= 0.05))
    assert np.mean(ours) > least
    assert np.mean(ours) > np.mean(holms) + 0.1
    if seeds < 10:
        assert np.mean(holms) == 0


def test_seeds_that_failed_in_the_only_setting_are_named(make_results):
    results = make_results(regimes=("baseline", "sam", "augmentation"))
    ledger = results.ledger.copy()
    failed = (ledger["regime"] == "sam") & (ledger["seed"] > 6)
    ledger.loc[failed | ((ledger["regime"] == "baseline") & (ledger["seed"] == 0)), results.measured] = np.nan
    left = replace(results, ledger=ledger, pairs=results.pairs.iloc[:0])
    evidence = Evidence(left)
    for level, without in (("sam", "0, 7, 8, 9"), ("augmentation", "0")):
        row = one(evidence.contrasts, quantity="ece", regime=level)
        assert (row["n"], row["seeds_left_out"]) == (10 - len(without.split(", ")), without)
    sentences = find(left, evidence.contrasts, evidence.correlations).sentences
    assert "Where runs of sam or of the reference are missing, these seeds are left out: 0, 7, 8, 9." in sentences
    page = words(section_of("statistics", left)[0])
    assert "quantities of sam without seeds 0, 7, 8, 9; " in page


@pytest.mark.parametrize(("state", "left_out"), [("done", "7, 8, 9"), ("failed", "")])
def test_seeds_of_which_no_run_is_done_are_not_left_out(make_results, state, left_out):
    results = make_results(regimes=("baseline", "sam"))
    ledger = results.ledger.copy()
    ledger.loc[ledger["seed"] > 6, results.measured] = np.nan
    ledger.loc[ledger["seed"] > 6, "state"] = state
    row = one(contrasts_table(replace(results, ledger=ledger)), quantity="ece")
    assert (row["n"], row["seeds_left_out"]) == (7, left_out)


def in_one_setting(make_results, *names):
    """A study in which SAM differs in one setting of four by some quantities, and not at all in the others."""
    results = make_results(regimes=("baseline", "sam"), training__lr=[0.01, 0.1, 1.0, 10.0])
    rng, ledger = np.random.default_rng(1), results.ledger.copy()
    there = (ledger["regime"] == "sam") & (ledger[LR] == 1.0)
    for name in names:
        ledger[name] = 50 + rng.normal(size=len(ledger)) + 30 * there
    study = {**results.study, "primary": list(names)}
    return replace(results, ledger=ledger, pairs=results.pairs.iloc[:0], study=study)


def test_the_headline_says_that_one_setting_makes_a_difference(make_results):
    results = in_one_setting(make_results, "relative_flatness")
    evidence = Evidence(results)
    row = one(evidence.contrasts, quantity="relative_flatness")
    assert row["significant"]
    assert row["same_direction"] < row["settings"] == 4
    found = find(results, evidence.contrasts, evidence.correlations)
    k = row["same_direction"]
    assert f"Not in all settings: by relative flatness sam differs in that direction in {k} of 4." in found.headline
    assert f"{k} of 4 settings, which differ in size at p\u00a0=\u00a0" in dict(found.by_level)["sam"]


def test_many_differences_that_some_settings_lack_are_counted(make_results):
    names = ("relative_flatness", "fisher_rao_norm", "sam_sharpness", "ece", "nll", "brier")
    results = in_one_setting(make_results, *names)
    evidence = Evidence(results)
    family = evidence.contrasts[evidence.contrasts["family"] == "primary"]
    lacking = int((family["same_direction"] < 4).sum())
    assert lacking > 3
    headline = find(results, evidence.contrasts, evidence.correlations).headline
    told = f"Not in all settings: {lacking} of the 6 significant differences do not have their direction in all of them"
    assert told in headline
    assert f"that which agrees the least in {family['same_direction'].min()} of 4." in headline


@pytest.mark.parametrize("effect", [0.0, 5.0])
def test_a_level_with_too_few_seeds_is_not_said_not_to_differ(effect):
    differences = np.random.default_rng(0).normal(size=(2, 2, 10))
    differences[:, 0] += effect
    differences[:, 1, 4:] = np.nan
    results = small_study(differences)
    evidence = Evidence(results)
    found = find(results, evidence.contrasts, evidence.correlations)
    told = "r1 has too few seeds for any difference to be significant."
    if not effect:
        told = "No regime differs significantly from baseline in any of the 4 comparisons tested. In r1 none could be"
    assert told in found.headline
    assert dict(found.by_level)["r1"] == "too few seeds for a significant difference."
    assert "r1 does not differ" not in found.headline


@pytest.mark.parametrize(
    ("scale", "margins"), [("difference", (1.0, 1.0)), ("ratio", (3.0, 3.0)), ("ratio", (3.0, 1.01))]
)
def test_the_headline_says_that_significant_differences_are_smaller_than_their_margin(scale, margins):
    differences = np.random.default_rng(0).uniform(0.1, 0.2, size=(2, 1, 10))
    results = small_study(differences)
    quantities = {n: replace(q, better="higher", scale=scale) for n, q in results.quantities.items()}
    ledger = results.ledger.assign(**{n: np.exp(results.ledger[n]) for n in quantities} if scale == "ratio" else {})
    study = {**results.study, "margin": dict(zip(quantities, margins, strict=True))}
    results = replace(results, quantities=quantities, ledger=ledger, study=study)
    evidence = Evidence(results)
    found = find(results, evidence.contrasts, evidence.correlations)
    which = "1 of the 2 significant differences is smaller than the margin of the study: r0 by q0."
    if margins[1] > 1.1 or scale == "difference":
        which = "All significant differences are smaller than the margin of the study: r0 by q0 and r0 by q1."
    assert found.headline == f"Compared with baseline, r0 has significantly better scores. {which}"
    assert "better q0 (" in dict(found.by_level)["r0"]
    assert "smaller than the margin of the study)" in dict(found.by_level)["r0"]
    assert "<b>better</b>, smaller than the margin" in section_of("statistics", results)[0]
