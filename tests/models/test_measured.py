"""Transformers, with their free parameters and symbols for inputs, are measured like other networks."""

import pytest
import torch

from sharpscope import measure
from sharpscope.models import build
from sharpscope.seeding import Stream

MODELS = {
    "vit": ((3, 8, 8), {"dim": 8, "depth": 1, "heads": 2, "head_dim": 4, "mlp_dim": 8}),
    "vit, shifted and local": (
        (3, 8, 8),
        {"dim": 8, "depth": 1, "heads": 2, "head_dim": 4, "mlp_dim": 8, "shifted_patches": True, "locality": True},
    ),
    "gpt": ((6, 9), {"dim": 8, "depth": 2, "heads": 2}),
}


@pytest.fixture(params=MODELS)
def measured(request):
    shape, options = MODELS[request.param]
    model = build(request.param.partition(",")[0], shape, 3, Stream(0, "init"), **options).double()
    draws = Stream("inputs").torch()
    if len(shape) == 2:
        inputs = torch.randint(0, shape[1], (12, shape[0]), generator=draws)
    else:
        inputs = torch.randn(12, *shape, generator=draws, dtype=torch.float64)
    return model, inputs, torch.randint(0, 3, (12,), generator=draws)


def test_relative_flatness_is_that_of_the_definition(measured):
    model, inputs, targets = measured
    weight, features = model.head.weight, []
    handle = model.head.register_forward_hook(lambda module, args, output: features.append(args[0].detach()))
    model.eval()(inputs)
    handle.remove()

    def risk(w):
        outputs = torch.nn.functional.linear(features[0], w, model.head.bias)
        return torch.nn.functional.cross_entropy(outputs, targets)

    hessian = torch.autograd.functional.hessian(risk, weight.detach())
    traces = torch.einsum("sdtd->st", hessian)
    expected = (traces * (weight @ weight.T)).sum().item()
    found = measure(model, (inputs, targets), {"relative_flatness": {"normalize": False}})
    assert found["relative_flatness"].value == pytest.approx(expected, rel=1e-6)


def test_the_fisher_rao_norm_is_that_of_the_definition(measured):
    model, inputs, targets = measured
    model.eval()
    squares = []
    for x, y in zip(inputs, targets, strict=True):
        model.zero_grad()
        torch.nn.functional.cross_entropy(model(x[None]), y[None]).backward()
        squares.append(sum((p.detach() * p.grad).sum() for p in model.parameters() if p.grad is not None) ** 2)
    model.zero_grad()
    expected = torch.stack(squares).mean().sqrt().item()
    found = measure(model, (inputs, targets), ["fisher_rao_norm"])
    assert found["fisher_rao_norm"].value == pytest.approx(expected, rel=1e-6)


def test_measures_together_are_what_they_are_alone(measured):
    model, inputs, targets = measured
    names = ["relative_flatness", "fisher_rao_norm", "margin", "gradient_norm"]
    together = measure(model, (inputs, targets), names)
    for name in names:
        alone = measure(model, (inputs, targets), [name])
        assert together[name].value == pytest.approx(alone[name].value, rel=1e-9)
