"""Conditions and scores under them in a study, from one file of the user's own."""

from __future__ import annotations

import dataclasses
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional

from sharpscope.analysis.ledger import load_ledger
from sharpscope.cli import run_command
from sharpscope.data import CONDITIONS, DATASETS, DataSource
from sharpscope.data.draws import Draws
from sharpscope.errors import SpecError
from sharpscope.safety import SCORES
from sharpscope.seeding import Stream
from sharpscope.store.pairs import update_pairs
from sharpscope.store.run_folder import PREDICTIONS, UNDER_CONDITIONS, RunFolder
from sharpscope.study.run.forecast import forecast, show

from .conftest import perform_all

PLUGIN = '''
"""Two conditions and scores under them."""

import numpy as np
import torch
from sharpscope.extend import CONDITIONS, SCORES, ConditionFacts, ScoreFacts, named


@CONDITIONS.register(facts=ConditionFacts("inputs", "Darkness", family="weather", severities=(1, 2), reference="none"))
def darkness(images, severity, draws):
    """Less light, by another share for each image."""
    return images * (1 - 0.3 * severity * draws.uniform("share"))[:, None, None, None]


@CONDITIONS.register(facts=ConditionFacts("weights", "Rounded weights", severities=(8, 3), reference="none"))
def rounded(weights, severity, stream):
    """Weights rounded to a few bits, by output channel."""
    def of(weight):
        step = weight.flatten(1).abs().amax(1) / (2 ** (severity - 1) - 1)
        step = step.view(-1, *(1,) * (weight.ndim - 1))
        return torch.where(step > 0, (weight / step).round() * step, weight)

    return {name: of(weight) for name, weight in weights.items() if weight.ndim > 1}


@SCORES.register(facts=ScoreFacts("Accuracy in darkness", "higher", "fraction", needs=(), conditions=named("darkness")))
def dark_accuracy(predictions):
    """Share of dark test samples that are classified right, averaged over severities."""
    return float(np.mean([split.correct.mean() for split in predictions.under(named("darkness"))]))


@SCORES.register(
    facts=ScoreFacts(
        "Loss of rounded weights", "lower", "nats", bounds=(0, np.inf), needs=(), conditions=named("rounded")
    )
)
def rounded_nll(predictions):
    """Negative log-likelihood with rounded weights, averaged over severities."""
    return float(np.mean([split.cross_entropy for split in predictions.under(named("rounded"))]))
'''
SCORED = ["dark_accuracy", "rounded_nll", "accuracy"]


@pytest.fixture
def plugin(tmp_path):
    """The plugin, taken out of the registries afterwards."""
    before = dict(sys.modules), *(dict(registry._entries) for registry in (CONDITIONS, SCORES) if len(registry))
    (tmp_path / "mine.py").write_text(PLUGIN)
    yield "mine.py"
    for name in set(sys.modules) - set(before[0]):
        if name.startswith("sharpscope_plugin_"):
            del sys.modules[name]
    CONDITIONS._entries, SCORES._entries = before[1:]


def logits_of(weights, inputs):
    """The outputs of the network of the tiny study, by hand in double precision."""
    digits = DATASETS["digits"](DataSource(download=False), train_size=60)
    hidden, last = (name.removesuffix(".weight") for name, w in weights.items() if w.ndim == 2)
    values = digits.normalize(inputs).flatten(1).double()
    for layer, activation in ((hidden, torch.relu), (last, lambda x: x)):
        weight, bias = (weights[f"{layer}.{what}"].double() for what in ("weight", "bias"))
        values = activation(functional.linear(values, weight, bias))
    return values


