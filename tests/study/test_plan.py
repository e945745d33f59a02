from __future__ import annotations

import json
import shlex

import pandas as pd
import pytest

from sharpscope.analysis.ledger import load_ledger, load_results, write_ledger
from sharpscope.analysis.report import contents_of, render
from sharpscope.analysis.section import Evidence
from sharpscope.errors import SharpscopeError, SpecError
from sharpscope.store.folder import Store
from sharpscope.store.pairs import update_pairs
from sharpscope.store.reading import Reading
from sharpscope.store.wanted import Wanted
from sharpscope.study.planning.plan import make_plan
from sharpscope.study.source.study import load_source

from .conftest import perform_all

BAD = {
    "unknown key": ({"trainin": {}}, "line 24: unknown key 'trainin'; did you mean 'training'"),
    "unknown training key": ({"training": {"lrr": 1}}, "unknown key 'lrr' in training; did you mean 'lr'?"),
    "list for a number": ({"training": {"lr": [0.1, 0.2]}}, "write them in the grid: grid: {training.lr: [0.1, 0.2]}"),
    "negative number": ({"training": {"lr": -1}}, "training.lr: input should be greater than 0, got -1"),
    "unknown regime": ({"regimes": ["baseline", "smm"]}, "line 14: unknown regime 'smm'; did you mean 'sam'"),
    "unknown part": ({"regimes": ["smm+augmentation"]}, "unknown regime 'smm'; did you mean 'sam'"),
    "regime twice": ({"regimes": ["sam", "sam"]}, "the regime 'sam' is listed twice"),
    "regime option": (
        {"regimes": [{"sam": {"roh": 1}}]},
        "line 14: unknown option 'roh' of regime 'sam'; did you mean",
    ),
    "regime value": ({"regimes": [{"sam": {"rho": "big"}}]}, "line 14: option 'rho' of regime 'sam'"),
    "same run twice": ({"regimes": ["sam", {"sam": {"rho": 0.05}}]}, "are the same run once defaults are filled in"),
    "unknown dataset": ({"data": "digit"}, "line 2: unknown dataset 'digit'; did you mean 'digits'?"),
    "dataset option": ({"data": {"name": "digits", "size": 1}}, "line 4: unknown option 'size' of dataset 'digits'"),
    "too many": ({"data": {"name": "digits", "train_size": 10**6}}, "line 2: "),
    "unknown model": ({"model": "resnet9"}, "line 5: unknown model 'resnet9'; did you mean"),
    "model option": ({"model": {"name": "mlp", "hiden": [3]}}, "line 7: unknown option 'hiden' of model 'mlp'"),
    "optimizer": ({"training": {"optimizer": "sdg"}}, "unknown optimizer 'sdg'; did you mean 'sgd'"),
    "schedule": ({"training": {"schedule": "cosin"}}, "unknown schedule 'cosin'; did you mean 'cosine'?"),
    "momentum": ({"training": {"optimizer": "adam", "momentum": 0.9}}, "'adam' takes no momentum"),
    "grid key": ({"grid": {"trainin.lr": [1]}}, "the grid key 'trainin.lr' names nothing that varies"),
    "grid value": ({"grid": {"training.lr": [0.1, "x"]}}, "training.lr: expected a number"),
    "grid option": (
        {"regimes": ["baseline", "sam"], "grid": {"regimes.sam.roh": [1]}},
        "line 16: unknown option 'roh' of regime 'sam'; did you mean 'rho'",
    ),
    "grid of options": (
        {"regimes": ["sam"], "grid": {"regimes.sam.rho": [0.1, "big"]}},
        "line 15: option 'rho' of regime 'sam'",
    ),
    "grid part": ({"grid": {"regimes.smm.rho": [1]}}, "no regime of the study has the part 'smm'"),
    "grid of names": ({"grid": {"model.name": ["mlp", "resnet9"]}}, "unknown model 'resnet9'"),
    "empty grid": ({"grid": {"training.lr": []}}, "grid.training.lr is an empty list"),
    "no seeds": ({"grid": {"seed": 0}}, "grid.seed is a number of seeds or a list of them, got 0"),
    "measure": ({"measures": ["flatness"]}, "unknown measure 'flatness'; did you mean 'relative_flatness'"),
    "measure radius": ({"measures": {"sam_sharpness": {"rho": -1}}}, "option 'rho' of measure 'sam_sharpness': "),
    "measure points": ({"measures": {"ggn_density": {"steps": 1}}}, "option 'steps' of measure 'ggn_density': "),
    "measure option": ({"measures": {"margin": {"q": 1}}}, "unknown option 'q' of measure 'margin'"),
    "score": ({"scores": ["eec"]}, "unknown score 'eec'; did you mean 'ece'?"),
    "score option": ({"scores": {"ece": {"bins": "few"}}}, "option 'bins' of score 'ece'"),
    "taken column": ({"measures": {"seed": {"measure": "margin"}}}, "'seed' cannot be the key of a measure"),
    "margin": ({"margin": {"test_acuracy": 0.01}}, "the margin of 'test_acuracy' is of nothing that is measured"),
    "margin of a ratio": ({"margin": {"train_loss": 0.1}}, "its margin is a factor above 1"),
    "correction": ({"correction": "bonferroni"}, "correction"),
    "primary": ({"primary": ["test_acuracy"]}, "the primary quantity 'test_acuracy' is not measured"),
    "plugin": ({"plugins": ["absent.py"]}, "the plugin 'absent.py' is missing"),
    "name": ({"name": "a b"}, "line 1: "),
    "long name": ({"name": 300 * "a"}, "line 1: name: string should have at most 100 characters"),
    "no name": ({"name": None}, "the key 'name' is missing"),
    "no data": ({"data": None}, "the key 'data' is missing"),
    "data without name": ({"data": {"train_size": 5}}, "the key 'data.name' is missing"),
    "number for a mapping": ({"training": 5}, "training: expected a mapping of keys to values, got 5"),
    "text for a number": ({"training": {"epochs": "ten"}}, "training.epochs: expected a whole number, got 'ten'"),
    "truth for a number": ({"training": {"epochs": True}}, "training.epochs: expected a number, got True"),
    "differentiable": (
        {"training": {"optimizer_options": {"differentiable": True}}},
        "line 9: optimizer 'sgd' takes no step with its options: RuntimeError: ",
    ),
    "width": ({"model": {"name": "mlp", "hidden": [2**40]}}, "GB for its weights and their gradient alone"),
    "overflow": ({"model": {"name": "mlp", "hidden": [2**62]}}, "the model 'mlp' cannot be made for inputs of shape"),
    "depth": ({"data": "names", "model": {"name": "gpt", "depth": 10**12}}, "option 'depth' of model 'gpt'"),
    "points": ({"data": {"name": "circles", "samples": 10**12}}, "needs 4 to 10,000,000 samples"),
    "infinite option": ({"regimes": [{"sam": {"rho": float("nan")}}]}, ".nan is not finite"),
    "label no": (
        {"regimes": ["sam", {"sam": {}, "label": False}]},
        "regimes.label: expected text, got False; put it in",
    ),
    "no options": ({"data": {"name": "digits", "options": False}}, "the options of 'digits' are a mapping"),
    "infinite": ({"training": {"lr": float("inf")}}, "line 10: .inf is not finite, and a number of a study is"),
    "warm-up": ({"training": {"epochs": 2, "warmup_steps": 2}}, "a warm-up of 2 steps does not end within the 2 steps"),
    "one sample": (
        {"model": "vgg11", "data": {"name": "digits", "train_size": 65}},
        "an epoch ends with one sample left, and model 'vgg11' cannot be trained on it alone (ValueError: Expected",
    ),
    "no regime": ({"regimes": []}, "regimes: expected at least one, got []"),
    "empty regime": ({"regimes": [{}]}, "a regime names at least one part"),
    "regimes not a list": ({"regimes": "sam"}, "regimes: expected a list, got 'sam'"),
    "plugins not a list": ({"plugins": "mine.py"}, "plugins: expected a list, got 'mine.py'; write [mine.py]"),
    "label": ({"regimes": ["sam", {"sam": {}, "label": 5}]}, "line 15: regimes.label: expected text, got 5"),
    "image model": ({"data": "circles", "model": "resnet8"}, "takes images of shape"),
    "no augmentation": ({"data": "circles", "regimes": ["augmentation"]}, "declares no augmentation"),
    "cutmix of points": ({"data": "circles", "regimes": ["cutmix"]}, "cutmix needs images [N, C, H, W], got inputs"),
    "mixup of symbols": ({"data": "names", "model": "gpt", "regimes": ["mixup"]}, "mixup blends numbers, and these"),
    "cutout of points": ({"data": "circles", "regimes": ["cutout"]}, "'cutout' changes images in bytes"),
    "compile": ({"training": {"compile": "perhaps"}}, "training.compile: expected true or false, got 'perhaps'"),
    "no branches": ({"regimes": ["stochastic_depth"]}, "line 13: stochastic depth drops residual branches"),
    "no images": ({"data": "circles", "scores": ["corruption_accuracy"]}, "a condition of inputs is needed"),
}


