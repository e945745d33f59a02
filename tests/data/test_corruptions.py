"""Each corruption against its definition, computed by another library or by hand."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage, stats

from sharpscope.data import corrupt
from sharpscope.errors import DataError, UnknownName
from sharpscope.seeding import Stream

STREAM = Stream("test")


def flat(level, n=200, side=16):
    return torch.full((n, 1, side, side), level, dtype=torch.uint8)


def smooth(side=64, seed=0):
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(side, side)), 2)
    return torch.from_numpy(np.clip(128 + 60 * noise / noise.std(), 0, 255).astype(np.uint8))[None, None]


def test_gaussian_noise_has_its_standard_deviation():
    noisy = corrupt(flat(128), "gaussian_noise", 1, STREAM).float() / 255
    # 51,200 values: the standard error of a standard deviation of 0.08 is 0.08 / sqrt(102,400) = 0.00025.
    assert noisy.mean() == pytest.approx(128 / 255, abs=0.002)
    assert noisy.std() == pytest.approx(0.08, abs=0.00125)


@pytest.mark.parametrize("level", [51, 204])
def test_shot_noise_is_poisson(level):
    noisy = corrupt(flat(level), "shot_noise", 3, STREAM)
    counts = (noisy.double() * 12 / 255).round().long().flatten()
    # Counts over 12 clip at white, so compare the share of each count below it.
    expected = stats.poisson(12 * level / 255).pmf(np.arange(12))
    shares = counts.bincount(minlength=13)[:12].double().numpy() / counts.numel()
    # The standard error of a share is at most sqrt(1/4 / 51,200) = 0.0022.
    np.testing.assert_allclose(shares, expected, atol=0.011)


def test_impulse_noise_hits_its_share_evenly():
    noisy = corrupt(flat(100), "impulse_noise", 5, STREAM)
    assert set(noisy.unique().tolist()) == {0, 100, 255}
    # The standard error of a share of 0.135 of 51,200 is 0.0015.
    assert (noisy == 0).double().mean() == pytest.approx(0.135, abs=0.0075)
    assert (noisy == 255).double().mean() == pytest.approx(0.135, abs=0.0075)


def test_gaussian_blur_is_that_of_scipy():
    image = smooth()
    # Severity 3 at side 64: a standard deviation of 0.08 * 64 pixels, cut at three of them.
    expected = ndimage.gaussian_filter(image[0, 0].double(), 5.12, mode="mirror", radius=16)
    got = corrupt(image, "gaussian_blur", 3, STREAM)[0, 0]
    np.testing.assert_allclose(got.double(), expected, atol=1.5)


def test_motion_blur_spreads_a_point_along_a_line_of_its_length():
    image = torch.zeros(40, 1, 65, 65, dtype=torch.uint8)
    image[:, 0, 32, 32] = 255
    images = corrupt(image, "motion_blur", 2, STREAM)[:, 0].double()
    rows, columns = torch.meshgrid(*[torch.arange(65.0) - 32] * 2, indexing="ij")
    angles = []
    for blurred in images:
        mass = blurred / blurred.sum()
        center = torch.tensor([(mass * columns).sum(), (mass * rows).sum()])
        assert center.abs().max() < 0.5
        moments = torch.stack([(mass * columns**2).sum(), (mass * columns * rows).sum(), (mass * rows**2).sum()])
        spread, directions = torch.linalg.eigh(moments[[0, 1, 1, 2]].view(2, 2))
        # A uniform streak of length 0.18 * 65 has the variance length^2 / 12; a pixel adds at most 1/3.
        assert spread[1] == pytest.approx((0.18 * 65) ** 2 / 12, abs=1.5)
        assert spread[0] < 0.5
        angles.append(float(torch.atan2(directions[1, 1], directions[0, 1])) % np.pi)
    assert stats.kstest(np.array(angles) / np.pi, "uniform").pvalue > 0.001


def test_brightness_and_contrast_by_hand():
    image = torch.tensor([[0, 100], [200, 240]], dtype=torch.uint8).view(1, 1, 2, 2)
    # Brightness 1 adds 25.5: 25.5 -> 26, 125.5 -> 126, 225.5 -> 226, 265.5 -> 255.
    assert corrupt(image, "brightness", 1, STREAM).flatten().tolist() == [26, 126, 226, 255]
    # The mean is 135; contrast 5 keeps a tenth: 135 - 13.5, 135 - 3.5, 135 + 6.5, 135 + 10.5.
    assert corrupt(image, "contrast", 5, STREAM).flatten().tolist() == [122, 132, 142, 146]


def test_pixelate_averages_over_cells_and_keeps_the_mean():
    image = torch.arange(64, dtype=torch.uint8).view(1, 1, 8, 8)
    # Severity 4 halves each side: cells of 2x2 pixels, the first holding 0, 1, 8 and 9.
    got = corrupt(image, "pixelate", 4, STREAM)[0, 0]
    assert got[:2, :2].flatten().tolist() == [5] * 4  # 4.5, rounded up
    assert got[6:, 6:].flatten().tolist() == [59] * 4  # (54 + 55 + 62 + 63) / 4 = 58.5
    for severity in (1, 2, 3, 5):
        assert corrupt(image, "pixelate", severity, STREAM).double().mean() == pytest.approx(31.5, abs=0.6)


@pytest.mark.parametrize(("severity", "quality"), [(1, 25), (3, 15), (5, 7)])
@pytest.mark.parametrize("side", [64, 28])
def test_jpeg_compression_is_that_of_a_jpeg_codec(severity, quality, side):
    image = smooth(side)
    file = io.BytesIO()
    Image.fromarray(image[0, 0].numpy()).save(file, "JPEG", quality=quality)
    decoded = np.asarray(Image.open(file), dtype=np.float64)
    got = corrupt(image, "jpeg_compression", severity, STREAM)[0, 0].numpy()
    # The codec computes with integers, which may turn single coefficients to the neighboring step.
    assert np.abs(got - decoded).mean() < 0.6
    assert np.abs(got - decoded).mean() < 0.2 * np.abs(got - image[0, 0].numpy().astype(float)).mean()


def test_elastic_transform_displaces_by_its_share_of_the_side():
    # On a ramp of 2 a pixel, a displacement along it by d pixels moves the value by 2 d.
    ramp = (2 * torch.arange(64)).to(torch.uint8).expand(300, 1, 64, 64)
    moved = corrupt(ramp, "elastic_transform", 2, STREAM).double() - ramp.double()
    inner = moved[..., 16:48, 16:48] / 2
    # The field is standard normal at 4x4 knots; between them interpolation averages, which lowers it.
    assert 0.5 * 0.035 * 64 < inner.std() < 1.0 * 0.035 * 64
    # A smooth field: neighbors move alike.
    assert moved.diff(dim=-2)[..., 16:48, 16:48].abs().mean() / 2 < 0.2 * inner.abs().mean()


def test_severities_draw_apart():
    first = corrupt(flat(128), "gaussian_noise", 1, STREAM).float() - 128
    second = corrupt(flat(128), "gaussian_noise", 2, STREAM).float() - 128
    assert abs(np.corrcoef(first.flatten(), second.flatten())[0, 1]) < 0.025


def test_what_cannot_be_corrupted_is_refused():
    with pytest.raises(DataError, match=r"need uint8 images .* got torch.float32 of shape \(4, 2\)"):
        corrupt(torch.zeros(4, 2), "contrast", 1, STREAM)
    with pytest.raises(DataError, match="the severities of 'contrast' are 1, 2, 3, 4, 5, got 6"):
        corrupt(flat(1), "contrast", 6, STREAM)
    with pytest.raises(UnknownName, match="did you mean 'contrast'"):
        corrupt(flat(1), "contrst", 1, STREAM)
