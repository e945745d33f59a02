"""Training throughput beside a plain PyTorch loop over a DataLoader with per-image transforms, all else the same."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from benchmarks.timing import side_by_side, table
from sharpscope.data import DATASETS, DataSource
from sharpscope.models import build
from sharpscope.seeding import Stream
from sharpscope.spec import Regime, Training
from sharpscope.training import Recipe, train


class Augmented(Dataset[tuple[Tensor, Tensor]]):
    """Images turned and shifted one at a time, as a list of transforms does it."""

    def __init__(self, data: object) -> None:
        self._inputs = data.train_inputs  # type: ignore[attr-defined]
        self._targets = data.train_targets  # type: ignore[attr-defined]
        self._normalize = data.normalize  # type: ignore[attr-defined]

    def __len__(self) -> int:
        return len(self._targets)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image = self._normalize(self._inputs[index : index + 1])
        angle = math.radians(20 * float(torch.rand(())) - 10)
        shift = 2 * torch.rand(2) - 1
        turn = torch.tensor(
            [
                [math.cos(angle), -math.sin(angle), 2 * float(shift[0]) / image.shape[3]],
                [math.sin(angle), math.cos(angle), 2 * float(shift[1]) / image.shape[2]],
            ]
        )
        grid = F.affine_grid(turn[None], list(image.shape), align_corners=False)
        return F.grid_sample(image, grid, align_corners=False)[0], self._targets[index]


def plain_loop(model: nn.Module, loader: DataLoader[tuple[Tensor, Tensor]], epochs: int) -> None:
    """Train as a tutorial does."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    model.train()
    for _ in range(epochs):
        for x, y in loader:
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()


def main() -> None:
    """Print the table."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    data = DATASETS["digits"](DataSource())
    epochs = 3
    spec = Training(lr=0.05, momentum=0.9, batch_size=64, epochs=epochs)
    recipes = {
        label: Recipe.from_spec(spec, Regime.model_validate(label)) for label in ("baseline", "augmentation", "sam")
    }
    unaugmented = replace(data, augment=None)
    pairs = [(x, int(y)) for x, y in zip(data.normalize(data.train_inputs), data.train_targets, strict=True)]
    loaders = {
        "plain": DataLoader(pairs, batch_size=64, shuffle=True),  # type: ignore[arg-type]
        "plain, augmented": DataLoader(Augmented(data), batch_size=64, shuffle=True),
    }

    def model() -> nn.Module:
        return build("resnet8", data.input_shape, len(data.classes), Stream(0, "init"))

    seconds = side_by_side(
        {
            "plain": lambda: plain_loop(model(), loaders["plain"], epochs),
            "baseline": lambda: train(model(), unaugmented, recipes["baseline"], Stream(0)),
            "plain, augmented": lambda: plain_loop(model(), loaders["plain, augmented"], epochs),
            "augmentation": lambda: train(model(), data, recipes["augmentation"], Stream(0)),
            "sam": lambda: train(model(), data, recipes["sam"], Stream(0)),
        },
        rounds=3,
    )
    torch.set_num_threads(threads)
    steps = epochs * math.ceil(len(data.train_targets) / 64)
    rows = [
        ["baseline", *_row(seconds["plain"], seconds["baseline"], steps)],
        ["augmentation", *_row(seconds["plain, augmented"], seconds["augmentation"], steps)],
    ]
    share = (seconds["augmentation"] - seconds["baseline"]) / seconds["augmentation"]
    table(
        "Training resnet8 on 500 digits, batches of 64, one thread",
        ["regime", "DataLoader loop, a step", "sharpscope, a step", "ratio"],
        rows,
    )
    print(
        f"\nAugmentation takes {share:.1%} of a step; a SAM step {seconds['sam'] / seconds['baseline']:.2f} plain ones."
    )


def _row(slow: float, fast: float, steps: int) -> list[str]:
    return [f"{slow / steps * 1e3:.1f} ms", f"{fast / steps * 1e3:.1f} ms", f"{slow / fast:.2f}"]
