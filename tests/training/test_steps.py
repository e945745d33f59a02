import math
from functools import partial

import pytest
import torch
from tests.training.quadratic import CURVATURE, INPUTS, TARGETS, Point, descent, on_batch, on_quadratic, small_net
from torch import nn

from sharpscope.training.steps import Pass, Step
from sharpscope.training.updates.sam import Sam


def test_sam_on_a_quadratic_by_hand():
    point = Point(1.0, 2.0, -1.0)
    found = Sam(point, descent(point), rho=0.7)(partial(on_quadratic, point))
    # g = (3, 1, -2), |g| = sqrt(14); the gradient at x + rho g / |g| is c (x + rho g / |g|).
    scale = 0.7 / math.sqrt(14)
    expected = [
        1 - 0.1 * 3 * (1 + 3 * scale),
        2 - 0.1 * 0.5 * (2 + 1 * scale),
        -1 - 0.1 * 2 * (-1 - 2 * scale),
    ]
    assert point.values.tolist() == pytest.approx(expected, rel=1e-14)
    assert found.loss.item() == (3 * 1 + 0.5 * 4 + 2 * 1) / 2


def test_adaptive_sam_on_a_quadratic_by_hand():
    point = Point(1.0, 2.0, -1.0)
    Sam(point, descent(point), rho=0.7, adaptive=True)(partial(on_quadratic, point))
    # x g = (3, 2, 2), |x g| = sqrt(17); eps = rho x^2 g / |x g| with x^2 g = (3, 4, -2).
    scale = 0.7 / math.sqrt(17)
    expected = [
        1 - 0.1 * 3 * (1 + 3 * scale),
        2 - 0.1 * 0.5 * (2 + 4 * scale),
        -1 - 0.1 * 2 * (-1 - 2 * scale),
    ]
    assert point.values.tolist() == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("adaptive", [False, True])
def test_sam_equals_autograd_on_flat_weights(adaptive):
    model = small_net()
    names = [name for name, _ in model.named_parameters()]
    shapes = [parameter.shape for parameter in model.parameters()]
    theta = nn.utils.parameters_to_vector(model.parameters()).detach()

    def gradient(flat):
        flat = flat.clone().requires_grad_()
        parts = flat.split([shape.numel() for shape in shapes])
        weights = {name: part.view(shape) for name, part, shape in zip(names, parts, shapes, strict=True)}
        outputs = torch.func.functional_call(model, weights, (INPUTS,))
        return torch.autograd.grad(nn.functional.cross_entropy(outputs, TARGETS), flat)[0]

    g = gradient(theta)
    eps = 0.3 * theta**2 * g / (theta * g).norm() if adaptive else 0.3 * g / g.norm()
    expected = theta - 0.1 * gradient(theta + eps)

    Sam(model, descent(model), rho=0.3, adaptive=adaptive)(partial(on_batch, model))
    torch.testing.assert_close(
        nn.utils.parameters_to_vector(model.parameters()).detach(), expected, rtol=1e-12, atol=1e-14
    )


def test_sam_puts_weights_back_to_the_bit():
    model = small_net().float()
    before = [parameter.detach().clone() for parameter in model.parameters()]
    inputs = INPUTS.float()
    visited = []

    def backward():
        visited.append([parameter.detach().clone() for parameter in model.parameters()])
        model.zero_grad()
        loss = nn.functional.cross_entropy(model(inputs), TARGETS)
        loss.backward()
        return Pass(loss.detach(), loss.detach())

    Sam(model, descent(model, lr=0.0), rho=0.37)(backward)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    distance = sum(((a - b) ** 2).sum() for a, b in zip(*visited, strict=True)).sqrt()
    assert distance.item() == pytest.approx(0.37, rel=1e-5)


def test_sam_restores_weights_and_buffers_when_the_second_pass_fails():
    model = small_net()
    step = Sam(model, descent(model), rho=0.5)
    on_batch(model)
    passes = iter([lambda: on_batch(model)])
    state = []

    def backward():
        run = next(passes, None)
        if run is None:
            on_batch(model)
            raise RuntimeError("out of memory")
        found = run()
        state.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
        return found

    with pytest.raises(RuntimeError, match="out of memory"):
        step(backward)
    assert all(torch.equal(state[0][name], tensor) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("make", [Step, partial(Sam, rho=0.5)], ids=["sgd", "sam"])
def test_batch_norm_statistics_see_one_clean_pass_a_step(make):
    model, reference = small_net(), small_net()
    step = make(model, descent(model))
    for count in (1, 2):
        reference.load_state_dict(model.state_dict())
        reference(INPUTS)
        step(partial(on_batch, model))
        assert model[1].num_batches_tracked.item() == count
        assert torch.equal(model[1].running_mean, reference[1].running_mean)
        assert torch.equal(model[1].running_var, reference[1].running_var)


@pytest.mark.parametrize("adaptive", [False, True])
def test_sam_stays_where_the_gradient_is_zero(adaptive):
    point = Point(0.0, 0.0, 0.0)
    Sam(point, descent(point), rho=0.5, adaptive=adaptive)(partial(on_quadratic, point))
    assert point.values.tolist() == [0.0, 0.0, 0.0]


def test_sam_leaves_frozen_and_unused_parameters_alone():
    model = small_net(batch_norm=False)
    model[0].weight.requires_grad_(False)
    model.unused = nn.Parameter(torch.ones(3, dtype=torch.float64))
    frozen = model[0].weight.clone()
    visited = []

    def backward():
        visited.append((model[0].weight.clone(), model.unused.detach().clone()))
        return on_chain(model)

    def on_chain(model):
        model.zero_grad()
        loss = nn.functional.cross_entropy(model[2](model[1](model[0](INPUTS))), TARGETS)
        loss.backward()
        return Pass(loss.detach(), loss.detach())

    Sam(model, descent(model), rho=0.5)(backward)
    assert all(torch.equal(weight, frozen) and torch.equal(unused, torch.ones(3)) for weight, unused in visited)


@pytest.mark.parametrize("make", [Step, partial(Sam, rho=1e-9)], ids=["sgd", "sam"])
def test_momentum_and_weight_decay_by_hand(make):
    point = Point(1.0, 2.0, -1.0)
    step = make(point, descent(point, momentum=0.9, weight_decay=0.2))
    x, velocity = point.values, torch.zeros(3, dtype=torch.float64)
    for _ in range(3):
        velocity = 0.9 * velocity + (CURVATURE * x + 0.2 * x)
        x = x - 0.1 * velocity
        step(partial(on_quadratic, point))
    torch.testing.assert_close(point.values, x, rtol=1e-7, atol=1e-9)
