from dataclasses import replace
from pathlib import Path

import pytest
import torch

from sharpscope.data import DATASETS, DataSource, stratified
from sharpscope.errors import DataError
from sharpscope.seeding import Stream

OFFLINE = DataSource(download=False)


def rows(inputs):
    return {tuple(row) for row in inputs.flatten(1).tolist()}


@pytest.fixture(scope="module")
def digits():
    return DATASETS["digits"](OFFLINE)


def test_digits_are_real_and_split_without_overlap(digits):
    from sklearn.datasets import load_digits

    whole = DATASETS["digits"](OFFLINE, train_size=None)
    originals = torch.from_numpy(load_digits().images)
    images = torch.cat([whole.train_inputs, whole.test_inputs])
    assert images.shape == (1797, 1, 8, 8)
    # A byte over 255 is the original over 16 to half a byte, so the original can be told from it.
    recovered = images[:, 0].to(torch.float64).mul(16 / 255).round()
    assert sorted(map(tuple, recovered.flatten(1).tolist())) == sorted(map(tuple, originals.flatten(1).tolist()))
    assert images.dtype == torch.uint8
    assert images.max() == 255


def test_the_test_split_of_digits_is_fixed_and_training_sets_are_nested(digits):
    small = DATASETS["digits"](OFFLINE, train_size=300, subset_seed=0)
    other = DATASETS["digits"](OFFLINE, train_size=500, subset_seed=1)
    assert small.test_inputs.equal(digits.test_inputs)
    assert other.test_inputs.equal(digits.test_inputs)
    assert len(digits.train_inputs) == 500
    assert len(digits.test_inputs) == 797
    assert rows(small.train_inputs) < rows(digits.train_inputs)
    assert rows(other.train_inputs) != rows(digits.train_inputs)
    assert digits.train_targets.bincount().tolist() == pytest.approx([50] * 10, abs=2)


@pytest.mark.parametrize("size", [0, 1001])
def test_a_training_set_that_digits_cannot_give_is_refused(size):
    with pytest.raises(DataError, match=f"a subset of {size} was asked for; 1000 samples give 1 to 1000"):
        DATASETS["digits"](OFFLINE, train_size=size)


def test_normalized_inputs_have_zero_mean_and_unit_variance(digits):
    inputs = digits.normalize(DATASETS["digits"](OFFLINE, train_size=None).train_inputs)
    assert inputs.dtype == torch.float32
    assert inputs.mean() == pytest.approx(0.0, abs=1e-3)
    assert inputs.std() == pytest.approx(1.0, abs=1e-3)


def test_normalization_is_by_channel_and_by_the_unit_of_the_inputs(digits):
    color = replace(
        digits,
        train_inputs=torch.tensor([0, 51, 255], dtype=torch.uint8).view(1, 3, 1, 1),
        train_targets=torch.zeros(1, dtype=torch.int64),
        test_inputs=torch.zeros(1, 3, 1, 1, dtype=torch.uint8),
        test_targets=torch.zeros(1, dtype=torch.int64),
        mean=(0.5, 0.1, 0.0),
        std=(0.5, 0.1, 1.0),
        calibration=None,
    )
    # (0 - 0.5) / 0.5, (0.2 - 0.1) / 0.1, (1 - 0) / 1
    expected = pytest.approx([-1.0, 1.0, 1.0], abs=1e-6)
    assert color.normalize(color.train_inputs).flatten().tolist() == expected
    assert color.normalize(color.train_inputs / 255).flatten().tolist() == expected


def test_digits_are_augmented_but_never_mirrored(digits):
    batch = digits.train_inputs[:64]
    augmented = digits.augment(batch, torch.Generator().manual_seed(0))
    assert (augmented.shape, augmented.dtype) == (batch.shape, batch.dtype)
    assert not augmented.equal(batch)
    # Shifted by a pixel and turned by 10 degrees, an image stays nearer to itself than to its mirror image.
    distance = (augmented.float() - batch.float()).abs().mean()
    assert distance < (augmented.float() - batch.flip(-1).float()).abs().mean()


