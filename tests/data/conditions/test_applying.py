"""From a dataset and its conditions to what is evaluated; and weights that are put back."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from sharpscope.condition import Case
from sharpscope.data import (
    CONDITIONS,
    DATASETS,
    Altered,
    ConditionFacts,
    DataSource,
    altered_cases,
    conditions_of,
    corrupt,
)
from sharpscope.errors import DataError, UnknownName
from sharpscope.seeding import Stream


@pytest.fixture
def digits():
    return DATASETS["digits"](DataSource(download=False))


@pytest.fixture
def kinds(monkeypatch):
    """A condition of weights and one of data beside the registered ones."""
    len(CONDITIONS)
    monkeypatch.setattr(CONDITIONS, "_entries", dict(CONDITIONS._entries))

    @CONDITIONS.register(facts=ConditionFacts("weights", "Noisy weights", severities=(1, 2)), version=3)
    def noisy(weights, severity, stream, *, std: float = 0.5):
        """Noise on all weights but biases."""
        generator = stream.torch()
        noise = {
            n: severity * std * torch.randn(w.shape, generator=generator) for n, w in weights.items() if w.ndim > 1
        }
        return {name: weights[name] + shift for name, shift in noise.items()}

    @CONDITIONS.register(facts=ConditionFacts("data", "Training data", severities=(1,)))
    def training_data(dataset, severity, stream):
        """The first training samples."""
        return dataset.train_inputs[:5], dataset.train_targets[:5]


def test_the_cases_of_corruptions(digits):
    found = list(altered_cases(digits, ["contrast", "shot_noise"]))
    assert [str(case) for case, _ in found] == [f"{c}-{s}" for c in ("contrast", "shot_noise") for s in range(1, 6)]
    assert found[5][0] == Case("shot_noise", 1, "inputs", "noise")
    stream = Stream("corruptions", "digits")
    for case, altered in found:
        assert altered.inputs.equal(corrupt(digits.test_inputs, case.condition, case.severity, stream))
        assert altered.targets is digits.test_targets
        assert altered.alter is None
    own = [entry.facts for entry in CONDITIONS.values() if not entry.facts.colored]
    assert len(list(altered_cases(digits))) == sum(len(facts.severities) for facts in own)


def test_an_unknown_condition_is_told(digits):
    with pytest.raises(UnknownName, match="unknown condition 'contrst' of dataset 'digits'; did you mean 'contrast'"):
        list(altered_cases(digits, ["contrst"]))


def test_each_kind_alters_its_own(digits, kinds):
    found = {str(case): altered for case, altered in altered_cases(digits, ["noisy", "training_data"])}
    assert list(found) == ["noisy-1", "noisy-2", "training_data-1"]
    assert found["noisy-1"].inputs is digits.test_inputs
    assert found["noisy-1"].targets is digits.test_targets
    assert found["training_data-1"].inputs.equal(digits.train_inputs[:5])
    assert found["training_data-1"].targets.equal(digits.train_targets[:5])


def test_only_images_come_under_corruptions_and_all_data_under_the_others(digits, kinds):
    others = {"noisy": 3, "training_data": 1, "pruned": 1, "quantized": 1, "shuffled_values": 1}
    circles = DATASETS["circles"](DataSource(download=False))
    assert {name: c.version for name, c in conditions_of(circles).items()} == others
    of_color = {name for name, entry in CONDITIONS.items() if entry.facts.colored}
    assert of_color == {"saturate"}
    assert set(conditions_of(digits)) == set(CONDITIONS) - of_color
    color = replace(
        digits,
        calibration=None,
        **{k: getattr(digits, k).expand(-1, 3, -1, -1) for k in ("train_inputs", "test_inputs")},
        mean=digits.mean * 3,
        std=digits.std * 3,
    )
    assert set(conditions_of(color)) == set(CONDITIONS)
    with pytest.raises(DataError, match="a corruption is a condition of inputs, and 'noisy' is one of weights"):
        corrupt(digits.test_inputs, "noisy", 1, Stream("test"))


def test_weights_are_altered_for_a_block_and_put_back(digits, kinds):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.Linear(8, 10))
    model[3].bias.requires_grad_(requires_grad=False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    pointers = {name: value.data_ptr() for name, value in model.state_dict().items()}
    (_, slight), (_, strong) = altered_cases(digits, ["noisy"])
    moved = []
    for altered in (slight, slight, strong):
        with altered.applied_to(model):
            moved.append({name: value - before[name] for name, value in model.state_dict().items()})
        state = model.state_dict()
        assert all(
            state[name].equal(value) and state[name].data_ptr() == pointers[name] for name, value in before.items()
        )
    assert [parameter.requires_grad for parameter in model.parameters()] == [True] * 5 + [False]
    assert all(parameter.grad is None for parameter in model.parameters())
    changed = {name for name, shift in moved[0].items() if shift.abs().max() > 0}
    assert changed == {"1.weight", "3.weight"}
    assert all(moved[1][name].equal(shift) for name, shift in moved[0].items())
    spread = torch.cat([moved[2][name].flatten() for name in changed]).std()
    # 592 weights: the standard error of a standard deviation of 2 * 0.5 is 1 / sqrt(1184) = 0.03.
    assert float(spread) == pytest.approx(1.0, abs=0.12)


def test_weights_are_put_back_when_the_evaluation_fails():
    model = nn.Linear(2, 1)
    before = model.weight.detach().clone()
    doubled = Altered(torch.zeros(1), torch.zeros(1), lambda weights: {"weight": weights["weight"].mul_(2)})

    def fail():
        assert model.weight.equal(2 * before)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), doubled.applied_to(model):
        fail()
    assert model.weight.equal(before)


@pytest.mark.parametrize(
    ("returned", "told"),
    [
        ({"wieght": torch.zeros(1, 2)}, "'wieght' of shape (1, 2), where the model has no such weights"),
        ({"weight": torch.zeros(2)}, "'weight' of shape (2,), where the model has shape (1, 2)"),
    ],
)
def test_weights_that_do_not_fit_are_one_sentence(returned, told):
    model = nn.Linear(2, 1)
    before = model.weight.detach().clone()
    with (
        pytest.raises(DataError) as error,
        Altered(torch.zeros(1), torch.zeros(1), lambda _: returned).applied_to(model),
    ):
        pass
    assert str(error.value).startswith("a condition of weights returns them by their names and in their shapes, got ")
    assert told in str(error.value)
    assert model.weight.equal(before)
