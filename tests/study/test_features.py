"""What heads are given is kept for scores that compare it, and for no others."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from sharpscope.analysis.ledger import load_ledger, load_results
from sharpscope.data import DATASETS, DataSource
from sharpscope.errors import SpecError
from sharpscope.models import MODELS, build
from sharpscope.safety import SCORES, Predictions
from sharpscope.seeding import Stream
from sharpscope.store.pairs import update_pairs
from sharpscope.study.work import features
from sharpscope.study.work.timing import Timing

from .conftest import perform_all

ALIKE = {"scores": ["cka", "cka_untrained", "prediction_disagreement"], "measures": ["gradient_norm"]}


def of_run(store, run_id, name):
    return load_file(store.run(run_id).path / f"features{'' if name == 'features' else f'-{name}'}-end.safetensors")[
        name
    ]


def test_they_are_what_the_last_layer_gets_of_the_test_set(plan_of, store):
    plan = plan_of(**ALIKE, grid={"seed": 1}, regimes=["baseline"])
    perform_all(plan, store)
    (run_id,) = plan.runs
    data = DATASETS["digits"](DataSource(), train_size=60)
    for name, stream in (("features", Stream("any")), ("initial_features", Stream(0, "init"))):
        model = build("mlp", data.input_shape, 10, stream, **MODELS["mlp"].complete({"hidden": [8]})).eval()
        if name == "features":
            weights = load_file(store.run(run_id).path / "weights.safetensors")
            model.load_state_dict({key: torch.from_numpy(value) for key, value in weights.items()})
        seen = []
        *_, head = (module for module in model.modules() if isinstance(module, torch.nn.Linear))
        head.register_forward_pre_hook(lambda _, inputs, seen=seen: seen.append(inputs[0].detach().numpy()))
        model(data.normalize(data.test_inputs))
        found = of_run(store, run_id, name)
        assert found.shape == (797, 8)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, seen[0], rtol=1e-5, atol=1e-6)


def test_pairs_are_compared_by_them(plan_of, store):
    perform_all(plan_of(**ALIKE), store)
    assert update_pairs(store).notes == []
    results = load_results(store.path)
    for rows in (results.pairs_across, results.pairs.assign(**ids_of(results))):
        assert len(rows)
        for row in rows.to_dict("records"):
            runs = []
            for run_id in (row["run_a"], row["run_b"]):
                said = store.run(run_id).read_predictions(store.run(run_id).read_record())
                kept = [of_run(store, run_id, name) for name in ("features", "initial_features")]
                runs.append(Predictions(said.train, said.test, features=kept[0], initial_features=kept[1]))
            for name in ("cka", "cka_untrained"):
                assert row[name] == SCORES[name](*runs)
    # A pair of one seed shares its initial weights.
    assert load_ledger(store.path)["cka"].between(0, 1).all()


def ids_of(results):
    """The runs of the pairs of one level."""
    ids, pairs = results.ledger.set_index(["regime", "seed"])["run_id"], results.pairs
    return {f"run_{x}": [ids[key] for key in zip(pairs["regime"], pairs[f"seed_{x}"], strict=True)] for x in "ab"}


def test_they_are_kept_where_a_score_asks_for_them_and_made_without_training(plan_of, store):
    plain = plan_of(**{**ALIKE, "scores": ["prediction_disagreement"]})
    perform_all(plain, store)
    assert not list(store.path.rglob("features*"))
    before = {pair[:3]: pair.stamp for pair in update_pairs(store).rows}
    later = plan_of(**{**ALIKE, "scores": ["cka", "prediction_disagreement"], "twins": ["calibrated"]})
    assert {o.stages for o in perform_all(later, store)} >= {("features", "temperature", "predictions", "measures")}
    assert {path.name for path in store.path.rglob("features*")} == {"features-end.safetensors"}
    after = {pair[:3]: pair.stamp for pair in update_pairs(store).rows}
    # Scores that read none are not found anew, and no temperature changes features.
    assert before.items() <= after.items()
    assert not [key for key in after if "~" in key[0]]
    told = Timing(later, "cpu")
    sizes = [stage_of(later).disk(told, run) for run in later.runs.values()]
    assert sizes == [{"features of test samples": 4 * 797 * 8}] * len(sizes)


def stage_of(plan):
    from sharpscope.study.work.stage import stages_at

    return next(stage for stage in stages_at(plan.requested, "end") if stage.name == "features")


def test_a_run_whose_features_are_gone_is_in_no_pair_and_gets_them_again(plan_of, store):
    plan = plan_of(**{**ALIKE, "scores": ["cka"]}, regimes=["baseline"], grid={"seed": 3})
    perform_all(plan, store)
    expected = {pair[:3]: pair.value for pair in update_pairs(store).rows}
    assert len(expected) == 3
    run_id = next(iter(plan.runs))
    (store.path / "pairs.parquet").unlink()
    (store.run(run_id).path / "features-end.safetensors").write_bytes(b"torn")
    pairs = update_pairs(store)
    assert len(pairs.rows) == 1
    assert run_id in pairs.notes[0]
    assert ("features",) in {o.stages for o in perform_all(plan, store)}
    assert {pair[:3]: pair.value for pair in update_pairs(store).rows} == expected


HEADLESS = """
from torch import nn
from sharpscope.extend import MODELS

@MODELS.register()
def headless(shape, outputs):
    "A network that ends in no linear layer."
    return nn.Sequential(nn.Conv2d(1, outputs, 8), nn.Flatten())
"""


def test_a_model_without_a_head_is_refused_before_anything_is_run(plan_of, tmp_path):
    (tmp_path / "headless.py").write_text(HEADLESS)
    try:
        with pytest.raises(SpecError, match="model 'headless' on dataset 'digits' has no 'cka': ") as error:
            plan_of(**ALIKE, model="headless", plugins=["headless.py"])
    finally:
        MODELS._entries.pop("headless", None)
    assert error.value.loc == ("scores", "cka")


def test_of_many_test_samples_some_are_taken_the_same_of_all_runs():
    data = DATASETS["digits"](DataSource(), train_size=60)
    some, again = features.samples_of(data, 50), features.samples_of(data, 50)
    assert len(some.train_inputs) == 50
    assert torch.equal(some.train_inputs, again.train_inputs)
    where = [(data.test_inputs == image).flatten(1).all(dim=1).nonzero()[0, 0].item() for image in some.train_inputs]
    assert where == sorted(where)
    assert torch.equal(data.test_targets[where], some.train_targets)
    assert torch.equal(features.samples_of(data).train_inputs, data.test_inputs)
