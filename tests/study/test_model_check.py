"""What would fail in every run is refused when a study is planned, in one sentence."""

from __future__ import annotations

import os
import sys
from dataclasses import replace

import pytest
import torch
from torch import nn

from sharpscope.cli import run_command
from sharpscope.data import DATASETS, Dataset, DataSource
from sharpscope.errors import DataError, SpecError
from sharpscope.models import MODELS
from sharpscope.spec import Component
from sharpscope.study.planning.model_check import check_model

FEW = "4 samples of dataset 'digits'"


class Net(nn.Module):
    """A linear classifier with something about it."""

    def __init__(self, shape, classes):
        super().__init__()
        self.head = nn.Linear(64, classes)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        return self.head(x.flatten(1))


class TupleInTraining(Net):
    def forward(self, x):
        return (super().forward(x), x) if self.training else super().forward(x)


class Auxiliary(Net):
    def forward(self, x):
        return {"out": super().forward(x), "aux": x}


class TooFew(Net):
    def __init__(self, shape, classes):
        super().__init__(shape, classes - 1)


class TooMany(Net):
    def __init__(self, shape, classes):
        super().__init__(shape, 300)


class Flat(Net):
    def forward(self, x):
        return super().forward(x).flatten()


class Maps(Net):
    def forward(self, x):
        return super().forward(x)[:, :, None]


class Half(Net):
    def __init__(self, shape, classes):
        super().__init__(shape, classes)
        self.half()

    def forward(self, x):
        return super().forward(x.half()).float()


class Double(Net):
    def __init__(self, shape, classes):
        super().__init__(shape, classes)
        self.double()


class HalfInside(Net):
    def forward(self, x):
        return super().forward(x).bfloat16()


class NotANumber(Net):
    def forward(self, x):
        return super().forward(x) * torch.nan


class OverflowInTraining(Net):
    def forward(self, x):
        return super().forward(x) / (0.0 if self.training else 1.0)


class Counting(Net):
    def forward(self, x):
        self.calls += 1
        return super().forward(x)


class Fails(Net):
    def forward(self, x):
        raise KeyError("oops\nand more")


class Leaves(Net):
    def forward(self, x):
        sys.exit(0)


class WithoutGradient(Net):
    def forward(self, x):
        return super().forward(x).detach()


class Constant(Net):
    def forward(self, x):
        return torch.zeros(len(x), 10, requires_grad=True)


class Frozen(Net):
    def __init__(self, shape, classes):
        super().__init__(shape, classes)
        self.requires_grad_(False)


class Lazy(Net):
    def __init__(self, shape, classes):
        super().__init__(shape, classes)
        self.head = nn.LazyLinear(classes)


class Huge(Net):
    def __init__(self, shape, classes):
        super().__init__(shape, classes)
        self.head = nn.Linear(64, 10**12)


class Overflowing(Net):
    def __init__(self, shape, classes):
        super().__init__(shape, classes)
        self.head = nn.Linear(64, 10**19)


class PlainMean(Net):
    """Centers what it is given by a running mean that is not stored with the weights."""

    def __init__(self, shape, classes):
        super().__init__(shape, classes)
        self.center = torch.zeros(64)

    def forward(self, x):
        if self.training:
            self.center = self.center.lerp(x.detach().mean(0), 0.5)
        return super().forward(x - self.center)


class UnstoredNorm(Net):
    def __init__(self, shape, classes):
        super().__init__(shape, classes)
        self.norm = nn.BatchNorm1d(64)
        for name, buffer in list(self.norm.named_buffers()):
            self.norm.register_buffer(name, buffer, persistent=False)

    def forward(self, x):
        return super().forward(self.norm(x))


class Growing(Net):
    """Has another buffer after its first pass in train mode."""

    def forward(self, x):
        if self.training:
            self.register_buffer("seen", x.detach().mean(0))
        return super().forward(x)


def returns_nothing(shape, classes):
    return None


def returns_a_class(shape, classes):
    return Net


def raises(shape, classes):
    raise RuntimeError("no model today")


def leaves(shape, classes):
    sys.exit(0)


REFUSED = [
    (TupleInTraining, "returns a tuple in train mode, and should return the outputs alone"),
    (Auxiliary, "returns a dict in eval mode, and should return the outputs alone"),
    (TooFew, f"returns a tensor of shape (4, 9) for {FEW} in eval mode, and should return one of shape (4, 10)"),
    (TooMany, "returns a tensor of shape (4, 300)"),
    (Flat, "returns a tensor of shape (40,)"),
    (Maps, "returns a tensor of shape (4, 10, 1)"),
    (Half, "has weights in float16 ('head.weight'), and weights are trained and measured in float32"),
    (Double, "has weights in float64 ('head.weight')"),
    (HalfInside, "returns bfloat16 in eval mode, and should return float32"),
    (NotANumber, f"returns NaN or infinite values for {FEW} in eval mode, before any training"),
    (OverflowInTraining, f"returns NaN or infinite values for {FEW} in train mode, before any training"),
    (Counting, "changes 'calls' in eval mode"),
    (Fails, rf"fails on {FEW} in eval mode: KeyError: 'oops\nand more'"),
    (Leaves, f"fails on {FEW} in eval mode: it calls sys.exit(0)"),
    (WithoutGradient, "has no gradient: RuntimeError: element 0 of tensors does not require grad"),
    (Constant, "has no gradient: its outputs depend on none of its parameters"),
    (PlainMean, "has something outside of its state_dict that training changes and its outputs depend on"),
    (UnstoredNorm, "make that a parameter or a persistent buffer"),
    (Growing, "cannot read its own weights: RuntimeError: Error(s) in loading state_dict for Growing"),
    (Frozen, "has no parameter that wants a gradient, so there is nothing to train"),
    (Lazy, "has a lazy layer, 'head.weight' has no shape yet"),
    (Huge, "GB for its weights and their gradient alone, and this machine has"),
    (Overflowing, "cannot be made for inputs of shape (64,): "),
    (returns_nothing, "should be a torch.nn.Module, and its function returns None"),
    (returns_a_class, "should be a torch.nn.Module, and its function returns <class"),
    (raises, "cannot be made for inputs of shape (64,): RuntimeError: no model today"),
    (leaves, "cannot be made for inputs of shape (64,): it calls sys.exit(0)"),
]


