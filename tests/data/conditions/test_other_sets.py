"""Other datasets in the place of the test set: their size, channels, and which images are taken."""

import gzip
import struct
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.data.archives import published

from sharpscope.condition import other_data_name
from sharpscope.data import DATASETS, DataSource, conditions_of
from sharpscope.data.conditions.applying import altered_cases, facts_of
from sharpscope.data.conditions.other_sets import fitted
from sharpscope.data.sets.mnist import MNIST
from sharpscope.data.subsets.parts import Sizes
from sharpscope.errors import DataError, UnknownName


def packed(array):
    """Return an array of bytes as a gzip file in the IDX format."""
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return gzip.compress(header + array.tobytes(), mtime=0)


def small_archive(folder, *, train=120, test=30, seed=0):
    """Write four IDX files of small numbers of images, and return the dataset that reads them."""
    rng, files = np.random.default_rng(seed), []
    folder.mkdir()
    for split, count in (("train", train), ("t10k", test)):
        arrays = rng.integers(0, 256, (count, 28, 28), np.uint8), (np.arange(count) % 10).astype(np.uint8)
        for array, name in zip(arrays, (f"{split}-images", f"{split}-labels"), strict=True):
            (folder / f"{name}.gz").write_bytes(packed(array))
            files.append(published(f"{name}.gz", (folder / f"{name}.gz").read_bytes()))
    return replace(MNIST, name="small", folders=("small",), train=tuple(files[:2]), test=tuple(files[2:]))


@pytest.fixture
def source(tmp_path):
    archive = small_archive(tmp_path / "small")

    @DATASETS.register("small")
    def small(source, *, test_size: int | None = None):
        """Small archives in the form of those of Fashion-MNIST."""
        return archive.load(source, Sizes(test_size=test_size, calibration_size=0))

    yield DataSource(tmp_path, download=False)
    del DATASETS._entries["small"]


@pytest.fixture
def digits(source):
    return replace(DATASETS["digits"](source, train_size=60), source=source)


def test_images_of_another_dataset_take_the_place_of_the_test_set(digits, source):
    ((case, altered),) = altered_cases(digits, ["data:small"])
    assert (case.condition, case.kind, case.severity) == ("data:small", "data", 1)
    assert altered.inputs.shape == (30, 1, 8, 8)
    assert altered.inputs.dtype == torch.uint8
    assert altered.targets.tolist() == [0] * 30
    whole = DATASETS["small"](source).test_inputs
    assert torch.equal(altered.inputs, fitted(whole, (1, 8, 8)))
    # The same in every run.
    ((_, again),) = altered_cases(digits, ["data:small"])
    assert torch.equal(again.inputs, altered.inputs)


def test_no_more_are_taken_than_there_are_test_samples(digits):
    few = replace(digits, test_inputs=digits.test_inputs[:12], test_targets=digits.test_targets[:12])
    ((_, altered),) = altered_cases(few, ["data:small"])
    ((_, whole),) = altered_cases(digits, ["data:small"])
    assert len(altered.inputs) == 12
    places = [(whole.inputs == image).flatten(1).all(dim=1).nonzero()[0, 0].item() for image in altered.inputs]
    assert places == sorted(set(places))
    assert places != list(range(12))


def test_options_of_the_dataset_are_part_of_its_name(digits):
    name = other_data_name({"name": "small", "test_size": 10})
    ((case, altered),) = altered_cases(digits, [name])
    assert case.condition == name == 'data:{"name": "small", "test_size": 10}'
    assert len(altered.inputs) == 10
    assert facts_of(name).kind == "data"
    assert set(conditions_of(digits, [name])) - set(conditions_of(digits)) == {name}


def test_images_are_brought_to_size_and_channels_by_hand():
    gray = torch.tensor([[[[0, 100], [200, 255]]]], dtype=torch.uint8)
    assert fitted(gray, (3, 2, 2)).tolist() == [[[[0, 100], [200, 255]]] * 3]
    color = torch.tensor([255, 0, 10], dtype=torch.uint8).view(1, 3, 1, 1)
    assert fitted(color, (1, 1, 1)).item() == round(0.299 * 255 + 0.114 * 10)
    flat = torch.full((2, 1, 28, 28), 77, dtype=torch.uint8)
    for side in (8, 28, 32):
        assert fitted(flat, (3, side, side)).unique().tolist() == [77]
    board = torch.zeros(1, 1, 28, 28, dtype=torch.uint8)
    board[..., ::2] = 200
    # Stripes of one pixel become gray: nothing is left out.
    assert abs(fitted(board, (1, 7, 7)).float().mean() - 100) < 5
    with pytest.raises(DataError, match="images of 3 channels cannot be brought to 2"):
        fitted(color, (2, 1, 1))


def test_what_is_no_other_data_is_refused(digits, source):
    def applied(name, data=digits):
        return list(altered_cases(data, [name]))

    with pytest.raises(UnknownName, match="unknown dataset 'smal'; did you mean 'small'"):
        applied("data:smal")
    with pytest.raises(DataError, match="are the data of the study"):
        applied('data:{"name": "digits", "train_size": 60}')
    with pytest.raises(DataError, match="'circles' has none"):
        applied("data:circles")
    with pytest.raises(DataError, match="'circles' has none"):
        applied("data:small", DATASETS["circles"](source))
    with pytest.raises(DataError, match="the other data 'mnist' cannot be had: "):
        applied("data:mnist")
    with pytest.raises(DataError, match="its name, or its name with options, got"):
        other_data_name({"test_size": 3})
