"""A study of a regression from end to end, and what it refuses before anything is run."""

import json
import re

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from safetensors.numpy import load_file
from safetensors.torch import load_file as load_weights
from sklearn.metrics import r2_score
from tests.pages import figures_of, page_of, with_few
from tests.study.conftest import TINY, perform_all

from sharpscope import measure
from sharpscope.analysis.ledger import load_results
from sharpscope.cli import run_command
from sharpscope.data import DATASETS, DataSource
from sharpscope.errors import SharpscopeError
from sharpscope.models import build
from sharpscope.seeding import Stream
from sharpscope.store.folder import Store
from sharpscope.study.planning.plan import make_plan
from sharpscope.study.run.checkpoint import measure_checkpoint
from sharpscope.study.source.study import load_source

STUDY = {
    "data": {"name": "diabetes", "train_size": 100},
    "training": {"epochs": 8, "batch_size": 16, "lr": 0.05, "checkpoints_at_loss": [0.8], "check_loss_every": 2},
    "regimes": ["baseline", "sam", "weight_decay"],
    "measures": None,
    "scores": None,
}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """The folder of a finished study, planned as the fixture ``plan_of`` does it."""
    folder = tmp_path_factory.mktemp("regression")
    file = folder / "study.yaml"
    file.write_text(yaml.safe_dump({k: v for k, v in {**TINY, **STUDY}.items() if v is not None}))
    plan = make_plan(load_source(str(file)))
    store = Store(folder / "out")
    outcomes = perform_all(plan, store)
    assert {outcome.state for outcome in outcomes} == {"done"}, outcomes
    return plan, store


def test_the_ledger_has_losses_and_r2_and_no_word_of_classes(study):
    _, store = study
    results = load_results(store.path)
    columns = list(results.ledger.columns)
    assert columns[4:8] == ["train_loss", "test_loss", "train_r2", "test_r2"]
    assert {"mae", "r2", "r2_gap", "prediction_distance", "relative_flatness"} <= set(columns)
    assert {"train_r2@0.8", "r2_gap@0.8", "relative_flatness@0.8", "step@0.8"} <= set(columns)
    assert not [c for c in columns if "accuracy" in c or "ece" in c or c in {"nll", "brier", "margin"}]
    numbers = results.ledger.drop(columns=["run_id", "state", "regime"]).astype(float)
    assert np.isfinite(numbers.drop(columns=[c for c in columns if "@" in c]).to_numpy()).all()
    assert (results.ledger["train_loss@0.8"].dropna() <= 0.8).all()
    assert results.ledger["train_loss@0.8"].notna().any()


def test_losses_are_those_of_the_stored_outputs(study):
    _, store = study
    for row in load_results(store.path).ledger.to_dict("records"):
        stored = load_file(store.run(row["run_id"]).path / "predictions.safetensors")
        for split in ("train", "test"):
            outputs, targets = stored[f"{split}.outputs"][:, 0].astype(float), stored[f"{split}.targets"].astype(float)
            assert row[f"{split}_loss"] == pytest.approx(((outputs - targets) ** 2).mean(), rel=1e-12)
            assert row[f"{split}_r2"] == pytest.approx(r2_score(targets, outputs), rel=1e-9)


def test_sharpness_is_that_of_the_squared_error(study):
    plan, store = study
    run = next(iter(plan.runs.values()))
    data = plan.dataset_of(run)
    model = build(run.model.name, data.input_shape, 1, Stream(0), **run.model.options)
    model.load_state_dict(load_weights(store.run(run.id).path / "weights.safetensors"))
    pair = data.normalize(data.train_inputs), data.train_targets
    loss = torch.nn.functional.mse_loss(model(pair[0]).squeeze(1), pair[1])
    gradient = torch.autograd.grad(loss, list(model.parameters()))
    row = load_results(store.path).ledger.set_index("run_id").loc[run.id]
    assert row["gradient_norm"] == pytest.approx(torch.cat([g.flatten() for g in gradient]).norm().item(), rel=1e-4)
    found = measure(model, [pair], ["relative_flatness"], loss="mse")
    assert row["relative_flatness"] == pytest.approx(found["relative_flatness"].value, rel=1e-9)


def test_the_history_has_no_accuracy(study):
    plan, store = study
    history = pd.read_parquet(store.run(next(iter(plan.runs))).path / "history.parquet")
    assert list(history.columns) == ["epoch", "batch_loss", "lr", "seconds"]