@pytest.mark.parametrize("case", BAD)
def test_each_mistake_is_one_sentence_with_its_place(case, study_file):
    changes, message = BAD[case]
    with pytest.raises(SpecError) as caught:
        make_plan(load_source(str(study_file(**changes))))
    assert str(caught.value).startswith("tiny.yaml")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "Value error" not in str(caught.value)


def test_a_batch_larger_than_the_data_is_all_of_them(study_file):
    training = {"epochs": 2, "batch_size": 2**63 - 1}
    assert make_plan(load_source(str(study_file(training=training)))).runs


REGIMES_THAT_FAIL = """
import sys
from sharpscope.extend import REGIMES

@REGIMES.register()
def broken(recipe, *, how: str = "raises"):
    "A regime that fails."
    if how == "raises":
        raise KeyError("no regime today")
    return {"leaves": sys.exit, "nothing": lambda: None}[how]()
"""


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("raises", r"line \d+: the regime 'broken' fails: KeyError: 'no regime today'"),
        ("leaves", r"line \d+: the regime 'broken' fails: it calls sys.exit"),
        ("nothing", r"line \d+: the regime 'broken' should return a changed recipe, and returns None"),
    ],
)
def test_a_regime_that_fails_is_one_sentence(how, message, study_file, tmp_path):
    (tmp_path / "broken.py").write_text(REGIMES_THAT_FAIL)
    study = study_file(regimes=[{"broken": {"how": how}}], plugins=["broken.py"])
    with pytest.raises(SpecError, match=message):
        make_plan(load_source(str(study)))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.lrr=1", "--set training.lrr: unknown key 'lrr' in training"),
        ("training.lr=[1", "--set training.lr, line 1, column 3: this is not YAML"),
        ("regimes=[bse]", "--set regimes: unknown regime 'bse'"),
        ("data.train_size=1000000", "tiny.yaml, line 2, with --set data.train_size: "),
        ("regimes.sam=1", "--set regimes.sam: 'regimes.sam' leads into regimes"),
        ("name.first=x", "tiny.yaml, line 1, with --set name.first: "),
        ("training.lr", "--set takes key=value"),
    ],
)
def test_a_mistake_in_an_override_names_it(override, message, study_file):
    with pytest.raises(SpecError) as caught:
        make_plan(load_source(str(study_file()), [override]))
    assert str(caught.value).startswith(message)


