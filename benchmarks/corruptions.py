"""What the severities of corruptions look like, and what they do to networks.

``python -m benchmarks.corruptions pictures`` writes the pictures of the documentation, the same on every machine to
rounding. ``python -m benchmarks.corruptions accuracy digits`` trains a small network and prints its accuracy under each
corruption; ``accuracy mnist --data-dir DIR`` likewise. ``published`` prints what similarity the severities of
CIFAR-10-C and ImageNet-C leave.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.severities import damaged, reference_images, similarity
from sharpscope.condition import SEVERITIES
from sharpscope.data import CONDITIONS, DATASETS, Dataset, DataSource, conditions_of, corrupt
from sharpscope.seeding import Stream
from sharpscope.training import predict

IMAGES = Path(__file__).parent.parent / "docs" / "images"
STREAM = Stream("corruptions", "pictures")
SHOWN = 64  # pixels that each picture takes

# Strengths at severities 1 to 5 as the code of Hendrycks & Dietterich has them: of CIFAR-10-C at side 32, and of
# ImageNet-C at side 224; widths of the blur in pixels.
PUBLISHED = {
    ("gaussian_noise", 32): (0.04, 0.06, 0.08, 0.09, 0.10),
    ("gaussian_noise", 224): (0.08, 0.12, 0.18, 0.26, 0.38),
    ("impulse_noise", 32): (0.01, 0.02, 0.03, 0.05, 0.07),
    ("impulse_noise", 224): (0.03, 0.06, 0.09, 0.17, 0.27),
    ("gaussian_blur", 32): (0.4, 0.6, 0.7, 0.8, 1.0),
    ("gaussian_blur", 224): (1, 2, 3, 4, 6),
    ("brightness", 32): (0.05, 0.1, 0.15, 0.2, 0.3),
    ("brightness", 224): (0.1, 0.2, 0.3, 0.4, 0.5),
}


def published() -> None:
    """Print the similarity that published strengths leave the reference images."""
    for (name, side), strengths in PUBLISHED.items():
        images = reference_images(side, 24)
        unit = side if name == "gaussian_blur" else 1
        left = [similarity(images, damaged(images, name, strength / unit)) for strength in strengths]
        print(f"{name:16s} {side:4d}", *(f"{value:.2f}" for value in left))


def pictures() -> None:
    """Write one page of a natural-looking scene at 64 pixels, and one of a digit of 8 pixels."""
    from PIL import Image

    scene = (reference_images(SHOWN, 2)[1:] * 255).round().to(torch.uint8)
    digit = DATASETS["digits"](DataSource(download=False)).test_inputs[3:4]
    for name, image in (("scene", scene), ("digit", digit)):
        names = [
            n
            for n, c in CONDITIONS.items()
            if c.facts.kind == "inputs" and (image.shape[1] == 3 or not c.facts.colored)
        ]
        rows = [torch.cat([_enlarged(image), *(_of(image, n, s) for s in SEVERITIES)], dim=2) for n in names]
        half = -(-len(rows) // 2)
        blank = torch.full_like(rows[0], 255)
        columns = [torch.cat(part + [blank] * (half - len(part)), dim=1) for part in (rows[:half], rows[half:])]
        page = torch.cat([columns[0], torch.full_like(columns[0][:, :, :16], 255), columns[1]], dim=2)
        Image.fromarray(_labeled(page, names, half)).quantize(128, dither=Image.Dither.NONE).save(
            IMAGES / f"corruptions-{name}.png", optimize=True
        )


def _of(image: Tensor, name: str, severity: int) -> Tensor:
    return _enlarged(corrupt(image, name, severity, STREAM))


def _enlarged(image: Tensor) -> Tensor:
    """Return an image as uint8 ``[3, SHOWN, SHOWN]``."""
    large = functional.interpolate(image.float(), (SHOWN, SHOWN), mode="nearest").to(torch.uint8)[0]
    return large.expand(3, -1, -1)


def _labeled(page: Tensor, names: list[str], half: int) -> np.ndarray:
    """Write the name of each corruption over the undamaged picture in its row."""
    from PIL import Image, ImageDraw

    drawn = Image.fromarray(page.permute(1, 2, 0).contiguous().numpy())
    pen = ImageDraw.Draw(drawn)
    for index, name in enumerate(names):
        x, y = (index // half) * (SHOWN * 6 + 16), (index % half) * SHOWN
        pen.rectangle((x, y, x + 7 + 6 * len(name), y + 13), fill="white")
        pen.text((x + 3, y + 1), name, fill="black")
    return np.asarray(drawn)


def network(dataset: Dataset, epochs: int) -> nn.Module:
    """Return a small convolutional network, trained by Adam on the clean images."""
    torch.manual_seed(0)
    channels = dataset.input_shape[0]
    model = nn.Sequential(
        nn.Conv2d(channels, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU(),
        nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(),
        nn.Linear(512, dataset.outputs),
    )  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for _ in range(epochs):
        for batch in torch.randperm(len(dataset.train_targets)).split(64):
            loss = functional.cross_entropy(
                model(dataset.normalize(dataset.train_inputs[batch])), dataset.train_targets[batch]
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return model.eval()


def accuracy_of(model: nn.Module, dataset: Dataset, inputs: Tensor) -> float:
    """Return the share of test images, as they are given, that a network classifies right."""
    outputs = predict(model, inputs, dataset.normalize, batch_size=512, device="cpu")
    return float((outputs.argmax(1) == dataset.test_targets).double().mean())


def accuracies(dataset: Dataset, model: nn.Module) -> dict[str, list[float]]:
    """Return the accuracy under each corruption, by severity."""
    stream = Stream("corruptions", dataset.name)
    return {
        name: [accuracy_of(model, dataset, corrupt(dataset.test_inputs, name, s, stream)) for s in SEVERITIES]
        for name, condition in conditions_of(dataset).items()
        if condition.facts.kind == "inputs"
    }


def main(arguments: Iterable[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["pictures", "published", "accuracy"])
    parser.add_argument("data", nargs="?", default="digits")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--samples", type=int, default=2000, help="training and test images at most")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    whole = {"pictures": pictures, "published": published}
    if given.what in whole:
        return whole[given.what]()
    sizes = {} if given.data == "digits" else {"train_size": given.samples, "test_size": given.samples}
    dataset = DATASETS[given.data](DataSource(given.data_dir, download=False), **sizes)
    model = network(dataset, given.epochs)
    print(f"clean {accuracy_of(model, dataset, dataset.test_inputs):.3f}")
    for name, found in accuracies(dataset, model).items():
        print(f"{name:18s}", *(f"{value:.3f}" for value in found))
    return None


if __name__ == "__main__":
    main()
