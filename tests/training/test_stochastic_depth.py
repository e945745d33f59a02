"""Stochastic depth against its rule: who is dropped how often, what the mean is, and when nothing is."""

from functools import partial

import pytest
import torch
from torch import nn

from sharpscope.errors import SpecError
from sharpscope.models import build
from sharpscope.seeding import Stream
from sharpscope.spec import Regime, Training
from sharpscope.training import Recipe, train
from sharpscope.training.normalization import reestimate, tracking
from sharpscope.training.regularizers.stochastic_depth import dropping_branches
from sharpscope.training.steps import Pass
from sharpscope.training.updates.sam import Sam

RATE = 0.4


class Block(nn.Module):
    """A linear branch beside a skip."""

    def __init__(self):
        super().__init__()
        self.branch = nn.Linear(3, 3, dtype=torch.float64)

    def forward(self, x):
        return x + self.branch(x)

    def residual_branches(self):
        return [self.branch]


def blocks(count):
    with Stream("blocks").governing():
        return nn.Sequential(*[Block() for _ in range(count)])


def samples(count):
    return torch.randn(count, 3, generator=Stream("samples").torch(), dtype=torch.float64)


def recipe(regime="stochastic_depth", **training):
    settings = {"momentum": 0.9, "batch_size": 8, "epochs": 2, **training}
    return Recipe.from_spec(Training(**settings), Regime.model_validate(regime))


def seen(model, x):
    """Return what each branch returns to its skip, before and after dropping."""
    before, after, handles = [], [], []
    for block in model:
        handles.append(
            block.branch.register_forward_hook(lambda module, inputs, output: before.append(output), prepend=True)
        )
        handles.append(block.branch.register_forward_hook(lambda module, inputs, output: after.append(output)))
    model(x)
    for handle in handles:
        handle.remove()
    return before, after


@torch.no_grad()
def test_whole_samples_are_dropped_the_deeper_the_more_and_the_rest_is_scaled():
    draws, depth = 20_000, 4
    with Stream("drops").governing(), dropping_branches(model := blocks(depth), rate=RATE):
        before, after = seen(model, samples(1).expand(draws, 3))
    dropped = []
    for number, (whole, left) in enumerate(zip(before, after, strict=True), start=1):
        rate = RATE * number / depth
        gone = (left == 0).all(dim=1)
        torch.testing.assert_close(left[~gone], whole[~gone] / (1 - rate), rtol=1e-14, atol=0)
        assert gone.double().mean().item() == pytest.approx(rate, abs=4 * (rate * (1 - rate) / draws) ** 0.5)
        dropped.append(gone.double())
    # Independent of one another: no correlation beyond four standard errors.
    assert (torch.corrcoef(torch.stack(dropped)) - torch.eye(depth)).abs().max() < 4 / draws**0.5


@torch.no_grad()
def test_the_mean_over_draws_is_the_network_of_evaluation():
    # A linear branch beside the last skip, so that the mean over its draws passes through unchanged.
    model, x, draws = blocks(1), samples(1), 20_000
    with Stream("mean").governing(), dropping_branches(model, rate=RATE):
        outputs = model(x.expand(draws, 3))
    error = outputs.std(dim=0) / draws**0.5
    assert (error > 0).all()
    assert ((outputs.mean(dim=0) - model.eval()(x)[0]).abs() < 4 * error).all()


@torch.no_grad()
def test_nothing_is_dropped_in_evaluation_nor_after_the_block():
    model, x = blocks(3), samples(50)
    whole = model(x)
    with dropping_branches(model, rate=RATE):
        assert not model(x).equal(whole)
        assert model.eval()(x).equal(whole)
    assert model.train()(x).equal(whole)


def test_the_statistics_of_batch_norm_are_estimated_without_drops():
    # Branches end in BatchNorm, which alone is in train mode then.
    model, x = build("resnet8", (1, 8, 8), 2, Stream(0)), torch.rand(16, 1, 8, 8, generator=Stream(1).torch())
    reestimate(model, tracking(model), [x])
    expected = {key: value.clone() for key, value in model.state_dict().items()}
    with dropping_branches(model, rate=0.9):
        reestimate(model, tracking(model), [x])
    assert all(value.equal(expected[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_the_precision_of_a_branch_is_kept_and_its_mean_not_rounded(dtype):
    model, x = blocks(1).to(dtype), torch.ones(100, 3, dtype=dtype)
    with torch.no_grad(), Stream("precision").governing(), dropping_branches(model, rate=0.3):
        (whole,), (left,) = seen(model, x)
    assert left.dtype == dtype
    kept = (left != 0).all(dim=1)
    assert left[kept].equal((whole[kept].double() / 0.7).to(dtype))


@pytest.mark.parametrize(
    ("name", "shape", "options"),
    [
        ("resnet8", (1, 8, 8), {}),
        ("vit", (1, 8, 8), {"dim": 8, "depth": 2, "heads": 2, "head_dim": 4, "mlp_dim": 8}),
    ],
)
def test_networks_train_with_it_and_keep_their_parts(dataset, name, shape, options):
    model = build(name, shape, 2, Stream(0), **options)
    keys = list(model.state_dict())
    history = train(model, dataset, recipe("stochastic_depth+weight_decay+sam", epochs=10), Stream(0))
    assert history.epochs[-1].batch_loss < history.epochs[0].batch_loss
    assert list(model.state_dict()) == keys
    assert not any(module._forward_hooks for module in model.modules())


def test_a_sequence_classifier_has_branches_too():
    model = build("gpt", (6, 9), 2, Stream(0), dim=8, depth=2)
    x = torch.randint(1, 9, (40, 6), generator=Stream("symbols").torch())
    with dropping_branches(model, rate=RATE):
        assert not model(x).equal(model(x))
    assert model(x).equal(model(x))


def test_both_passes_of_sam_draw_anew():
    model, x, rho, rate = blocks(2), samples(16), 0.3, RATE

    def by_hand(weights, x):
        for number, (weight, bias) in enumerate(zip(weights[::2], weights[1::2], strict=True), start=1):
            share = rate * number / 2
            x = x + (x @ weight.T + bias) * (torch.rand(len(x), 1) >= share).double() / (1 - share)
        return x.square().mean()

    start = [parameter.detach().clone().requires_grad_() for parameter in model.parameters()]
    with Stream("sam").governing():
        gradient = torch.autograd.grad(by_hand(start, x), start)
        length = torch.cat([part.flatten() for part in gradient]).norm()
        there = [weight + rho * part / length for weight, part in zip(start, gradient, strict=True)]
        sharp = torch.autograd.grad(by_hand(there, x), there)

    def backward(model):
        model.zero_grad()
        outputs = model(x)
        loss = outputs.square().mean()
        loss.backward()
        return Pass(loss.detach(), outputs.detach())

    step = Sam(model, torch.optim.SGD(model.parameters(), lr=0.1), rho=rho)
    with Stream("sam").governing(), dropping_branches(model, rate=rate):
        step(partial(backward, model))
    for weight, before, part in zip(model.parameters(), start, sharp, strict=True):
        torch.testing.assert_close(weight.detach(), before.detach() - 0.1 * part, rtol=1e-12, atol=1e-14)


def test_it_needs_a_network_that_declares_branches(dataset):
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    with pytest.raises(SpecError, match=r"this model \(Sequential\) declares none; leave it out"):
        train(model, dataset, recipe(), Stream(0))