def test_overrides_are_yaml_and_the_last_wins(study_file):
    overrides = ["training.lr=1e-3", "training.lr=1e-2", "grid.seed=[4, 7]", "grid.training.batch_size=[8, 16]"]
    study = load_source(str(study_file()), overrides).study
    assert study.training.lr == 0.01
    assert study.grid == {"seed": [4, 7], "training.batch_size": [8, 16]}


@pytest.mark.parametrize(
    ("content", "message"),
    [("", "got nothing"), ("- a\n", "got a list"), ("text", "got a str"), (b"\xff\xfe\x00", "UTF-8")],
)
def test_a_file_that_is_no_study(content, message, tmp_path):
    path = tmp_path / "s.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(SharpscopeError, match=message):
        load_source(str(path))


def test_a_study_that_is_nowhere_names_the_near_ones(tmp_path, study_file):
    study_file()
    with pytest.raises(SharpscopeError, match=r"there is no file .*; did you mean .*tiny.yaml"):
        load_source(str(tmp_path / "tyni.yaml"))
    with pytest.raises(SharpscopeError, match="no preset and no file 'digit'; did you mean 'digits'"):
        load_source("digit")
    with pytest.raises(SharpscopeError) as caught:
        load_source(str(tmp_path / "quux"))
    assert "tiny.yaml" not in str(caught.value)
    with pytest.raises(SharpscopeError, match=r"is a folder.*tiny.yaml"):
        load_source(str(tmp_path))