def test_a_plugin_adds_conditions_that_a_study_evaluates(plugin, plan_of, store):
    plan = plan_of(plugins=[plugin], scores=SCORED)
    assert plan.requested.conditions == {"darkness": 1, "rounded": 1}
    assert {outcome.state for outcome in perform_all(plan, store)} == {"done"}
    ledger = load_ledger(store.path).set_index("run_id")
    digits = DATASETS["digits"](DataSource(download=False), train_size=60)
    images = digits.test_inputs.double() / 255
    share = Draws(Stream("corruptions", "digits").child("darkness", 1), 0, len(images)).uniform("share").double()
    share2 = Draws(Stream("corruptions", "digits").child("darkness", 2), 0, len(images)).uniform("share").double()
    dark = [images * (1 - 0.3 * k * s)[:, None, None, None] for k, s in ((1, share), (2, share2))]
    for run_id in plan.runs:
        weights = load_file(store.run(run_id).path / "weights.safetensors")
        right = [logits_of(weights, (d * 255 + 0.501).floor().byte()).argmax(1) == digits.test_targets for d in dark]
        # Rounding to bytes may turn a sample that two classes share.
        expected = float(torch.stack(right).double().mean())
        assert ledger.loc[run_id, "dark_accuracy"] == pytest.approx(expected, abs=2 / len(images))
        losses = []
        for bits in (8, 3):
            levels = 2 ** (bits - 1) - 1
            coarse = dict(weights)
            for name, weight in weights.items():
                if weight.ndim == 2:
                    step = weight.abs().amax(1, keepdim=True) / levels
                    coarse[name] = (weight / step).round() * step
            losses.append(functional.cross_entropy(logits_of(coarse, digits.test_inputs), digits.test_targets))
        assert ledger.loc[run_id, "rounded_nll"] == pytest.approx(float(np.mean(losses)), rel=1e-5)
        assert load_file(store.run(run_id).path / "weights.safetensors").keys() == weights.keys()


def test_what_is_told_of_the_disk_is_what_is_taken(plugin, plan_of, store):
    plan = plan_of(plugins=[plugin], scores=SCORED)
    found = forecast(plan, store, 1)
    # Two severities of each condition, 797 test samples of 10 classes: all of them, of four bytes and one of index
    # each, and two numbers more.
    assert found.disk["predictions under conditions"] == 4 * 4 * 797 * (10 * 5 + 8)
    assert "kB of predictions under conditions" in show(plan, found)
    with_none = plan_of(plugins=[plugin], scores=["accuracy"])
    assert "under conditions" not in show(with_none, forecast(with_none, store, 1))
    perform_all(plan, store)
    for run_id in plan.runs:
        folder = store.run(run_id)
        arrays = folder.read_arrays(UNDER_CONDITIONS, folder.read_record().files[UNDER_CONDITIONS])
        stored = sum(array.nbytes for name, array in arrays.items() if name.startswith("case."))
        assert 4 * stored == found.disk["predictions under conditions"]


def test_predictions_follow_the_versions_of_their_conditions(plugin, plan_of, store, monkeypatch):
    plan = plan_of(plugins=[plugin], scores=SCORED, regimes=["baseline"], grid={"seed": 1})
    perform_all(plan, store)
    before = load_ledger(store.path)
    assert perform_all(plan, store)[0].stages == ()
    # One score fewer: the predictions hold more than is wanted, and that is well.
    fewer = plan_of(plugins=[plugin], scores=["dark_accuracy"], regimes=["baseline"], grid={"seed": 1})
    assert "predictions" not in perform_all(fewer, store)[0].stages
    entry = CONDITIONS["darkness"]

    def black(images, severity, draws):
        """Nothing at all."""
        return images * 0

    changed = dataclasses.replace(entry, function=black, version=2)
    monkeypatch.setitem(CONDITIONS._entries, "darkness", changed)
    again = plan_of(plugins=[plugin], scores=SCORED, regimes=["baseline"], grid={"seed": 1})
    outcome = perform_all(again, store)[0]
    assert "predictions" in outcome.stages
    assert "training" not in outcome.stages
    after = load_ledger(store.path)
    # Of images that are all the same, one class is right.
    shares = DATASETS["digits"](DataSource(download=False)).test_targets.bincount() / 797
    assert min(abs(float(share) - after["dark_accuracy"][0]) for share in shares) < 1e-6
    assert after["dark_accuracy"][0] != before["dark_accuracy"][0]
    same = [column for column in before if column != "dark_accuracy"]
    pd.testing.assert_frame_equal(after[same], before[same], check_exact=True)