def test_the_report_speaks_of_no_classes(study):
    _, store = study
    results = load_results(store.path)
    page = page_of(results)
    text = re.sub(r"<(script|style)\b.*?</\1>", "", page[page.index("<body") :], flags=re.DOTALL)
    for word in ("accuracy", "Accuracy", "calibration", "nats", "disagreement"):
        assert word not in text, text[text.index(word) - 200 : text.index(word) + 50]
    assert "Predicted numbers come with no confidence" in text
    assert "Test R2" in text
    drawn = {
        path.partition(".")[0] for path in figures_of(with_few(results, "train_loss", "test_r2", "relative_flatness"))
    }
    assert drawn == {"levels", "measures_vs_train_loss", "sizes"}


def test_a_second_run_finds_nothing_to_do(study):
    plan, store = study
    before = {path: path.stat().st_mtime_ns for path in store.path.glob("runs/*/weights.safetensors")}
    assert not [stage for outcome in perform_all(plan, store) for stage in outcome.stages]
    assert {path: path.stat().st_mtime_ns for path in before} == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scores": ["ece"]}, "'ece' is defined for classification, and these data are of regression; leave it out"),
        ({"scores": ["accuracy"]}, "'accuracy' is defined for classification"),
        ({"measures": ["margin"]}, "has no 'margin': the margin needs class indices"),
        ({"measures": ["boundary_distance"]}, "has no 'boundary_distance': it is defined for classification"),
        ({"measures": ["input_jacobian_norm"]}, "has no 'input_jacobian_norm': it is defined for classification"),
        ({"measures": ["information_geometric_sharpness"]}, "is defined for loss='cross_entropy' only"),
        ({"measures": {"f": {"measure": "fisher_rao_norm", "labels": "model"}}}, "has no 'f'"),
        ({"regimes": ["mixup"]}, "the regime 'mixup' is defined for classification, and dataset 'diabetes' is one of"),
        ({"regimes": ["sam+label_noise"]}, "the regime 'label_noise' is defined for classification"),
        ({"regimes": ["augmentation"]}, "dataset 'diabetes' declares no augmentation"),
        ({"primary": ["test_accuracy"]}, "the primary quantity 'test_accuracy' is not measured"),
        ({"grid": {"seed": 1, "data.name": ["diabetes", "digits"]}}, "a study has one task, and dataset 'diabetes'"),
        ({"model": "resnet8"}, "takes images"),
    ],
)
def test_what_a_regression_has_not_is_refused_in_one_sentence(plan_of, changes, message):
    with pytest.raises(SharpscopeError, match=message) as caught:
        plan_of(**{**STUDY, **changes})
    assert "\n" not in str(caught.value)


def test_scores_of_regression_are_refused_for_classes(plan_of):
    with pytest.raises(SharpscopeError, match="'r2' is defined for regression, and these data are of classification"):
        plan_of(scores=["r2"])


def test_by_the_command_line(here, study_file, tmp_path, capsys):
    study = study_file(**{**STUDY, "grid": {"seed": 1}, "regimes": ["baseline"], "sections": ["levels"]})
    command = [str(study), "--out", str(tmp_path / "out")]
    assert run_command(["run", *command, "--executor", "here"]) == 0, capsys.readouterr().err
    capsys.readouterr()
    assert run_command(["plan", *command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["grid"][0]["done"]


def test_a_checkpoint_is_measured_by_the_loss_of_its_data(study, tmp_path, monkeypatch):
    plan, store = study
    (tmp_path / "numbers_net.py").write_text(
        "from sharpscope.models import build\nfrom sharpscope.seeding import Stream\n\n\n"
        "def make():\n    return build('mlp', (10,), 1, Stream(0), hidden=(8,))\n"
    )
    monkeypatch.chdir(tmp_path)
    weights = store.run(next(iter(plan.runs))).path / "weights.safetensors"
    found = measure_checkpoint("numbers_net:make", weights, "diabetes", ["gradient_norm"])
    model = build("mlp", (10,), 1, Stream(0), hidden=(8,))
    model.load_state_dict(load_weights(weights))
    data = DATASETS["diabetes"](DataSource(download=False))
    loss = torch.nn.functional.mse_loss(model(data.normalize(data.train_inputs)).squeeze(1), data.train_targets)
    gradient = torch.autograd.grad(loss, list(model.parameters()))
    norm = torch.cat([part.flatten() for part in gradient]).norm().item()
    assert found["gradient_norm"].value == pytest.approx(norm, rel=1e-4)