def test_identities_ignore_what_is_at_its_default(plan_of):
    plain = list(plan_of(regimes=["sam"]).runs)
    assert plain == list(plan_of(regimes=[{"sam": {"rho": 0.05}, "label": "mine"}]).runs)
    assert plain == list(plan_of(regimes=["sam"], data={"name": "digits", "train_size": 60, "subset_seed": 0}).runs)
    assert plain == list(plan_of(regimes=["sam"], training={"epochs": 2, "batch_size": 32, "optimizer": "SGD"}).runs)
    assert plain == list(plan_of(regimes=["sam"], measures=None, scores=["nll"]).runs)
    assert not set(plain) & set(plan_of(regimes=[{"sam": {"rho": 0.06}}]).runs)


def test_the_order_of_parts_does_not_matter_to_an_identity(plan_of):
    assert list(plan_of(regimes=["augmentation+sam"]).runs) == list(plan_of(regimes=["sam+augmentation"]).runs)


def test_study_yaml_plans_to_the_same_runs_and_wishes(plan_of, tmp_path):
    plan = plan_of(regimes=["baseline", {"sam": {"rho": 0.1}}], measures=None, scores=None)
    store = Store(tmp_path / "out")
    store.write_catalog(json.loads(json.dumps(plan.catalog)))
    again = make_plan(load_source(str(store.path / "study.yaml")))
    assert list(again.runs) == list(plan.runs)
    assert again.requested == plan.requested
    assert again.catalog == plan.catalog


def test_the_command_that_runs_a_study_again(study_file, tmp_path, monkeypatch):
    changes = ["grid.seed=4", "training.checkpoints_at_loss=[0.3, 0.1]"]
    assert shlex.join(load_source("digits", changes).command) == (
        "sharpscope run digits --set grid.seed=4 --set 'training.checkpoints_at_loss=[0.3, 0.1]'"
    )
    # The file is its author's, with the changes it is in the folder of the study.
    source = load_source(str(study_file()), changes)
    assert source.command == ("sharpscope", "run", "study.yaml")
    store = Store(tmp_path / "out")
    perform_all(make_plan(source), store)
    assert Reading.of(store).command == list(source.command)
    monkeypatch.chdir(store.path)
    assert list(make_plan(load_source(source.command[-1])).runs) == list(make_plan(source).runs)


def test_values_of_a_grid_may_be_lists(plan_of, tmp_path):
    store = Store(tmp_path / "out")
    plan = plan_of(grid={"seed": 2, "model.hidden": [[8], [8, 8]], "training.momentum": [None, 0.9]})
    perform_all(plan, store)
    update_pairs(store)
    results = load_results(store.path)
    write_ledger(results.ledger, store.path)
    written = pd.read_parquet(store.path / "results.parquet")
    assert list(written["model.hidden"].unique()) == ["[8]", "[8, 8]"]
    assert results.keys == ["model.hidden", "training.momentum"]
    evidence = Evidence(results)
    page = render(evidence, contents_of(evidence))
    assert "model.hidden = [8, 8], training.momentum = 0.9" in page
    assert "model.hidden = [8], training.momentum = null" in page
    assert set(load_ledger(store.path)["prediction_disagreement"].notna()) == {True}


def test_defaults_are_filled_in(plan_of):
    study = plan_of(measures=None, scores=None, primary=None).study
    assert "relative_flatness" in study.measures
    assert study.scores["ece"] == {"score": "ece", "bins": 15, "norm": "l1"}
    assert {"ece_null", "p_cal"} < study.scores.keys()
    assert "smooth_ece" not in study.scores
    assert study.primary == ("relative_flatness", "fisher_rao_norm", "test_accuracy", "ece", "corruption_accuracy")
    assert study.model.options["activation"] == "relu"


def test_margins_and_the_correction_change_no_run(plan_of):
    plain, told = plan_of(), plan_of(margin={"accuracy": 0.01, "train_loss": 1.2}, correction="holm")
    assert told.study.margin == {"test_accuracy": 0.01, "train_loss": 1.2}
    assert [job.run.id for job in told.points] == [job.run.id for job in plain.points]


def test_accuracy_in_the_primary_family_is_the_test_accuracy(plan_of):
    assert plan_of(scores=["accuracy"], primary=["accuracy"]).study.primary == ("test_accuracy",)
    with pytest.raises(SpecError, match="listed twice"):
        plan_of(scores=["accuracy"], primary=["accuracy", "test_accuracy"])


def test_scores_of_images_are_left_out_where_there_are_none(plan_of):
    plan = plan_of(data="circles", scores=None)
    assert "corruption_accuracy" not in plan.requested.scores
    assert set(plan.requested.conditions) == {"pruned", "quantized"}


