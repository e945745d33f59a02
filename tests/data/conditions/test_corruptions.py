"""Each corruption against its definition, computed by another library or by hand."""

import io
import math

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage, stats

from sharpscope.data import CONDITIONS, corrupt
from sharpscope.data.conditions.resampling import fractal
from sharpscope.data.conditions.severity import DAMAGES
from sharpscope.data.draws import Draws
from sharpscope.errors import DataError, UnknownName
from sharpscope.seeding import Stream

STREAM = Stream("test")


def damaged(images, name, strength):
    """Images in [0, 1] under a corruption of a strength, before they are clipped."""
    len(CONDITIONS)
    return DAMAGES[name](images, strength, Draws(STREAM, 0, len(images)))


def flat(level, n=200, side=16):
    return torch.full((n, 1, side, side), level)


def smooth(side=64, seed=0, channels=1):
    rng = np.random.default_rng(seed)
    noise = np.stack([ndimage.gaussian_filter(rng.normal(size=(side, side)), 2) for _ in range(channels)])
    return torch.from_numpy(np.clip(128 + 60 * noise / noise.std(), 0, 255).astype(np.uint8))[None]


def test_gaussian_noise_has_its_standard_deviation():
    noisy = damaged(flat(0.5), "gaussian_noise", 0.08)
    # 51,200 values: the standard error of a standard deviation of 0.08 is 0.08 / sqrt(102,400) = 0.00025.
    assert noisy.mean() == pytest.approx(0.5, abs=0.002)
    assert noisy.std() == pytest.approx(0.08, abs=0.00125)


@pytest.mark.parametrize("level", [51, 204])
def test_shot_noise_is_poisson(level):
    noisy = damaged(flat(level / 255), "shot_noise", 12**-0.5)
    counts = (noisy.double() * 12).round().long().flatten()
    assert noisy.double().flatten().numpy() == pytest.approx(counts.numpy() / 12)
    expected = stats.poisson(12 * level / 255).pmf(np.arange(20))
    shares = counts.bincount(minlength=20)[:20].double().numpy() / counts.numel()
    # The standard error of a share is at most sqrt(1/4 / 51,200) = 0.0022.
    np.testing.assert_allclose(shares, expected, atol=0.011)


def test_impulse_noise_hits_its_share_evenly():
    noisy = damaged(flat(0.4), "impulse_noise", 0.27)
    assert noisy.unique().tolist() == pytest.approx([0, 0.4, 1])
    # The standard error of a share of 0.135 of 51,200 is 0.0015.
    assert (noisy == 0).double().mean() == pytest.approx(0.135, abs=0.0075)
    assert (noisy == 1).double().mean() == pytest.approx(0.135, abs=0.0075)


def test_speckle_noise_is_in_proportion():
    dark, light = (damaged(flat(level), "speckle_noise", 0.3) for level in (0.2, 0.8))
    assert dark.std() == pytest.approx(0.06, abs=0.001)
    torch.testing.assert_close(light, 4 * dark)


def test_gaussian_blur_is_that_of_scipy():
    image = smooth().double() / 255
    # At side 64: a standard deviation of 0.08 * 64 pixels, cut at three of them.
    expected = ndimage.gaussian_filter(image[0, 0], 5.12, mode="mirror", radius=16)
    np.testing.assert_allclose(damaged(image, "gaussian_blur", 0.08)[0, 0], expected, atol=0.003)


def test_defocus_blur_spreads_a_point_over_a_disk():
    image = torch.zeros(1, 1, 65, 65, dtype=torch.float64)
    image[..., 32, 32] = 1.0
    spread = damaged(image, "defocus_blur", 6 / 65)[0, 0]
    rows, columns = torch.meshgrid(*[torch.arange(65.0) - 32] * 2, indexing="ij")
    distance = (rows**2 + columns**2).sqrt()
    area = math.pi * 6.5**2
    assert spread[distance < 5.5].numpy() == pytest.approx(1 / area, rel=0.01)
    assert (spread[distance > 7.5] == 0).all()
    assert spread.sum() == pytest.approx(1)


