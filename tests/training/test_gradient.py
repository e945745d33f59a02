"""Micro-batches, clipping and half precision, with plain and with sharpness-aware steps."""

from contextlib import nullcontext as does_not_raise
from dataclasses import replace
from functools import partial

import pytest
import torch
from tests.training.quadratic import INPUTS, TARGETS, descent, small_net
from torch import nn
from torch.nn.functional import cross_entropy

from sharpscope.seeding import Stream
from sharpscope.spec import Regime, Training
from sharpscope.training import Recipe
from sharpscope.training.gradient import Gradient, OnBatch
from sharpscope.training.precision import LossScale, Overflow
from sharpscope.training.steps import MiniBatch, Step
from sharpscope.training.updates.esam import EfficientSam
from sharpscope.training.updates.fsam import FriendlySam
from sharpscope.training.updates.looksam import LookSam
from sharpscope.training.updates.sam import Sam

CPU = torch.device("cpu")
BATCH = MiniBatch(INPUTS, TARGETS)
STEPS = {
    "sgd": Step,
    "sam": partial(Sam, rho=0.3),
    "fsam": partial(FriendlySam, rho=0.3, sigma=1.0, decay=0.9),
    "looksam": partial(LookSam, rho=0.3, every=2, alpha=0.7),
    "esam": partial(EfficientSam, rho=0.3, beta=0.6, gamma=0.5),
}


def recipe(regime="baseline", **training):
    return Recipe.from_spec(Training(**training), Regime.model_validate(regime))


def weights(model):
    return nn.utils.parameters_to_vector(model.parameters()).detach()


def stepped(model, made, update, batch=BATCH, count=3):
    """Return the model's weights after steps on one batch, and the gradient's evaluator."""
    step = update(model, made.make_optimizer(model.parameters()))
    gradient = Gradient(model, made, made.loss or cross_entropy, (), CPU)
    with Stream("steps").governing():
        for _ in range(count):
            found = gradient.step(step, batch)
    return weights(model), found, gradient