NO_HEAD = """
import torch
from torch import nn

class Squared(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(64, 10)

    def forward(self, inputs):
        return self.linear(inputs.flatten(1)) ** 2

def headless(shape, classes):
    "Outputs that are not linear in the last layer."
    return Squared()
"""


def test_default_measures_are_those_that_the_models_of_the_grid_have(plan_of, tmp_path, monkeypatch):
    (tmp_path / "headless_nets.py").write_text(NO_HEAD)
    monkeypatch.chdir(tmp_path)
    plan = plan_of(model="headless_nets:headless", measures=None)
    assert "relative_flatness" not in plan.requested.measures
    assert "gradient_norm" in plan.requested.measures
    (note,) = plan.notes
    assert note.startswith("left out of the default measures: ")
    assert "relative_flatness" in note
    assert "relative_flatness" not in plan.study.primary
    assert not plan_of(measures=None).notes


PROBABLE = """
from torch import nn

def softmax(shape, classes):
    "Probabilities."
    return nn.Sequential(nn.Flatten(), nn.Linear(64, classes), nn.Softmax(dim=1))

def sigmoid(shape, classes):
    "One probability a class."
    return nn.Sequential(nn.Flatten(), nn.Linear(64, classes), nn.Sigmoid())

def log_softmax(shape, classes):
    "Their logarithms, which a softmax leaves as they are."
    return nn.Sequential(nn.Flatten(), nn.Linear(64, classes), nn.LogSoftmax(dim=1))
"""


@pytest.mark.parametrize("measures", [None, ["margin"]])
def test_a_model_that_returns_probabilities_is_refused(plan_of, tmp_path, monkeypatch, measures):
    (tmp_path / "probable_nets.py").write_text(PROBABLE)
    monkeypatch.chdir(tmp_path)
    for name in ("softmax", "sigmoid"):
        with pytest.raises(
            SpecError, match=f"line 5: model 'probable_nets:{name}' returns probabilities, .* return logits"
        ):
            plan_of(model=f"probable_nets:{name}", measures=measures)
    assert plan_of(model="probable_nets:log_softmax", measures=measures).runs


def test_a_class_that_would_have_no_training_sample_is_told(plan_of):
    few = {"name": "digits", "train_size": 10}
    with pytest.raises(SpecError, match="holding out 1 of 10 samples does not leave one of each of the 10 classes"):
        plan_of(data=few, regimes=["early_stopping"])
    with pytest.raises(SpecError, match="a subset of 9 of 1000 samples cannot have one of each of the 10 classes"):
        plan_of(data={"name": "digits", "train_size": 9})
    (note,) = plan_of(data=few, regimes=[{"label_noise": {"probability": 1.0}}], measures=["margin"]).notes
    assert note.startswith("the labels of regime 'label_noise(probability=1)' leave ")
    assert "classes of dataset 'digits' without a training sample (" in note


def test_a_measure_that_was_asked_for_by_name_must_be_defined_for_every_model(plan_of, tmp_path, monkeypatch):
    (tmp_path / "headless_nets.py").write_text(NO_HEAD)
    monkeypatch.chdir(tmp_path)
    expected = "line 16: model 'headless_nets:headless' on dataset 'digits' has no 'relative_flatness': "
    with pytest.raises(SpecError, match=expected):
        plan_of(model="headless_nets:headless", measures=["gradient_norm", "relative_flatness"])
    text = {"data": {"name": "names", "train_size": 60}, "model": {"name": "gpt", "dim": 8, "depth": 1, "heads": 1}}
    with pytest.raises(SpecError, match=r"has no 'input_jacobian_norm': .*floating-point"):
        plan_of(**text, measures=["input_jacobian_norm"], scores=["ece"])


def test_what_is_wanted_reads_back_from_the_catalog(plan_of):
    plan = plan_of(training={"epochs": 1, "checkpoints_at_loss": [1.0], "check_loss_every": 2}, scores=None)
    assert Wanted.from_catalog(json.loads(json.dumps(plan.catalog))) == plan.wanted


def test_the_catalog_says_what_corruptions_regimes_train_on_the_like_of(plan_of):
    plan = plan_of(regimes=["baseline", "augmentation+sam"])
    like = json.loads(json.dumps(plan.catalog))["trained_on_the_like"]
    assert like == {"baseline": [], "augmentation+sam": ["elastic_transform"]}
