import math

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch.nn import functional

from sharpscope.data.augmentations.geometric import (
    random_flip,
    random_resized_crop,
    random_rotation,
    random_shift,
    rotate,
)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def bytes_of(*shape):
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator(1))


AUGMENTATIONS = {
    "shift": lambda images, g: random_shift(images, g, pixels=2),
    "flip": random_flip,
    "resized crop": random_resized_crop,
    "rotation": lambda images, g: random_rotation(images, g, degrees=10, shift=1),
}


@pytest.mark.parametrize("augment", AUGMENTATIONS.values(), ids=AUGMENTATIONS)
@pytest.mark.parametrize("shape", [(5, 1, 8, 8), (5, 3, 12, 20), (1, 1, 7, 7)])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_shape_and_dtype_are_kept_and_draws_are_the_generators_alone(augment, shape, dtype):
    images = bytes_of(*shape).to(dtype)
    before, state = images.clone(), torch.get_rng_state()
    first = augment(images, generator())
    assert (first.shape, first.dtype) == (images.shape, dtype)
    assert first.equal(augment(images, generator()))
    assert images.equal(before)
    assert torch.get_rng_state().equal(state)


@pytest.mark.parametrize("augment", AUGMENTATIONS.values(), ids=AUGMENTATIONS)
def test_each_sample_gets_its_own_draw(augment):
    same = bytes_of(1, 1, 8, 8).expand(50, 1, 8, 8)
    assert len(augment(same, generator()).unique(dim=0)) > 1


def test_a_shift_is_a_crop_of_the_padded_image_and_every_crop_occurs():
    image = bytes_of(1, 2, 6, 5)
    padded = functional.pad(image, (1, 1, 1, 1), value=9)[0]
    crops = [padded[:, top : top + 6, left : left + 5] for top in range(3) for left in range(3)]
    shifted = random_shift(image.expand(200, -1, -1, -1), generator(), pixels=1, fill=9)
    found = [next(i for i, crop in enumerate(crops) if crop.equal(result)) for result in shifted]
    assert set(found) == set(range(9))


def test_half_of_the_images_are_mirrored():
    images = bytes_of(400, 1, 2, 3)
    flipped = random_flip(images, generator())
    mirrored = (flipped == images.flip(-1)).flatten(1).all(1)
    kept = (flipped == images).flatten(1).all(1)
    assert (mirrored | kept).all()
    # Binomial(400, 1/2) has a standard deviation of 10.
    assert abs(int((mirrored & ~kept).sum()) - 200) < 40


@pytest.mark.parametrize("degrees", [-10.0, 7.0, 33.0])
def test_a_rotation_is_that_of_scipy_also_where_the_image_is_not_square(degrees):
    image = np.zeros((21, 30))
    image[5:16, 8:22] = np.random.default_rng(0).random((11, 14))
    expected = ndimage.rotate(image, degrees, reshape=False, order=1)
    tensor = torch.tensor(image, dtype=torch.float32)[None, None]
    got = rotate(tensor, torch.tensor([math.radians(degrees)]), torch.zeros(2, 1))
    np.testing.assert_allclose(got[0, 0].numpy(), expected, atol=1e-4)


def test_the_shift_comes_after_the_rotation_to_the_right_and_down():
    image = torch.zeros(1, 1, 8, 12)
    image[0, 0, 1, 6] = 1.0  # Upper half, right of the center.
    quarter, none = torch.tensor([math.pi / 2]), torch.zeros(1)
    moved = rotate(image, none, torch.tensor([[2.0], [3.0]]))
    assert moved[0, 0, 4, 8] == pytest.approx(1.0, abs=1e-5)
    # Counterclockwise by 90 degrees, (x, y) = (0.5, 2.5) from the center, y up, goes to (-2.5, 0.5).
    turned = rotate(image, quarter, torch.tensor([[2.0], [3.0]]))
    assert turned[0, 0, 3 + 3, 3 + 2] == pytest.approx(1.0, abs=1e-5)


def test_what_enters_at_the_border_is_the_fill():
    images = torch.full((20, 1, 8, 8), 77, dtype=torch.uint8)
    assert random_rotation(images, generator(), degrees=45, shift=3, fill=77).equal(images)
    assert random_shift(images, generator(), pixels=3, fill=77).equal(images)
    assert (random_rotation(images, generator(), degrees=45, shift=3) == 0).any()


def test_no_angle_and_no_shift_change_nothing():
    images = bytes_of(10, 3, 9, 8)
    assert random_rotation(images, generator(), degrees=0).equal(images)
    assert random_shift(images, generator(), pixels=0).equal(images)
    assert random_flip(images, generator(), probability=0.0).equal(images)


def test_a_resized_crop_shows_a_part_of_the_image_over_the_whole():
    # A ramp from 0 to 1 along each axis: after a crop it is a ramp over a shorter interval.
    ramp = (torch.arange(32) + 0.5) / 32
    images = torch.stack([ramp.expand(32, 32), ramp.unsqueeze(1).expand(32, 32)]).expand(2000, 2, 32, 32)
    cropped = random_resized_crop(images, torch.Generator().manual_seed(0), scale=(0.25, 0.5), ratio=(0.5, 2.0))
    width = (cropped[:, 0, 16, 24] - cropped[:, 0, 16, 8]) * 2
    height = (cropped[:, 1, 24, 16] - cropped[:, 1, 8, 16]) * 2
    area = width * height
    # Sides of at most 1 leave the area as drawn, since 0.5 * 2 is 1.
    assert area.min() >= 0.25 - 1e-4
    assert area.max() <= 0.5 + 1e-4
    # The mean of 2,000 uniform draws has a standard deviation of 0.25 / sqrt(12 * 2000) = 0.0016.
    assert area.mean() == pytest.approx(0.375, abs=0.008)
    assert (width / height).log().mean() == pytest.approx(0.0, abs=0.04)
    assert (width / height).max() <= 2.0 + 1e-3
    # Nothing of the border enters.
    assert cropped.min() > 0.0


def test_nothing_dark_enters_a_resized_crop_at_the_border_of_the_image():
    # Enlarged, the outermost pixels of a crop at the border lie further out than the last ones of the image.
    images = torch.full((3000, 1, 16, 16), 200, dtype=torch.uint8)
    cropped = random_resized_crop(images, torch.Generator().manual_seed(0))
    assert cropped.unique().tolist() == [200]


def test_a_resized_crop_of_everything_is_the_image():
    images = torch.randint(0, 256, (4, 3, 9, 7), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    whole = random_resized_crop(images, torch.Generator().manual_seed(0), scale=(1.0, 1.0), ratio=(1.0, 1.0))
    assert whole.equal(images)
