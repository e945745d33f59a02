import pytest
import torch

from sharpscope.data import Dataset
from sharpscope.seeding import Stream


@pytest.fixture
def dataset():
    """Forty byte images in two classes, bright and dark, without an augmentation."""
    generator = Stream("tiny").torch()
    targets = torch.arange(40) % 2
    noise = torch.randint(0, 150, (40, 1, 8, 8), generator=generator)
    images = (noise + 100 * targets.view(-1, 1, 1, 1)).to(torch.uint8)
    return Dataset(
        name="tiny",
        train_inputs=images[:30],
        train_targets=targets[:30],
        test_inputs=images[30:],
        test_targets=targets[30:],
        classes=("dark", "bright"),
        mean=(0.5,),
        std=(0.25,),
    )