@pytest.mark.parametrize("update", STEPS.values(), ids=STEPS)
@pytest.mark.parametrize("accumulate", [2, 3, 8])
def test_micro_batches_make_the_step_of_the_whole_batch(update, accumulate):
    whole, found, _ = stepped(small_net(batch_norm=False), recipe(lr=0.3), update)
    parts, found_in_parts, _ = stepped(small_net(batch_norm=False), recipe(lr=0.3, accumulate=accumulate), update)
    torch.testing.assert_close(parts, whole, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(found_in_parts.loss, found.loss, rtol=1e-12, atol=0)
    torch.testing.assert_close(found_in_parts.outputs, found.outputs, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("update", STEPS.values(), ids=STEPS)
def test_batch_norm_changes_once_however_many_micro_batches(update):
    model = small_net()
    hidden = nn.functional.linear(INPUTS, model[0].weight, model[0].bias).detach()
    stepped(model, recipe(accumulate=3), update, count=1)
    # Parts of 3, 3 and 2 samples; momentum 0.1, running mean 0 and variance 1 before.
    parts = hidden.split([3, 3, 2])
    shares = [3 / 8, 3 / 8, 2 / 8]
    mean = sum(share * part.mean(0) for share, part in zip(shares, parts, strict=True))
    variance = sum(share * part.var(0) for share, part in zip(shares, parts, strict=True))
    torch.testing.assert_close(model[1].running_mean, 0.1 * mean)
    torch.testing.assert_close(model[1].running_var, 0.9 + 0.1 * variance)
    assert model[1].num_batches_tracked.item() == 1
    assert model[1].momentum == 0.1


def test_a_part_of_the_weights_has_the_gradient_that_it_has_among_all():
    model = small_net()
    gradient = Gradient(model, recipe(accumulate=3), cross_entropy, (), CPU)
    backward = OnBatch(gradient, BATCH)
    backward()
    whole = {name: parameter.grad for name, parameter in model.named_parameters()}
    backward(weights=[model[0].bias, model[3].weight])
    for name, parameter in model.named_parameters():
        if name in {"0.bias", "3.weight"}:
            assert parameter.grad.equal(whole[name])
        else:
            assert parameter.grad is None
    backward(weights=[])
    assert all(parameter.grad is None for parameter in model.parameters())


def test_without_weights_an_infinite_loss_tells_of_an_overflow():
    model, made = small_net().float(), recipe(precision="fp16")
    for scale, whether in [(1.0, does_not_raise()), (float("inf"), pytest.raises(Overflow))]:
        scaled = replace(
            made, loss=lambda outputs, targets, scale=scale: nn.functional.mse_loss(scale * outputs, outputs)
        )
        with whether:
            OnBatch(Gradient(model, scaled, scaled.loss, (), CPU), MiniBatch(INPUTS.float(), TARGETS))(weights=[])


@pytest.mark.parametrize("accumulate", [1, 2, 3])
def test_chosen_samples_are_a_batch_of_their_own(accumulate):
    model, chosen = small_net(batch_norm=False), torch.tensor([1, 2, 6])
    backward = OnBatch(Gradient(model, recipe(accumulate=accumulate), cross_entropy, (), CPU), BATCH)
    found = backward(chosen=chosen)
    reference = small_net(batch_norm=False)
    outputs = reference(INPUTS[chosen])
    loss = nn.functional.cross_entropy(outputs, TARGETS[chosen])
    loss.backward()
    torch.testing.assert_close(found.loss, loss.detach(), rtol=1e-14, atol=0)
    torch.testing.assert_close(found.outputs, outputs.detach(), rtol=1e-12, atol=1e-14)
    for parameter, expected in zip(model.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, expected.grad, rtol=1e-12, atol=1e-15)


def test_chosen_samples_come_in_micro_batches_no_smaller_than_those_of_the_batch():
    model, seen = small_net(), []
    model.register_forward_hook(lambda module, inputs, output: seen.append(len(output)))
    backward = OnBatch(Gradient(model, recipe(accumulate=4), cross_entropy, (), CPU), BATCH)
    backward(chosen=torch.tensor([0, 3, 4, 7]))
    assert seen == [2, 2]


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_losses_of_samples_are_those_of_batches_of_one(mixed, smoothing):
    targets = torch.randn(8, 3, generator=Stream("mix").torch(), dtype=torch.float64).softmax(1) if mixed else TARGETS
    model, made = small_net(batch_norm=False), recipe({"label_smoothing": {"value": smoothing}}, accumulate=3)
    backward = OnBatch(Gradient(model, made, made.loss or cross_entropy, (), CPU), MiniBatch(INPUTS, targets))
    found = backward()
    one_by_one = [
        nn.functional.cross_entropy(model(INPUTS[i : i + 1]), targets[i : i + 1], label_smoothing=smoothing)
        for i in range(8)
    ]
    for losses in (backward.losses(), backward.losses(found)):
        assert not losses.requires_grad
        torch.testing.assert_close(losses, torch.stack(one_by_one).detach(), rtol=1e-12, atol=0)


def test_clipping_bounds_the_gradient_that_the_optimizer_is_given():
    model, made = small_net(), recipe(lr=1.0, clip_norm=0.01)
    before = weights(model)
    after, _, _ = stepped(model, made, STEPS["sam"], count=1)
    assert (after - before).norm().item() == pytest.approx(0.01, rel=1e-4)  # PyTorch divides by the norm plus 1e-6


def test_a_gradient_below_the_limit_is_not_clipped():
    clipped, _, _ = stepped(small_net(), recipe(clip_norm=1e3), Step)
    plain, _, _ = stepped(small_net(), recipe(), Step)
    assert clipped.equal(plain)


def test_bf16_computes_the_forward_pass_so_and_keeps_the_weights():
    model = small_net().float()
    batch = MiniBatch(INPUTS.float(), TARGETS)
    with torch.autocast("cpu", torch.bfloat16):
        outputs = model(batch.inputs).float()
    model.load_state_dict(small_net().float().state_dict())
    loss = nn.functional.cross_entropy(outputs, TARGETS)
    after, found, _ = stepped(model, recipe(precision="bf16"), Step, batch, count=1)
    assert found.loss.equal(loss.detach())
    assert found.outputs.dtype == after.dtype == torch.float32


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("update", STEPS.values(), ids=STEPS)
def test_half_precision_is_close_to_single(update, precision):
    batch = MiniBatch(INPUTS.float(), TARGETS)
    single, _, _ = stepped(small_net(batch_norm=False).float(), recipe(), update, batch)
    half, _, _ = stepped(small_net(batch_norm=False).float(), recipe(precision=precision), update, batch)
    moved = (single - weights(small_net(batch_norm=False).float())).norm()
    assert 0 < (half - single).norm() < 0.05 * moved


def scaled_reference(steps, grow_at, batches):
    """Train plainly with PyTorch's own scaler; return the weights and the scale after each step."""
    model = small_net(batch_norm=False).float()
    optimizer = descent(model, lr=0.05, momentum=0.9)
    scaler = torch.amp.GradScaler("cpu", growth_interval=grow_at)
    seen = []
    for step in range(steps):
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.float16):
            outputs = model(batches(step))
        scaler.scale(nn.functional.cross_entropy(outputs.float(), TARGETS)).backward()
        scaler.step(optimizer)
        scaler.update()
        seen.append((weights(model).clone(), scaler.get_scale()))
    return seen


def test_the_loss_scale_follows_the_rule_of_pytorch(monkeypatch):
    monkeypatch.setattr("sharpscope.training.precision._INTERVAL", 3)

    def batches(step):
        # Inputs this large overflow in the backward pass at the scale that holds then, twice in a row.
        return INPUTS.float() * (200.0 if step in {2, 3} else 1.0)

    expected = scaled_reference(9, 3, batches)
    made = recipe(precision="fp16", lr=0.05, momentum=0.9)
    model = small_net(batch_norm=False).float()
    step = Step(model, made.make_optimizer(model.parameters()))
    gradient = Gradient(model, made, cross_entropy, (), CPU)
    scales = []
    for number, (reference, scale) in enumerate(expected):
        gradient.step(step, MiniBatch(batches(number), TARGETS))
        torch.testing.assert_close(weights(model), reference, rtol=1e-6, atol=1e-7)
        assert gradient.scale.factor == scale
        scales.append(scale)
    assert min(scales) < 2.0**16 < max(scales) or len(set(scales)) > 2


@pytest.mark.parametrize("update", STEPS.values(), ids=STEPS)
@pytest.mark.parametrize("overflowing", [1, 2])
def test_a_step_whose_gradient_overflows_is_not_taken(update, overflowing):
    model, made = small_net(batch_norm=False).float(), recipe(precision="fp16", momentum=0.9)
    calls = []

    def loss(outputs, targets):
        if not outputs.requires_grad:  # a look at the losses alone
            return nn.functional.cross_entropy(outputs, targets)
        calls.append(1)
        return nn.functional.cross_entropy(outputs, targets) * (1e38 if len(calls) == overflowing else 1.0)

    made = replace(made, loss=loss)
    step = update(model, made.make_optimizer(model.parameters()))
    gradient = Gradient(model, made, made.loss or cross_entropy, (), CPU)
    before, state = weights(model).clone(), str(step.state_dict())
    batch = MiniBatch(INPUTS.float(), TARGETS)
    if update is Step and overflowing == 2:
        calls.append(1)
    with Stream("overflow").governing():
        gradient.step(step, batch)
    assert weights(model).equal(before)
    assert str(step.state_dict()) == state
    assert gradient.scale.factor == 2.0**15
    gradient.step(step, batch)
    assert not weights(model).equal(before)
    assert gradient.scale.factor == 2.0**15


def test_the_loss_scale_sees_every_kind_of_broken_gradient():
    scale = LossScale(enabled=True)
    for broken in (float("nan"), float("inf"), -float("inf")):
        gradient = [torch.ones(3), torch.tensor([1.0, broken])]
        assert not scale.unscale(gradient)
        assert gradient[0].tolist() == [2.0**-16] * 3
    assert scale.unscale([torch.tensor([3e38])])


def test_more_micro_batches_than_samples_are_refused():
    with pytest.raises(ValueError, match="65 micro-batches are more than the 64 samples"):
        recipe(accumulate=65)


def test_dropout_is_drawn_anew_for_each_pass_and_from_the_governed_stream():
    model = nn.Sequential(nn.Dropout(0.5), nn.Linear(4, 3)).double()
    losses = []
    for _ in range(2):
        with Stream("layers").governing():
            losses.append(stepped(model, recipe(lr=1e-9), Step, count=1)[1].loss)
    assert losses[0].item() == pytest.approx(losses[1].item(), rel=1e-6)