def test_motion_blur_spreads_a_point_along_a_line_of_its_length():
    image = torch.zeros(40, 1, 65, 65)
    image[:, 0, 32, 32] = 1.0
    images = damaged(image, "motion_blur", 0.18)[:, 0].double()
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


def test_zoom_blur_moves_what_is_off_the_center_outwards():
    image = torch.zeros(1, 1, 65, 65)
    image[..., 32, 32], image[..., 32, 48] = 1.0, 1.0
    blurred = damaged(image, "zoom_blur", 0.5)[0, 0]
    # The point at distance 16 is drawn out to distance 24.
    assert (blurred[32, 48:57] > 0.01).all()
    assert blurred[32, 58:].max() == 0
    assert blurred[32, 32] == pytest.approx(1.0, abs=1e-5)


def test_glass_blur_moves_pixels_by_its_distance():
    # On a ramp of 1/64 a pixel, a displacement along it by d pixels moves the value by d / 64.
    ramp = (torch.arange(64.0) / 64).expand(20, 1, 64, 64)
    moved = 64 * (damaged(ramp, "glass_blur", 0.02) - ramp)[..., 16:48, 16:48]
    # 20,480 displacements: the standard error of the standard deviation is 0.005 of it.
    assert moved.std() == pytest.approx(0.02 * 64, rel=0.03)
    assert abs(np.corrcoef(moved[..., 1:].flatten(), moved[..., :-1].flatten())[0, 1]) < 0.04


def test_brightness_and_contrast_by_hand():
    image = torch.tensor([[0.0, 0.4], [0.8, 0.9]]).view(1, 1, 2, 2)
    assert damaged(image, "brightness", 0.1).flatten().tolist() == pytest.approx([0.1, 0.5, 0.9, 1.0])
    # The mean is 0.525; of the distances from it a tenth is kept.
    assert damaged(image, "contrast", 0.9).flatten().tolist() == pytest.approx([0.4725, 0.5125, 0.5525, 0.5625])


def test_saturate_drives_colors_from_their_gray():
    image = torch.tensor([0.2, 0.4, 0.6]).view(1, 3, 1, 1)
    assert damaged(image, "saturate", 0.5).flatten().tolist() == pytest.approx([0.1, 0.4, 0.7])
    gray = torch.full((1, 3, 2, 2), 0.3)
    torch.testing.assert_close(damaged(gray, "saturate", 3.0), gray)


def test_pixelate_averages_over_cells_and_keeps_the_mean():
    image = torch.arange(64.0).view(1, 1, 8, 8)
    # Cells of 2x2 pixels, the first holding 0, 1, 8 and 9.
    got = damaged(image, "pixelate", 2 / 8)[0, 0]
    assert got[:2, :2].flatten().tolist() == pytest.approx([4.5] * 4)
    assert got[6:, 6:].flatten().tolist() == pytest.approx([58.5] * 4)
    for cell in (1.2, 1.5, 2.7, 3.0, 5.0, 8.0):
        assert damaged(image, "pixelate", cell / 8).mean() == pytest.approx(31.5, abs=1e-4)
    torch.testing.assert_close(damaged(image, "pixelate", 1 / 8), image)


@pytest.mark.parametrize("quality", [50, 25])
@pytest.mark.parametrize(("side", "channels"), [(64, 1), (28, 1), (64, 3), (28, 3)])
def test_jpeg_compression_is_that_of_a_jpeg_codec(quality, side, channels):
    image = smooth(side, channels=channels)
    pixels = image[0].permute(1, 2, 0).numpy()
    file = io.BytesIO()
    Image.fromarray(pixels if channels == 3 else pixels[..., 0]).save(file, "JPEG", quality=quality, subsampling=0)
    decoded = np.asarray(Image.open(file), dtype=np.float64).reshape(pixels.shape)
    got = damaged(image / 255, "jpeg_compression", 50 / quality)[0].permute(1, 2, 0).mul(255).clamp(0, 255).numpy()
    # The codec computes with integers, which may turn single coefficients to the neighboring step; of colors twice.
    assert np.abs(got - decoded).mean() < (1.0 if channels == 1 else 1.6)
    assert np.abs(got - decoded).mean() < 0.25 * np.abs(decoded - pixels.astype(float)).mean()