def opened_by(action, monkeypatch):
    """The names of the files of arrays that are read while something is done."""
    names = []
    original = RunFolder.read_arrays
    with monkeypatch.context() as patch:
        patch.setattr(
            RunFolder, "read_arrays", lambda self, name, seal: names.append(name) or original(self, name, seal)
        )
        action()
    return names


PAIR = '''

@SCORES.register(
    facts=ScoreFacts("Distance in darkness", "lower", "fraction", of_pairs=True, needs=(), conditions=named("darkness"))
)
def dark_distance(first, second):
    """Share of dark test samples that two runs put into different classes."""
    pairs = zip(first.under(named("darkness")), second.under(named("darkness")), strict=True)
    return float(np.mean([(a.predicted != b.predicted).mean() for a, b in pairs]))
'''


def test_predictions_under_conditions_are_read_by_those_who_need_them_alone(
    plugin, tmp_path, plan_of, store, monkeypatch
):
    with (tmp_path / plugin).open("a") as file:
        file.write(PAIR)
    perform_all(plan_of(plugins=[plugin], scores=[*SCORED, "prediction_disagreement"], sections=["pairs"]), store)
    read = opened_by(lambda: (update_pairs(store), run_command(["report", str(store.path)])), monkeypatch)
    assert set(read) == {PREDICTIONS}
    plan = plan_of(plugins=[plugin], scores=[*SCORED, "prediction_disagreement", "dark_distance"])
    perform_all(plan, store)
    assert UNDER_CONDITIONS in opened_by(lambda: update_pairs(store), monkeypatch)
    ledger = load_ledger(store.path).set_index("run_id")
    runs = ledger.index[ledger["regime"] == "sam"]
    predictions = [f.read_predictions(f.read_record(), cases=True) for f in map(store.run, runs)]
    assert ledger.loc[runs, "dark_distance"].tolist() == [SCORES["dark_distance"](*predictions)] * 2
    assert opened_by(lambda: update_pairs(store), monkeypatch) == []


def test_damaged_predictions_under_conditions_are_made_anew(plugin, plan_of, store):
    plan = plan_of(plugins=[plugin], scores=SCORED, regimes=["baseline"], grid={"seed": 1})
    perform_all(plan, store)
    before = load_ledger(store.path)
    (folder,) = map(store.run, plan.runs)
    whole = (folder.path / UNDER_CONDITIONS).read_bytes()
    (folder.path / UNDER_CONDITIONS).write_bytes(whole[:-1])
    (outcome,) = perform_all(plan, store)
    assert f"{UNDER_CONDITIONS} is cut off" in outcome.notes[0] or f"{UNDER_CONDITIONS} is damaged" in outcome.notes[0]
    assert (folder.path / UNDER_CONDITIONS).read_bytes() == whole
    (folder.path / UNDER_CONDITIONS).unlink()
    assert perform_all(plan, store)[0].state == "done"
    assert (folder.path / UNDER_CONDITIONS).read_bytes() == whole
    pd.testing.assert_frame_equal(load_ledger(store.path), before, check_exact=True)


