"""What a Hessian-vector product costs by each route, in plain gradients of the same batch."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks.problems import digits, trained
from benchmarks.timing import side_by_side, table
from sharpscope.curvature.operators import GaussNewton, Hessian, Operator, Products, Space
from sharpscope.curvature.passes import Evaluation, Evaluator
from sharpscope.curvature.risk import Risk
from sharpscope.curvature.risk.batches import Batches
from sharpscope.models import build
from sharpscope.seeding import Stream


def gradient(model: nn.Module, x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
    """Compute a gradient as anybody would."""
    return torch.autograd.grad(F.cross_entropy(model(x), y), list(model.parameters()))


def multiply(risk: Risk, operator: Operator, vectors: Tensor) -> Tensor:
    """Multiply vectors by a matrix in one pass."""
    products = Products(operator, vectors)
    with risk:
        Evaluator(risk).run({"": [products]})
    return products.value


def plain_product(model: nn.Module, x: Tensor, y: Tensor, vectors: list[Tensor]) -> Callable[[], object]:
    """Return a product with the Hessian as PyTorch makes it, from a graph that is kept."""
    parameters = list(model.parameters())
    with sdpa_kernel(SDPBackend.MATH):
        kept = torch.autograd.grad(F.cross_entropy(model(x), y), parameters, create_graph=True)
    return lambda: torch.autograd.grad(kept, parameters, vectors, retain_graph=True)


class _Kept(Products):
    """Keeps the evaluation that it was fed with, and its graph."""

    def update(self, evaluation: Evaluation) -> None:
        self.evaluation = evaluation
        super().update(evaluation)


def transformers() -> None:
    """Print what a product from a kept graph costs beside a plain one."""
    rows = []
    symbols = torch.randint(1, 20, (64, 32), generator=torch.Generator().manual_seed(0))
    images, _ = digits(64, 28)
    for name, x, options in (
        ("gpt", symbols, {"dim": 64, "depth": 3}),
        ("vit", images, {"dim": 64, "depth": 3, "heads": 4, "head_dim": 16, "mlp_dim": 128}),
        ("resnet8", images, {}),
    ):
        shape = (32, 20) if name == "gpt" else tuple(x.shape[1:])
        model, y = build(name, shape, 10, Stream(0, "benchmark"), **options).eval(), torch.arange(len(x)) % 10
        risk = Risk(model, Batches((x, y)))
        operator = Hessian(Space(risk))
        vectors = torch.randn(1, operator.space.size, generator=torch.Generator().manual_seed(0))
        products = _Kept(operator, vectors)
        with risk:
            Evaluator(risk).run({"": [products]})
            contenders = {
                "gradient": partial(gradient, model, x, y),
                "plain": plain_product(model, x, y, list(operator.space.split(vectors[0]).values())),
                "sharpscope": partial(operator.multiply, products.evaluation, vectors),
            }
            seconds = side_by_side(contenders)
        unit, product = seconds["gradient"], seconds["sharpscope"]
        ratios = [f"{seconds['plain'] / unit:.2f}", f"{product / unit:.2f}"]
        rows.append([f"{name}, {len(x)} samples", f"{unit * 1e3:.0f} ms", *ratios])
    header = ["network", "gradient", "plain product, in gradients", "ours, in gradients"]
    table("A product from a kept graph", header, rows)


def main() -> None:
    """Print the tables."""
    transformers()
    rows = []
    for name, size, samples in (("resnet8", 28, 256), ("resnet20", 28, 128)):
        x, y = digits(samples, size)
        model = trained(name, (x, y), epochs=2).to(memory_format=torch.channels_last)
        x = x.to(memory_format=torch.channels_last)
        risk = Risk(model, Batches((x, y)))
        space = Space(risk)
        vectors = torch.randn(8, space.size, generator=torch.Generator().manual_seed(0))
        contenders = {"gradient": partial(gradient, model, x, y)}
        for label, operator in (
            ("hessian", Hessian(space)),
            ("differences", Hessian(space, "differences")),
            ("ggn", GaussNewton(space)),
        ):
            for k in (1, 8):
                contenders[f"{label} {k}"] = partial(multiply, risk, operator, vectors[:k])
        seconds = side_by_side(contenders, rounds=3)
        plain = seconds.pop("gradient")
        each = [f"{s / plain / int(key.split()[1]):.2f}" for key, s in seconds.items()]
        rows.append([f"{name}, {samples} x {size}x{size}", f"{plain * 1e3:.0f} ms", *each])
    header = [
        "network and data",
        "gradient",
        "Hessian, 1 vector",
        "Hessian, each of 8",
        "differences, 1",
        "differences, each of 8",
        "Gauss-Newton, 1",
        "Gauss-Newton, each of 8",
    ]
    table("Cost of a product in plain gradients, all overhead included", header, rows)