def test_elastic_transform_displaces_by_its_share_of_the_side():
    # On a ramp of 1/64 a pixel, a displacement along it by d pixels moves the value by d / 64.
    ramp = (torch.arange(64.0) / 64).expand(300, 1, 64, 64)
    moved = 64 * (damaged(ramp, "elastic_transform", 0.035) - ramp)
    inner = moved[..., 16:48, 16:48]
    # The field is standard normal at 4x4 knots; between them interpolation averages, which lowers it.
    assert 0.5 * 0.035 * 64 < inner.std() < 1.0 * 0.035 * 64
    # A smooth field: neighbors move alike.
    assert moved.diff(dim=-2)[..., 16:48, 16:48].abs().mean() < 0.2 * inner.abs().mean()


def test_fractal_fields_have_unit_variance_and_more_detail_where_rougher():
    fields = [fractal(Draws(STREAM, 0, 400), "field", 24, 24, roughness=r) for r in (0.3, 0.8)]
    for field in fields:
        assert abs(float(field.mean())) < 0.1
        # Interpolation between the knots lowers it.
        assert 0.6 < field.var() < 1.1
    assert fields[1].diff(dim=3).abs().mean() > 2 * fields[0].diff(dim=3).abs().mean()


def test_fog_adds_light_and_takes_contrast():
    image = torch.rand(50, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    foggy = damaged(image, "fog", 1.0)
    assert foggy.min() >= 0
    assert foggy.max() <= 1
    # Half of it is the image.
    slope = np.polyfit(image.flatten(), foggy.flatten(), 1)[0]
    assert slope == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("name", ["frost", "snow"])
def test_frost_and_snow_whiten_what_is_dark_and_leave_white(name):
    dark, white = flat(0.2, n=20, side=32), torch.ones(20, 1, 32, 32)
    assert (damaged(dark, name, 0.7) - dark).min() > -1e-6
    assert (damaged(dark, name, 0.7) - dark).mean() > 0.03
    assert (damaged(white, name, 0.7) - white).abs().max() < 0.08


def test_spatter_covers_its_share_with_water_or_mud():
    gray = torch.full((200, 3, 32, 32), 0.5)
    changed = damaged(gray, "spatter", 0.3) - gray
    covered = (changed.abs().amax(1) > 0.1).double().mean()
    assert covered == pytest.approx(0.3, abs=0.06)
    brighter = (changed.mean(dim=(1, 2, 3)) > 0).double().mean()
    # 200 coins: the standard error of a share of a half is 0.035.
    assert brighter == pytest.approx(0.5, abs=0.14)


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 2, 2), (3, 3, 5), (1, 5, 300), (2, 9, 9)])
@pytest.mark.parametrize("name", [name for name, entry in CONDITIONS.items() if entry.facts.kind == "inputs"])
def test_images_of_any_shape_can_be_corrupted(name, shape):
    images = torch.randint(0, 256, (3, *shape), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    for severity in (1, 5):
        assert corrupt(images, name, severity, STREAM).shape == images.shape


def test_severities_draw_apart():
    first = corrupt(flat(128).byte(), "gaussian_noise", 1, STREAM).float() - 128
    second = corrupt(flat(128).byte(), "gaussian_noise", 2, STREAM).float() - 128
    assert abs(np.corrcoef(first.flatten(), second.flatten())[0, 1]) < 0.025


def test_what_cannot_be_corrupted_is_refused():
    with pytest.raises(DataError, match=r"need uint8 images .* got torch.float32 of shape \(4, 2\)"):
        corrupt(torch.zeros(4, 2), "contrast", 1, STREAM)
    with pytest.raises(DataError, match="the severities of 'contrast' are 1, 2, 3, 4, 5, got 6"):
        corrupt(flat(1).byte(), "contrast", 6, STREAM)
    with pytest.raises(UnknownName, match="did you mean 'contrast'"):
        corrupt(flat(1).byte(), "contrst", 1, STREAM)