def test_circles_lie_on_their_radii():
    data = DATASETS["circles"](OFFLINE, factor=0.8)
    assert data.train_inputs.shape == data.test_inputs.shape == (50, 2)
    assert data.input_shape == (2,)
    radii = data.train_inputs.norm(dim=1)
    assert torch.where(data.train_targets == 1, 0.8, 1.0).tolist() == pytest.approx(radii.tolist(), abs=1e-6)
    assert data.normalize(data.train_inputs).equal(data.train_inputs)
    assert data.augment is None


@pytest.mark.parametrize("options", [{"samples": 3}, {"factor": 1.0}, {"noise": -0.1}])
def test_circles_that_cannot_be_drawn_are_refused(options):
    with pytest.raises(DataError, match="dataset 'circles' needs"):
        DATASETS["circles"](OFFLINE, **options)


def test_a_circle_without_a_point_to_train_on_is_told():
    assert sorted(DATASETS["circles"](OFFLINE, samples=4, seed=3).train_targets.tolist()) == [0, 1]
    with pytest.raises(DataError, match="trains on 2 of 4 samples, which are all of one circle by seed 0"):
        DATASETS["circles"](OFFLINE, samples=4, seed=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train_targets": torch.zeros(3, dtype=torch.int64)}, "one int64 target for each of its 500 training"),
        ({"test_inputs": torch.zeros(797, 1, 8, 8)}, "inputs of one shape and dtype"),
        ({"classes": ("0", "1")}, "declares 2 classes, so its training targets must lie in 0..1, got 0..9"),
        ({"mean": (0.1, 0.2)}, "has 1 channels but declares 2 means"),
        ({"mean": (77.5,)}, r"declares means 77.5 .* for bytes in units of \[0, 1\]; divide those of 0..255"),
        ({"std": (77.5,)}, "declares means"),
        ({"mean": (-0.1,)}, "declares means"),
        ({"std": (0.0,)}, "declares means"),
        ({"mean": (float("nan"),)}, "declares means"),
        ({"std": (float("inf"),)}, "declares means"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(digits, change, message):
    with pytest.raises(DataError, match=message):
        replace(digits, **change)


def test_a_data_directory_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"missing is not a folder"):
        DataSource(data_dir=tmp_path / "missing")


@pytest.mark.parametrize("field", ["train_inputs", "train_targets", "test_inputs", "test_targets", "mean"])
def test_a_digest_tells_datasets_apart_by_every_part(field, digits):
    assert replace(digits).digest == digits.digest
    part = getattr(digits, field)
    other = tuple(2 * value for value in part) if field == "mean" else part.flip(0)
    assert replace(digits, **{field: other}).digest != digits.digest


@pytest.mark.skipif(not Path("../shared/data/mnist").is_dir(), reason="the real MNIST is not here")
def test_the_real_mnist_is_read_and_verified():
    data = DATASETS["mnist"](DataSource(Path("../shared/data"), download=False), train_size=100, test_size=200)
    assert data.train_inputs.shape == (100, 1, 28, 28)
    assert data.test_inputs.shape == (200, 1, 28, 28)
    assert data.train_targets.bincount().tolist() == pytest.approx([10] * 10, abs=2)
    whole = DATASETS["mnist"](DataSource(Path("../shared/data"), download=False), test_size=200)
    assert whole.test_inputs.equal(data.test_inputs)
    assert len(whole.train_inputs) == 60_000
    # The images that the literature's normalization was computed from.
    assert whole.normalize(whole.train_inputs).std() == pytest.approx(1.0, abs=1e-3)
    assert rows(data.train_inputs) <= rows(
        whole.train_inputs[stratified(whole.train_targets, 300, Stream("mnist", "train", 0))]
    )
