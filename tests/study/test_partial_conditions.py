"""What is made of predictions under conditions, and when: what is missing alone; a failure costs what reads it."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import pandas as pd
import pytest
from safetensors.numpy import load_file

from sharpscope.analysis.ledger import load_ledger, load_results
from sharpscope.condition import Case
from sharpscope.data import CONDITIONS
from sharpscope.data.conditions import attacks
from sharpscope.errors import SpecError
from sharpscope.spec import Component
from sharpscope.store.pairs import update_pairs
from sharpscope.store.record import BY_SAMPLE, RELIABILITY, TEMPERATURE
from sharpscope.store.run_folder import PREDICTIONS, UNDER_CONDITIONS
from sharpscope.study.stages import predict
from sharpscope.study.work import data_cache
from sharpscope.study.work.data_cache import DataCache
from sharpscope.study.work.stage import STAGES, in_order

from .conftest import perform_all
from .test_conditions import PAIR, SCORED, plugin  # noqa: F401 - a fixture

ONE_RUN = {"regimes": ["baseline"], "grid": {"seed": 1}}
FAILING = '''

@CONDITIONS.register(facts=ConditionFacts("inputs", "Failing", severities=(1,), reference="none"))
def failing(images, severity, draws):
    """Fails on all but a few images."""
    if len(images) > 9:
        raise ZeroDivisionError("no light")
    return images


BOTH = named("darkness", "failing")


@SCORES.register(facts=ScoreFacts("Under both", "higher", "fraction", needs=(), conditions=BOTH))
def under_both(predictions):
    """Accuracy under two conditions."""
    return float(np.mean([s.correct.mean() for s in predictions.under(BOTH)]))
'''


@pytest.fixture
def made(monkeypatch):
    """The cases that predictions are made in, and how often clean ones are."""
    seen = []
    under, clean = predict.predict_under, predict.predictions_of

    def watched(model, dataset, cases, device):
        found = under(model, dataset, cases, device)
        seen.extend(map(str, found))
        return found

    monkeypatch.setattr(predict, "predict_under", watched)
    monkeypatch.setattr(predict, "predictions_of", lambda *args: seen.append("clean") or clean(*args))
    return seen


def test_a_condition_that_is_added_costs_its_own_cases_and_no_others(plugin, plan_of, store, made):  # noqa: F811
    perform_all(plan_of(plugins=[plugin], scores=["dark_accuracy", "accuracy"], **ONE_RUN), store)
    assert made == ["clean", "darkness-1", "darkness-2"]
    before = load_ledger(store.path)
    (folder,) = map(store.run, before["run_id"])
    clean = (folder.path / PREDICTIONS).stat().st_mtime_ns
    made.clear()
    perform_all(plan_of(plugins=[plugin], scores=SCORED, **ONE_RUN), store)
    assert made == ["rounded-8", "rounded-3"]
    assert (folder.path / PREDICTIONS).stat().st_mtime_ns == clean
    after = load_ledger(store.path)
    pd.testing.assert_frame_equal(after[list(before)], before, check_exact=True)
    # In another order, and all at once: the same to the last bit.
    stored = load_file(folder.path / UNDER_CONDITIONS)
    (folder.path / UNDER_CONDITIONS).unlink()
    made.clear()
    perform_all(plan_of(plugins=[plugin], scores=SCORED[::-1], **ONE_RUN), store)
    assert sorted(made) == ["darkness-1", "darkness-2", "rounded-3", "rounded-8"]
    again = load_file(folder.path / UNDER_CONDITIONS)
    assert all((again[name] == stored[name]).all() for name in stored)


def test_the_time_that_is_told_is_of_what_is_left(plugin, plan_of, store):  # noqa: F811
    plan = plan_of(plugins=[plugin], scores=SCORED, **ONE_RUN)
    (run,) = plan.runs.values()
    one_pass = SimpleNamespace(forward=lambda run: 1.0, dataset=plan.dataset_of)
    (predicting,) = (stage for stage in in_order(plan.requested.stages) if stage.name == "predictions")

    def seconds(wanted):
        left = store.run(run.id).best_record().left(wanted.wanted)
        keys = {snapshot: stages["predictions"] for snapshot, stages in left.items() if "predictions" in stages}
        return predicting.seconds(one_pass, run, keys)

    # 60 training and 797 test samples, and 797 of each of two severities of two conditions.
    assert seconds(plan) == 60 + 797 + 4 * 797
    perform_all(plan_of(plugins=[plugin], scores=["dark_accuracy"], **ONE_RUN), store)
    assert seconds(plan) == 2 * 797
    perform_all(plan, store)
    assert seconds(plan) == 0


def test_clean_predictions_that_are_missing_are_made_alone(plugin, plan_of, store, made):  # noqa: F811
    plan = plan_of(plugins=[plugin], scores=SCORED, **ONE_RUN)
    perform_all(plan, store)
    before = load_ledger(store.path)
    (store.run(next(iter(plan.runs))).path / PREDICTIONS).unlink()
    made.clear()
    perform_all(plan, store)
    assert made == ["clean"]
    pd.testing.assert_frame_equal(load_ledger(store.path), before, check_exact=True)


def test_what_is_wanted_no_longer_stays_and_is_not_read(plugin, plan_of, store, made):  # noqa: F811
    wide = {"plugins": [plugin], "scores": [*SCORED, "corruption_accuracy"], **ONE_RUN}
    plan = plan_of(**wide)
    perform_all(plan, store)
    before = load_ledger(store.path)
    folder = store.run(next(iter(plan.runs)))
    made.clear()
    narrow = plan_of(plugins=[plugin], scores=["accuracy"], **ONE_RUN)
    assert perform_all(narrow, store)[0].stages == ()
    assert (folder.path / UNDER_CONDITIONS).exists()
    assert folder.faults(folder.read_record()) == []
    perform_all(plan, store)
    assert made == []
    pd.testing.assert_frame_equal(load_ledger(store.path), before, check_exact=True)


def test_a_score_is_of_the_conditions_of_the_present_study(plugin, plan_of, store):  # noqa: F811
    plan = plan_of(plugins=[plugin], scores=["corruption_accuracy"], **ONE_RUN)
    perform_all(plan, store)
    with_darkness = load_ledger(store.path)["corruption_accuracy"][0]
    entry = CONDITIONS._entries.pop("darkness")
    perform_all(plan_of(plugins=[], scores=["corruption_accuracy"], **ONE_RUN), store)
    without = load_ledger(store.path)["corruption_accuracy"][0]
    CONDITIONS._entries["darkness"] = entry
    folder = store.run(next(iter(plan.runs)))
    cases = folder.read_predictions(folder.read_record(), cases=True).cases
    own = [split.correct.mean() for case, split in cases.items() if case.condition != "darkness"]
    assert without == pytest.approx(sum(own) / len(own), abs=1e-12)
    assert without != with_darkness
    assert Case("darkness", 1, "inputs", "weather") in cases


def test_what_is_not_made_anew_yet_is_in_no_table_of_a_report(plugin, plan_of, store, monkeypatch):  # noqa: F811
    study = {"plugins": [plugin], "scores": [*SCORED, "corruption_ece"], "twins": ["calibrated"], **ONE_RUN}
    perform_all(plan_of(**study), store)

    def told():
        results = load_results(store.path)
        table, (arrays, unread) = results.conditions, results.arrays(BY_SAMPLE)
        assert not unread
        counts = table.loc[table["condition"].isin(["darkness", "rounded"]), "condition"].value_counts().to_dict()
        calibrated = table.loc[table["kind"] == "inputs", "ece~calibrated"]
        return counts, bool(calibrated.notna().all()), len(results.reliability) > 0, len(arrays)

    def of_another_version(registry, name):
        changed = dataclasses.replace(registry[name], version=99)
        monkeypatch.setitem(registry._entries, name, changed)
        store.write_catalog(plan_of(**study).catalog)

    assert told() == ({"darkness": 2, "rounded": 2}, True, True, 1)
    of_another_version(CONDITIONS, "darkness")
    assert told() == ({"rounded": 2}, True, True, 1)
    of_another_version(STAGES, TEMPERATURE)
    assert told() == ({"rounded": 2}, False, True, 1)
    of_another_version(STAGES, RELIABILITY)
    of_another_version(STAGES, BY_SAMPLE)
    assert told() == ({"rounded": 2}, False, False, 0)
    perform_all(plan_of(**study), store)
    assert told() == ({"darkness": 2, "rounded": 2}, True, True, 1)


def test_predictions_of_weights_that_were_made_anew_leave_nothing_behind(plugin, plan_of, store):  # noqa: F811
    plan = plan_of(plugins=[plugin], scores=SCORED, **ONE_RUN)
    perform_all(plan, store)
    folder = store.run(next(iter(plan.runs)))
    (folder.path / "weights.safetensors").write_bytes(b"torn")
    narrow = plan_of(plugins=[plugin], scores=["accuracy"], **ONE_RUN)
    perform_all(narrow, store)
    assert not (folder.path / UNDER_CONDITIONS).exists()
    assert folder.faults(folder.read_record()) == []


def test_a_condition_that_fails_costs_the_scores_that_read_it(plugin, tmp_path, plan_of, store):  # noqa: F811
    with (tmp_path / plugin).open("a") as file:
        file.write(FAILING + PAIR.replace('named("darkness")', 'named("failing")'))
    scores = [*SCORED, "under_both", "dark_distance"]
    plan = plan_of(plugins=[plugin], scores=scores, regimes=["baseline"], grid={"seed": 2})
    for outcome in perform_all(plan, store):
        assert outcome.state == "done"
        assert outcome.missing == {
            "conditions": "there are no predictions under failing (ZeroDivisionError: no light)",
            "by_condition": "there are no predictions under failing (ZeroDivisionError: no light)",
            "under_both": "there are no predictions under failing (ZeroDivisionError: no light)",
        }
    ledger = load_ledger(store.path)
    assert ledger[SCORED].notna().all(axis=None)
    assert ledger["under_both"].isna().all()
    (pair,) = update_pairs(store).failed
    assert "has no predictions under the condition 'failing'" in pair.error
    # Tried again by the next run, without training or measuring.
    assert {o.stages for o in perform_all(plan, store)} == {("predictions", "by_condition", "reliability", "scores")}


def test_a_condition_that_fails_on_a_few_samples_is_refused_at_once(plugin, tmp_path, plan_of):  # noqa: F811
    with (tmp_path / plugin).open("a") as file:
        file.write('''

@CONDITIONS.register(facts=ConditionFacts("weights", "Broken weights", severities=(1,), reference="none"))
def broken(weights, severity, stream):
    """Nothing that is a number."""
    return {name: weight * float("nan") for name, weight in weights.items()}


@SCORES.register(facts=ScoreFacts("Broken", "higher", "fraction", needs=(), conditions=named("broken")))
def broken_accuracy(predictions):
    """Accuracy of broken weights."""
    return 0.0


@CONDITIONS.register(facts=ConditionFacts("inputs", "Gray", severities=(1,), reference="none"))
def gray(images, severity, draws):
    """Another shape."""
    return images[:, :1, :4]


@SCORES.register(facts=ScoreFacts("Gray", "higher", "fraction", needs=(), conditions=named("gray")))
def gray_accuracy(predictions):
    """Accuracy in gray."""
    return 0.0
''')
    with pytest.raises(SpecError) as told:
        plan_of(plugins=[plugin], scores=["broken_accuracy"])
    assert (
        "the condition 'broken' fails at severity 1 on dataset 'digits': under broken-1, the trained model's outputs "
        "are NaN or infinite for 4 samples; mend it, or leave out the scores"
    ) in str(told.value)
    with pytest.raises(SpecError, match=r"returns images in their own shape, got \(4, 1, 4, 8\) from 'gray' for"):
        plan_of(plugins=[plugin], scores=["gray_accuracy"])
    plan_of(plugins=[plugin], scores=["accuracy"])


def test_altered_sets_are_kept_as_far_as_they_fit(monkeypatch):
    digits, few = Component(name="digits"), Component(name="digits", options={"train_size": 20})
    own = DataCache(None)
    size = 5 * own.dataset(digits).test_inputs.nbytes
    monkeypatch.setattr(data_cache, "KEPT_BYTES", 2 * size)
    kept = own.altered(digits, "contrast")
    assert own.altered(digits, "contrast") is kept
    own.altered(digits, "brightness")
    third = own.altered(digits, "pixelate")
    assert not isinstance(third, list)
    assert [str(case) for case, _ in third] == [f"pixelate-{s}" for s in range(1, 6)]
    # Another dataset takes the room.
    assert isinstance(own.altered(few, "contrast"), list)
    assert own.altered(digits, "contrast") is not kept


@pytest.mark.slow
def test_attacks_and_other_data_are_predicted_with_the_model_of_each_run(plan_of, store, monkeypatch):
    monkeypatch.setattr(attacks, "STEPS", 3)
    monkeypatch.setattr(attacks, "RESTARTS", 1)
    scores = ["accuracy", "adversarial_accuracy", "masked_gradient_accuracy", "ood_auroc", "ood_fpr95"]
    plan = plan_of(scores=scores, regimes=["baseline"], grid={"seed": 2}, training={"epochs": 30, "batch_size": 16})
    assert {outcome.state for outcome in perform_all(plan, store)} == {"done"}
    ledger = load_ledger(store.path)
    assert (ledger["masked_gradient_accuracy"] < ledger["test_accuracy"] - 0.3).all()
    defined = ledger["masked_gradient_accuracy"] < 0.05
    assert (ledger["adversarial_accuracy"].notna() == defined).all()
    assert (ledger["adversarial_accuracy"][defined] < ledger["test_accuracy"][defined]).all()
    assert (ledger["ood_auroc"] > 0.5).all()
    for run_id in plan.runs:
        folder = store.run(run_id)
        cases = folder.read_predictions(folder.read_record(), cases=True).cases
        at = {case.severity: split.correct.mean() for case, split in cases.items() if case.condition == "pgd"}
        assert [at[k] for k in (1, 2, 4, 8, 64)] == sorted(at.values(), reverse=True)
    assert perform_all(plan, store)[0].stages == ()