@pytest.fixture(scope="module")
def digits() -> Dataset:
    data = DATASETS["digits"](DataSource(), train_size=50, calibration_size=0)
    flat = {split: getattr(data, split).flatten(1).float() for split in ("train_inputs", "test_inputs")}
    return replace(data, mean=(8.0,) * 64, std=(4.0,) * 64, augment=None, **flat)


@pytest.fixture
def registered():
    """Register a model for one test, as a plugin does; return the component that asks for it."""

    def register(make) -> Component:
        MODELS.register("odd")(lambda shape, classes: make(shape, classes))
        return Component(name="odd")

    return register


@pytest.mark.parametrize(("make", "message"), REFUSED, ids=[make.__name__ for make, _ in REFUSED])
def test_a_model_that_no_run_can_use_is_refused(make, message, registered, digits):
    component = registered(make)
    with pytest.raises(SpecError) as caught:
        check_model(component, digits, "cpu")
    assert message in str(caught.value)
    assert "'odd'" in str(caught.value)
    assert "\n" not in str(caught.value)


class LooksAtValues(Net):
    """Cannot be made without memory."""

    def __init__(self, shape, classes):
        super().__init__(shape, classes)
        self.scale = torch.linspace(0, 1, 3)[1].item()


class FixedFeatures(Net):
    """Keeps outside of its weights what is drawn with them and never changes, and draws in eval mode."""

    def __init__(self, shape, classes):
        super().__init__(shape, classes)
        self.projection = torch.randn(64, 64)
        self.steps = 0

    def forward(self, x):
        self.steps += self.training
        return super().forward(nn.functional.dropout(x @ self.projection, 0.5))


class WithDropoutAndNorm(nn.Sequential):
    def __init__(self, shape, classes):
        super().__init__(nn.Linear(64, 8), nn.BatchNorm1d(8), nn.Dropout(), nn.Linear(8, classes))


@pytest.mark.parametrize("make", [Net, LooksAtValues, FixedFeatures, WithDropoutAndNorm])
def test_others_are_not(make, registered, digits):
    state = torch.get_rng_state()
    assert isinstance(check_model(registered(make), digits, "cpu"), nn.Module)
    assert torch.equal(torch.get_rng_state(), state)


PLUGIN = """
import torch
from sharpscope.extend import DATASETS, Dataset

@DATASETS.register()
def odd_data(source, *, how: str):
    "Data with something about them."
    if how == "nothing":
        return None
    if how == "raises":
        raise KeyError("no data today")
    if how == "leaves":
        raise SystemExit
    if how == "missing":
        return torch.tensor([0, None])
    return torch.ones(10**how.count("0"), 10**9)
"""


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("nothing", "the dataset 'odd_data' should be a sharpscope.extend.Dataset, and is None"),
        ("raises", "the dataset 'odd_data' cannot be made: KeyError: 'no data today'"),
        ("leaves", "the dataset 'odd_data' cannot be made: it calls sys.exit(None)"),
        ("missing", "the dataset 'odd_data' cannot be made: "),
        ("large " + "0" * 15, "the dataset 'odd_data' cannot be made: RuntimeError: "),
    ],
)
def test_a_dataset_that_cannot_be_made_is_one_sentence_and_exit_2(how, message, study_file, tmp_path, capsys):
    study = study_file(data={"name": "odd_data", "how": how}, plugins=["odd.py"])
    (tmp_path / "odd.py").write_text(PLUGIN)
    assert run_command(["run", str(study), "--out", str(tmp_path / "out")]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": ("0",)}, "has 1 class, and it takes two to tell them apart"),
        ({"classes": ()}, "has 0 classes, and it takes two to tell them apart"),
        (
            {"train_inputs": torch.zeros(0, 64), "train_targets": torch.zeros(0, dtype=torch.int64)},
            "no training sample",
        ),
        ({"test_inputs": torch.zeros(0, 64), "test_targets": torch.zeros(0, dtype=torch.int64)}, "no test sample"),
        ({"train_targets": torch.tensor([-1] + [0] * 49)}, "must lie in 0..9, got -1..0"),
        ({"train_inputs": torch.full((50, 64), torch.nan)}, "training inputs that are NaN or infinite"),
        ({"std": (0.0,) * 64}, "which must be finite, the latter above 0"),
        ({"std": (torch.nan,) * 64}, "which must be finite, the latter above 0"),
        ({"mean": (torch.inf,) * 64}, "which must be finite, the latter above 0"),
    ],
)
def test_data_that_nothing_can_be_learned_from_are_refused(changes, message, digits):
    with pytest.raises(DataError, match=message.replace(".", r"\.")):
        replace(digits, **changes)


def test_where_the_system_does_not_tell_its_memory_a_study_is_planned_all_the_same(plan_of, monkeypatch):
    monkeypatch.delattr(os, "sysconf")
    assert len(plan_of().runs) == 4
