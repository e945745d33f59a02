"""Augmentation policies against Pillow, whose operations the papers used."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps

from sharpscope.data.augmentations.policies import GEOMETRIC, OPERATIONS, cutout, rand_augment, trivial_augment
from sharpscope.seeding import Stream

IMAGES = torch.randint(20, 230, (4, 3, 12, 10), generator=Stream("images").torch()).to(torch.uint8)


def by_pillow(function):
    made = [np.asarray(function(Image.fromarray(image.permute(1, 2, 0).numpy()))) for image in IMAGES]
    return torch.from_numpy(np.stack(made)).permute(0, 3, 1, 2).float()


def operated(name, strength):
    return OPERATIONS[name](IMAGES.float(), torch.full((4, 1, 1, 1), strength)).round().clamp(0, 255)


@pytest.mark.parametrize(
    ("name", "enhance"),
    [
        ("brightness", ImageEnhance.Brightness),
        ("contrast", ImageEnhance.Contrast),
        ("saturation", ImageEnhance.Color),
        ("sharpness", ImageEnhance.Sharpness),
    ],
)
@pytest.mark.parametrize("strength", [-0.8, 0.0, 0.5])
def test_enhancements_are_those_of_pillow(name, enhance, strength):
    expected = by_pillow(lambda image: enhance(image).enhance(1 + 0.9 * strength))
    difference = (operated(name, strength) - expected).abs()
    # Pillow rounds gray values and smoothed pixels, and smooths no border.
    inner = difference[:, :, 1:-1, 1:-1] if name == "sharpness" else difference
    assert inner.max() <= 2


@pytest.mark.parametrize("strength", [-1.0, -0.5, 0.25])
def test_posterize_and_solarize_are_those_of_pillow(strength):
    bits = 8 - round(4 * abs(strength))
    assert operated("posterize", strength).equal(by_pillow(lambda image: ImageOps.posterize(image, bits)))
    threshold = 256 * (1 - abs(strength))
    assert operated("solarize", strength).equal(by_pillow(lambda image: ImageOps.solarize(image, threshold)))


def test_autocontrast_is_that_of_pillow():
    assert (operated("autocontrast", 0.3) - by_pillow(ImageOps.autocontrast)).abs().max() <= 1


def test_equalize_spreads_the_ranks_evenly():
    found = operated("equalize", 0.3)
    for image, before in zip(found.flatten(0, 1), IMAGES.flatten(0, 1), strict=True):
        order = before.flatten().sort().values
        assert (image.min(), image.max()) == (0, 255)
        ranks = torch.searchsorted(order, before.flatten(), right=True)
        lowest = (before == before.min()).sum()
        expected = (ranks - lowest) / (ranks.numel() - lowest) * 255
        assert (image.flatten() - expected).abs().max() <= 0.5001


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_take_flat_and_gray_images(name):
    flat = torch.full((2, 1, 5, 5), 77.0)
    found = OPERATIONS[name](flat, torch.full((2, 1, 1, 1), 0.4))
    assert found.shape == flat.shape
    assert found.isfinite().all()


POLICIES = {
    "trivial_augment": trivial_augment,
    "rand_augment": lambda images, draws: rand_augment(images, draws, operations=2, strength=0.5),
    "cutout": lambda images, draws: cutout(images, draws, side=0.5),
}


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_policies_are_seeded_and_keep_shape_and_dtype(policy):
    many = IMAGES.repeat(16, 1, 1, 1)
    before = many.clone()
    first, again, other = (policy(many, Stream(seed).torch()) for seed in (0, 0, 1))
    assert first.equal(again)
    assert not first.equal(other)
    assert (first.shape, first.dtype) == (many.shape, torch.uint8)
    assert many.equal(before)
    assert len({image.numpy().tobytes() for image in first}) > 16, "each sample has draws of its own"


def test_every_operation_is_drawn_about_as_often():
    # On one image the operations that leave it are few; the share of unchanged ones is that of the identity at least.
    many = IMAGES[:1].expand(4000, -1, -1, -1)
    same = (trivial_augment(many, Stream(0).torch()) == many).flatten(1).all(1).float().mean().item()
    share = 1 / (len(GEOMETRIC) + len(OPERATIONS))
    assert share - 4 * (share / 4000) ** 0.5 < same < 3 * share


def test_translations_move_to_both_sides():
    spot = torch.zeros(3000, 1, 33, 33, dtype=torch.uint8)
    spot[:, :, 16, 16] = 200
    found = trivial_augment(spot, Stream(0).torch())
    columns = found[:, 0, 16].argmax(1)[found[:, 0, 16].amax(1) > 20]
    assert columns.min() < 10
    assert columns.max() > 22


def test_cutout_blanks_one_square():
    image = torch.arange(200, dtype=torch.uint8).view(1, 1, 20, 10).expand(300, -1, -1, -1)
    found = cutout(image, Stream(0).torch(), side=0.4)
    blank = (found != image).squeeze(1)
    area = blank.flatten(1).sum(1)
    # Side 4; the mean 99.5 rounds to 100, which one pixel has already.
    assert area.max() == 16
    assert area.min() >= 2 * 2 - 1
    assert set(found[blank.unsqueeze(1)].tolist()) == {100}
