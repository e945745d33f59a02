"""A plan tells what there is to do although data are missing; a run does not begin without them."""

from __future__ import annotations

import pytest

from sharpscope.data import DATASETS
from sharpscope.data.registry import DatasetFacts
from sharpscope.data.stand_in import stand_in
from sharpscope.errors import SpecError
from sharpscope.store.folder import Store
from sharpscope.study.planning.plan import make_plan
from sharpscope.study.run.forecast import forecast, show, to_json
from sharpscope.study.source.study import load_source

STUDY = """
name: away
data: {name: cifar10, train_size: 200, test_size: 100}
model: {name: mlp, hidden: [4]}
training: {epochs: 1}
regimes: [baseline, augmentation]
measures: [parameter_norm]
scores: [corruption_accuracy]
"""


@pytest.fixture
def source(tmp_path):
    (tmp_path / "away.yaml").write_text(STUDY)
    return load_source(str(tmp_path / "away.yaml"))


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """A data directory with nothing in it, and no network."""

    def fetch(*_):
        raise AssertionError("a plan downloads nothing")

    monkeypatch.setattr("sharpscope.data.files.download.fetch", fetch)
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


def test_a_plan_says_what_is_missing_and_reckons_with_noise(source, nowhere, tmp_path):
    plan = make_plan(source, nowhere, to_run=False)
    assert len(plan.runs) == 2
    assert len(plan.requested.conditions) == 19
    found = forecast(plan, Store(tmp_path / "out"), 1)
    text = show(plan, found)
    assert "2 runs = 2 regimes x 1 seed\n" in text
    assert "Note: cifar-10-binary.tar.gz is in none of" in text
    assert "Note: the files of CIFAR-10-C are missing" in text
    assert '"notes": [' in to_json(plan, found)
    assert found.seconds > 0
    assert not (tmp_path / "out").exists()


def test_a_mean_over_the_benchmark_is_planned_where_it_is_published(tmp_path, nowhere):
    text = """
name: away
data: {data}
model: {{name: mlp, hidden: [4]}}
scores: {{all: {{score: corruption_accuracy}}, benchmark: {{score: corruption_accuracy, corruptions: benchmark}}}}
measures: [margin]
"""

    def plan(data):
        path = tmp_path / "benchmark.yaml"
        path.write_text(text.format(data=data))
        return make_plan(load_source(str(path)), nowhere, to_run=False)

    for name, count in (("cifar10", 19), ("cifar100", 19), ("tiny_imagenet", 15)):
        planned = plan(name)
        assert planned.requested.scores["benchmark"].options == {"corruptions": "benchmark"}
        told = {quantity["name"]: quantity["summary"] for quantity in planned.catalog["quantities"]}
        assert f"; here these are {count} of " in told["all"]
        assert "; here these are 15 of " in told["benchmark"]
    with pytest.raises(SpecError, match="line 5: the benchmark of corruptions is 15 published ones"):
        plan("digits")


@pytest.mark.parametrize("size", [0, -1, 60_000])
def test_a_size_that_the_data_do_not_have_is_told_without_them(size, tmp_path, nowhere):
    (tmp_path / "away.yaml").write_text(STUDY)
    source = load_source(str(tmp_path / "away.yaml"), [f"data.train_size={size}"])
    with pytest.raises(SpecError, match=f"train_size of dataset 'cifar10' must be from 1 to 50000, got {size}"):
        make_plan(source, nowhere, to_run=False)


def test_a_dataset_that_declares_no_shape_is_one_clear_sentence(source, nowhere, monkeypatch):
    monkeypatch.setattr("sharpscope.study.planning.dry_run.stand_in", lambda *_: None)
    with pytest.raises(SpecError, match=r"away.yaml, line 3: cifar-10-binary.tar.gz is in none of"):
        make_plan(source, nowhere, to_run=False)


DECLARED = [name for name in DATASETS if isinstance(DATASETS[name].facts, DatasetFacts)]


def test_the_image_datasets_declare_their_shapes():
    assert {"mnist", "fashion_mnist", "cifar10", "cifar100", "tiny_imagenet"} <= set(DECLARED)


@pytest.mark.parametrize("name", DECLARED)
def test_a_stand_in_takes_no_memory_and_no_size_beyond_the_real_one(name):
    facts = DATASETS[name].facts
    whole = stand_in(name, {"train_size": None, "test_size": None})
    assert tuple(whole.train_inputs.shape) == (facts.train_size, *facts.shape)
    assert len(whole.test_inputs) == facts.test_size
    assert whole.train_inputs.untyped_storage().nbytes() < 10 * (facts.train_size + facts.shape[0] * 64 * 64)
    assert len(whole.classes) == facts.classes
    assert not whole.train_inputs[0].equal(whole.train_inputs[1])
    assert len(stand_in(name, {"train_size": 7}).train_inputs) == 7


def test_only_images_in_files_have_stand_ins():
    assert stand_in("digits", {}) is None


def test_a_plan_downloads_no_weights(tmp_path, monkeypatch):
    (tmp_path / "hub_nets.py").write_text(
        "import torch\n"
        "from torch import nn\n"
        "def loaded(shape, classes, *, pretrained: bool = False):\n"
        "    assert not pretrained or torch.empty(0).device.type == 'meta', 'weights are downloaded'\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64, classes))\n"
    )
    study = tmp_path / "pretrained.yaml"
    study.write_text(
        "{name: pretrained, data: {name: digits, train_size: 50}, model: {name: 'hub_nets:loaded', pretrained: true}}"
    )
    monkeypatch.chdir(tmp_path)
    plan = make_plan(load_source(str(study)), to_run=False)
    assert plan.requested.measures
    assert forecast(plan, Store(tmp_path / "out"), 1).seconds > 0
    (run,) = plan.runs.values()
    assert run.model.options == {"pretrained": True}
