"""Projected gradient descent against models of which the worst inputs are known."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from sharpscope.data import CONDITIONS, DATASETS, DataSource, altered_cases, conditions_of
from sharpscope.data.conditions.attacks import logits_ratio, margin
from sharpscope.data.draws import Draws
from sharpscope.seeding import Stream

STREAM = Stream("test")


def attacked(classify, images, targets, severity):
    return CONDITIONS["pgd"](classify, images, targets, severity, Draws(STREAM, 0, len(images)))


@pytest.fixture
def linear():
    """A linear model of three classes with images in the middle of [0, 1]."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(3, 16, generator=generator)
    images = 0.5 + 0.05 * torch.randn(40, 1, 4, 4, generator=generator)
    classify = lambda x: x.flatten(1) @ weight.T
    return classify, weight, images, classify(images).argmax(dim=1)


@pytest.mark.parametrize("severity", [1, 2, 4, 8])
def test_a_linear_model_is_attacked_as_far_as_can_be(linear, severity):
    classify, weight, images, targets = linear
    found = attacked(classify, images, targets, severity)
    distance = severity / 255
    assert (found - images).abs().max() <= distance + 1e-6
    # The margin to a class can be lowered by the distance times the L1 norm of the difference of weights, exactly.
    logits = classify(images)
    gaps = logits.gather(1, targets[:, None]) - logits
    reach = distance * (weight[targets][:, None] - weight[None]).abs().sum(dim=2)
    can_be_fooled = ((gaps < reach) & (torch.arange(3) != targets[:, None])).any(dim=1)
    fooled = classify(found).argmax(dim=1) != targets
    assert (fooled == can_be_fooled).double().mean() >= 0.95
    assert not (fooled & ~can_be_fooled).any()


def test_images_stay_in_their_range_and_those_that_are_wrong_already_are_left_alone(linear):
    classify, _, images, targets = linear
    white = images.clone().fill_(1.0)
    found = attacked(classify, white, classify(white).argmax(dim=1), 64)
    assert found.min() >= 0
    assert found.max() <= 1
    wrong = (targets + 1) % 3
    assert attacked(classify, images, wrong, 4).equal(images)


def test_a_scale_of_logits_hides_nothing(linear):
    classify, _, images, targets = linear
    # In single precision the gradient of the cross-entropy of such logits is 0.
    huge = lambda x: 1e4 * classify(x)
    same = attacked(classify, images, targets, 8)
    plain = (classify(same).argmax(dim=1) != targets).double().mean()
    hidden = (huge(attacked(huge, images, targets, 8)).argmax(dim=1) != targets).double().mean()
    assert plain > 0.2
    assert hidden >= plain - 0.03


def test_losses_by_hand():
    logits, targets = torch.tensor([[3.0, 1.0, 0.0, -1.0], [0.0, 2.0, 1.5, 1.0]]), torch.tensor([0, 2])
    assert margin(logits, targets).tolist() == [-2.0, 0.5]
    assert logits_ratio(logits, targets).tolist() == pytest.approx([-2.0 / 3.0, 0.5 / 1.0])
    assert logits_ratio(logits[:, :2], torch.tensor([0, 0])).tolist() == [-2.0, 2.0]


@pytest.fixture(scope="module")
def digits():
    return DATASETS["digits"](DataSource(download=False), train_size=600)


@pytest.mark.slow
def test_a_network_is_less_accurate_the_further_it_is_attacked(digits):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(150):
        optimizer.zero_grad()
        functional.cross_entropy(model(digits.normalize(digits.train_inputs)), digits.train_targets).backward()
        optimizer.step()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    classify = lambda x: model(digits.normalize(x))
    accuracies = []
    for case, altered in altered_cases(digits, ["pgd"]):
        inputs = altered.inputs_for(classify, "cpu")
        clean = digits.test_inputs.float() / 255
        assert (inputs - clean).abs().max() <= case.severity / 255 + 1e-6
        accuracies.append(float((classify(inputs).argmax(1) == altered.targets).double().mean()))
    assert accuracies == sorted(accuracies, reverse=True)
    assert accuracies[0] > 0.8
    assert accuracies[-1] < 0.05
    assert all(value.equal(before[name]) for name, value in model.state_dict().items())


def test_images_of_classes_alone_can_be_attacked(digits):
    assert "pgd" in conditions_of(digits)
    for name in ("circles", "diabetes"):
        assert "pgd" not in conditions_of(DATASETS[name](DataSource(download=False)))


def test_shuffled_values_keep_every_value_and_nothing_else(digits):
    ((case, altered),) = altered_cases(digits, ["shuffled_values"])
    assert case.kind == "data"
    before, after = (images.flatten(1) for images in (digits.test_inputs, altered.inputs))
    assert before.sort(dim=0).values.equal(after.sort(dim=0).values)
    assert altered.targets.unique().tolist() == [0]
    # Pixels of one image have nothing to do with each other any more; neighbors had.
    before, after = (images.double()[:, [27, 28]].T.corrcoef()[0, 1] for images in (before, after))
    assert abs(after) < 0.15
    again = next(iter(altered_cases(digits, ["shuffled_values"])))[1]
    assert again.inputs.equal(altered.inputs)
