"""What a Hessian-vector product costs by each route, in plain gradients of the same batch."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.problems import digits, trained
from benchmarks.timing import side_by_side, table
from sharpscope.curvature.batches import Batches
from sharpscope.curvature.operators import GaussNewton, Hessian, Operator, Products, Space
from sharpscope.curvature.passes import Evaluator
from sharpscope.curvature.risk import Risk


def gradient(model: nn.Module, x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
    """Compute a gradient as anybody would."""
    return torch.autograd.grad(F.cross_entropy(model(x), y), list(model.parameters()))


def multiply(risk: Risk, operator: Operator, vectors: Tensor) -> Tensor:
    """Multiply vectors by a matrix in one pass."""
    products = Products(operator, vectors)
    with risk:
        Evaluator(risk).run([products])
    return products.value


def main() -> None:
    """Print the table."""
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
