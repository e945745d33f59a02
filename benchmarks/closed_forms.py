"""The closed forms in plain forward evaluations of the same data; relative flatness against its definition."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.problems import batches, digits, trained
from benchmarks.timing import side_by_side, table
from sharpscope import measure

ONE_PASS = ["relative_flatness", "fisher_rao_norm_analytic", "head_norm", "parameter_norm", "margin"]


def evaluate(model: nn.Module, data: list[tuple[Tensor, Tensor]]) -> float:
    """Evaluate the mean loss as anybody would."""
    with torch.no_grad():
        return sum(float(F.cross_entropy(model(x), y, reduction="sum")) for x, y in data) / sum(len(y) for _, y in data)


def main() -> None:
    """Print both tables."""
    rows = []
    for name, size, samples in (("resnet8", 8, 1000), ("resnet8", 28, 1024), ("resnet20", 28, 512)):
        data = digits(samples, size)
        model = trained(name, data, epochs=1)
        # The plain evaluation is given the layout that is fast, so that the ratio is to the best anybody would do.
        last = model.to(memory_format=torch.channels_last)
        cut = [(x.to(memory_format=torch.channels_last), y) for x, y in batches(data, 256)]
        seconds = side_by_side(
            {
                "plain": lambda last=last, cut=cut: evaluate(last, cut),
                "one pass": lambda last=last, cut=cut: measure(last, cut, ONE_PASS),
                "exact Fisher-Rao": lambda last=last, cut=cut: measure(last, cut, ["fisher_rao_norm"]),
                "gradient": lambda last=last, cut=cut: measure(last, cut, ["gradient_norm"]),
                "all default": lambda last=last, cut=cut: measure(last, cut),
                "expansion": lambda last=last, cut=cut: measure(last, cut, {"sam_sharpness": {"method": "expansion"}}),
            }
        )
        plain = seconds.pop("plain")
        rows.append(
            [
                f"{name}, {samples} x {size}x{size}",
                f"{plain * 1e3:.0f} ms",
                *(f"{s / plain:.2f}" for s in seconds.values()),
            ]
        )
    header = [
        "network and data",
        "plain forward",
        "one-pass measures",
        "exact Fisher-Rao norm",
        "gradient norm",
        "all default measures",
        "SAM sharpness by expansion",
    ]
    table("Cost in plain forward evaluations", header, rows)

    generator = torch.Generator().manual_seed(0)
    features, targets = torch.randn(256, 512, generator=generator), torch.randint(0, 10, (256,), generator=generator)
    head = nn.Linear(512, 10)
    slow = definition(head, features, targets)
    fast = measure(head, (features, targets), {"relative_flatness": {"normalize": False}})["relative_flatness"].value
    assert abs(slow / fast - 1) < 1e-4, (slow, fast)
    seconds = side_by_side(
        {
            "closed form": lambda: measure(head, (features, targets), {"relative_flatness": {"normalize": False}}),
            "definition": lambda: definition(head, features, targets),
        },
        rounds=3,
    )
    ratio = seconds["definition"] / seconds["closed form"]
    table(
        "Relative flatness, C = 10, D = 512, 256 samples",
        ["definition by double backward", "sharpscope.measure, all of it", "ratio"],
        [[f"{seconds['definition']:.2f} s", f"{seconds['closed form'] * 1e3:.2f} ms", f"{ratio:.0f}"]],
    )


def definition(head: nn.Linear, features: Tensor, targets: Tensor) -> float:
    """Sum <w_s, w_t> Tr(H_st) over all pairs of classes, each row of H by one double backward pass."""
    loss = F.cross_entropy(head(features), targets)
    (gradient,) = torch.autograd.grad(loss, head.weight, create_graph=True)
    W = head.weight.detach()
    classes, dimension = W.shape
    traces = torch.zeros(classes, classes)
    for s in range(classes):
        for d in range(dimension):
            (row,) = torch.autograd.grad(gradient[s, d], head.weight, retain_graph=True)
            traces[s] += row[:, d]
    return float(((W @ W.T) * traces).sum())
