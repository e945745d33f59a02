"""Whether a difference would be there with new test samples too: the table and the section of it."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from sharpscope.analysis import numbers
from sharpscope.analysis.contrasts import contrasts_table
from sharpscope.analysis.new_data import HOLDS, NOT_SEEN, THESE_ALONE, OtherData, Samples, new_data_table
from sharpscope.analysis.section import Evidence
from sharpscope.analysis.sections.new_data import new_data
from sharpscope.analysis.sections.new_data.data import rows_of
from sharpscope.analysis.statistics import two_way

REGIMES = ("baseline", "sam", "augmentation")
SAMPLES = 400
SCORES = ("test_accuracy", "brier", "corruption_accuracy")


def with_samples(results, *, of_sample, seed=0, ratio=(), lost=()):
    """A study in which each test sample adds its own to each score: ``of_sample`` is how much levels differ by it."""
    rng = np.random.default_rng(seed)
    harder = {level: rng.standard_normal(SAMPLES) for level in results.levels}
    arrays, ledger = {}, results.ledger.copy()
    for at, run in ledger.iterrows():
        if run["run_id"] in lost:
            continue
        arrays[run["run_id"]] = {}
        for name in SCORES:
            own = rng.standard_normal(SAMPLES) * 0.1
            own += run[name] - own.mean() + of_sample * harder[run["regime"]]
            arrays[run["run_id"]][name] = own.astype(np.float32)
            ledger.loc[at, name] = arrays[run["run_id"]][name].mean(dtype=np.float64)
    scaled = {n: replace(q, scale="ratio") if n in ratio else q for n, q in results.quantities.items()}
    return replace(results, ledger=ledger, quantities=scaled, read_arrays=lambda stage, snapshot: (arrays, {}))


@pytest.fixture(scope="module")
def study(make_results):
    return with_samples(make_results(seeds=6, regimes=REGIMES), of_sample=0.02)


def test_differences_are_the_contrasts_of_the_study(study):
    table = new_data_table(study, Samples.of(study))
    assert list(dict.fromkeys(table["quantity"])) == list(SCORES)
    contrasts = contrasts_table(study).set_index(["quantity", "regime"])
    for row in table.to_dict("records"):
        expected = contrasts.loc[row["quantity"], row["regime"]]
        assert row["mean_difference"] == pytest.approx(expected["mean_difference"], rel=1e-5, abs=1e-9)
        assert (row["ci_low"], row["ci_high"]) == (expected["ci_low"], expected["ci_high"])
        assert row["new_low"] < row["mean_difference"] < row["new_high"]
        assert row["sd"] >= max(row["sd_seed"], row["sd_test"])
        assert (row["n"], row["samples"]) == (6, SAMPLES)


def test_a_difference_of_these_samples_alone_is_told_from_one_that_would_be_there_with_others(make_results):
    plain = make_results(seeds=8, regimes=REGIMES)
    told = {}
    for of_sample in (0.0, 5.0):
        table = new_data_table(study := with_samples(plain, of_sample=of_sample), Samples.of(study))
        told[of_sample] = table.set_index(["quantity", "regime"])["holds"]["corruption_accuracy", "augmentation"]
    assert told == {0.0: HOLDS, 5.0: THESE_ALONE}
    assert NOT_SEEN == "not seen"


@pytest.mark.parametrize(("seeds", "few"), [(2, True), (5, True), (6, False)])
def test_of_few_seeds_no_difference_is_called_seen(make_results, seeds, few):
    study = with_samples(make_results(seeds=seeds, regimes=REGIMES), of_sample=0.0)
    told = set(new_data_table(study, Samples.of(study))["holds"])
    assert (told == {"too few seeds"}) == few
    assert ("too few seeds" in told) == few


@pytest.mark.parametrize("ratio", [(), ("brier",)])
def test_standard_errors_are_those_of_a_bootstrap_of_samples(make_results, ratio):
    study = with_samples(make_results(seeds=5, regimes=REGIMES), of_sample=0.05, ratio=ratio)
    samples = Samples.of(study)
    row = new_data_table(study, samples).set_index(["quantity", "regime"]).loc["brier", "sam"]
    rng = np.random.default_rng(0)
    weights = rng.multinomial(SAMPLES, np.full(SAMPLES, 1 / SAMPLES), size=4000) / SAMPLES
    forward = np.log if ratio else np.asarray
    runs = study.ledger.set_index(["regime", "seed"])["run_id"]
    drawn = [
        forward(weights @ samples.arrays[runs["sam", s]]["brier"].astype(float))
        - forward(weights @ samples.arrays[runs["baseline", s]]["brier"].astype(float))
        for s in range(5)
    ]
    assert row["scale"] == ("ratio" if ratio else "difference")
    assert np.mean(drawn, axis=0).std() == pytest.approx(row["sd_test"], rel=0.06)


def test_settings_are_averaged_and_a_seed_that_lacks_a_run_is_left_out(make_results):
    plain = make_results(seeds=5, regimes=REGIMES, training__lr=[0.01, 0.1])
    run = plain.ledger.query("regime == 'sam' and seed == 3").iloc[0]["run_id"]
    study = with_samples(plain, of_sample=0.02, lost=(run,))
    samples = Samples.of(study)
    parts = dict(samples.by_level("brier"))["sam"]
    assert parts.shape == (4, SAMPLES)
    rows = study.ledger.set_index("run_id")["regime"]
    per = [[samples.arrays[r]["brier"] for r in rows.index[rows == level] if r in samples.arrays] for level in REGIMES]
    assert (len(per[0]), len(per[1])) == (10, 9)
    assert new_data_table(study, samples).set_index(["quantity", "regime"])["n"]["brier", "augmentation"] == 5


def test_an_estimate_lies_in_its_interval_where_one_seed_carries_the_mean_away(make_results):
    plain = make_results(seeds=20, regimes=("baseline", "sam"))
    ledger = plain.ledger.copy()
    ledger.loc[(ledger["regime"] == "sam") & (ledger["seed"] == 0), "brier"] += 50
    study = with_samples(replace(plain, ledger=ledger), of_sample=0.02)
    table = new_data_table(study, Samples.of(study)).query("quantity == 'brier'")
    row = table.iloc[0]
    assert row["ci_low"] <= row["difference"] <= row["ci_high"] < row["mean_difference"]
    (cells,) = rows_of(study, table)
    assert cells["seeds"] == numbers.with_interval(row["difference"], row["ci_low"], row["ci_high"], sign=True)


def test_what_a_ratio_is_made_of_has_its_mean(make_results):
    study = with_samples(make_results(seeds=4, regimes=REGIMES), of_sample=0.05, ratio=("brier",))
    parts = dict(Samples.of(study).by_level("brier"))["sam"]
    values = study.ledger.pivot_table(index="seed", columns="regime", values="brier")
    assert parts.mean(axis=1) == pytest.approx(np.log(values["sam"] / values["baseline"]).to_numpy(), abs=1e-5)
    assert two_way(parts).seeds == 4


def test_the_section_has_a_row_a_score_and_level(study):
    content = new_data(Evidence(study))
    assert [(row["label"], row["level"]) for row in content.page["rows"]][:2] == [
        *(("Test accuracy", "sam"), ("Test accuracy", "augmentation"))
    ]
    saved = pd.read_csv(io.BytesIO(content.tables["new_data.csv"]))
    assert len(saved) == 3 * 2
    # The page has the primary ones, or all.
    none = replace(study, study={**study.study, "primary": ["relative_flatness"]})
    assert len(new_data(Evidence(none)).page["rows"]) == 6
    assert {row["label"] for row in content.page["rows"]} == {"Test accuracy", "Corruption accuracy"}
    assert content.page["more"]
    assert set(saved["holds"]) <= {HOLDS, THESE_ALONE, NOT_SEEN}
    rows = [line for line in content.tables["new_data.tex"].decode().splitlines() if line.startswith(("Test", "Corr"))]
    assert len(rows) == 2 * 4  # it is wider than a page, and comes in two parts


def test_runs_that_are_left_out_are_told(study):
    arrays, _ = study.read_arrays("by_sample", "end")
    torn, waiting = list(arrays)[:2]
    rest = {run: found for run, found in arrays.items() if run not in (torn, waiting)}
    some = replace(study, read_arrays=lambda stage, snapshot: (rest, {torn: "brier.safetensors is damaged"}))
    page = new_data(Evidence(some)).page
    assert (page["waiting"], page["unread"]) == (1, {torn: "brier.safetensors is damaged"})
    assert (new_data(Evidence(study)).page["waiting"], new_data(Evidence(study)).page["unread"]) == (0, {})


def test_runs_of_other_data_are_not_set_beside_each_other(make_results):
    study = with_samples(make_results(seeds=3, regimes=REGIMES, data__name=["digits", "mnist"]), of_sample=0.02)
    with pytest.raises(OtherData, match=r"data\.name"):
        Samples.of(study)
    assert "here they are not" in new_data(Evidence(study)).nothing
    same = with_samples(make_results(seeds=3, regimes=REGIMES, data__train_size=[100, 200]), of_sample=0.02)
    assert new_data(Evidence(same)).page["rows"]


def test_one_level_has_nothing_to_be_compared_with(make_results):
    alone = with_samples(make_results(seeds=3, regimes=("baseline",)), of_sample=0.02)
    assert new_data(Evidence(alone)).nothing == "There is no second regime to compare."


def test_without_what_samples_add_there_is_nothing_to_tell(make_results):
    assert new_data(Evidence(make_results(seeds=3))).page is None