def as_of_earlier_versions(store):
    """Put what earlier versions stored under corruptions, classes and confidences alone, in the place of the cases."""
    for point in store.read_catalog()["grid"]:
        folder = store.run(point["run_id"])
        record = folder.read_record()
        arrays = folder.read_arrays(PREDICTIONS, record.files[PREDICTIONS])
        clean = dict(arrays)
        clean["corrupted.conditions"] = np.frombuffer(b"darkness-1", dtype=np.uint8)
        clean["corrupted.predicted"] = np.zeros((1, 797), np.uint8)
        clean["corrupted.confidence"] = np.ones((1, 797), np.float16)
        record.files[PREDICTIONS] = folder.write_arrays(PREDICTIONS, clean)
        made = record.snapshots["end"]["predictions"]
        made["corruptions"] = {"made_by": made.pop("conditions")["made_by"], "conditions": {"darkness": 1}}
        del record.files[UNDER_CONDITIONS]
        folder.remove(UNDER_CONDITIONS)
        folder.write_record(record)


def test_predictions_of_earlier_versions_are_made_anew_without_training(plugin, plan_of, store):
    scores = [*SCORED, "prediction_disagreement"]
    plan = plan_of(plugins=[plugin], scores=scores, sections=["pairs"])
    perform_all(plan, store)
    before = load_ledger(store.path)
    as_of_earlier_versions(store)
    assert run_command(["report", str(store.path)]) == 0
    pd.testing.assert_frame_equal(load_ledger(store.path), before, check_exact=True)
    for outcome in perform_all(plan, store):
        assert outcome.state == "done"
        assert outcome.notes == ()
        assert "predictions" in outcome.stages
        assert "training" not in outcome.stages
    pd.testing.assert_frame_equal(load_ledger(store.path), before, check_exact=True)


def test_conditions_are_listed_and_explained(plugin, plan_of, capsys):
    plan_of(plugins=[plugin])
    assert run_command(["list", "conditions"]) == 0
    assert "rounded\tWeights rounded to a few bits, by output channel\n" in capsys.readouterr().out
    assert run_command(["explain", "rounded"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("rounded: Rounded weights (a condition, definition 1)\n\nWeights rounded to a few bits")
    assert "Alters:       the weights of the model" in told
    assert "Severities:   8, 3" in told
    assert run_command(["explain", "rounded_nll"]) == 0
    assert "Reads:        predictions under conditions" in capsys.readouterr().out


def test_data_without_images_come_under_conditions_of_weights_alone(plugin, plan_of, store):
    circles = {"data": {"name": "circles"}, "model": {"name": "mlp", "hidden": [4]}, "regimes": ["baseline"]}
    plan = plan_of(plugins=[plugin], scores=["rounded_nll"], **circles)
    assert plan.requested.conditions == {"rounded": 1}
    usual = plan_of(plugins=[plugin], scores=None, **circles)
    assert "rounded_nll" in usual.requested.scores
    assert not {"dark_accuracy", "corruption_accuracy"} & set(usual.requested.scores)
    with pytest.raises(
        SpecError, match="'darkness' is needed, and is not there among pruned, quantized, rounded, shuffled_values"
    ):
        plan_of(plugins=[plugin], scores=["dark_accuracy"], **circles)
    perform_all(plan, store)
    assert load_ledger(store.path)["rounded_nll"].notna().all()


def test_a_regression_is_evaluated_with_altered_weights(plugin, tmp_path, plan_of, store):
    with (tmp_path / plugin).open("a") as file:
        file.write('''

@SCORES.register(
    facts=ScoreFacts(
        "R2 of rounded weights", "higher", "fraction", bounds=(float("-inf"), 1), tasks=("regression",),
        conditions=named("rounded"),
    )
)
def rounded_r2(predictions):
    """R2 with rounded weights, averaged over severities."""
    return float(np.mean([split.r2 for split in predictions.under(named("rounded"))]))
''')
    numbers = {"data": "diabetes", "measures": [], "scores": ["r2", "rounded_r2"]}
    perform_all(plan_of(plugins=[plugin], **numbers), store)
    ledger = load_ledger(store.path)
    assert ledger["rounded_r2"].notna().all()
    assert (ledger["rounded_r2"] != ledger["test_r2"]).all()
