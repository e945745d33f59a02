import sys

import numpy as np
import pytest
import torch

from sharpscope.data import DATASETS, Source
from sharpscope.errors import DataError


@pytest.fixture
def datasets():
    return pytest.importorskip("datasets", reason="the extra datasets is not installed")


def saved(datasets, folder, columns, features):
    """Write a set in Parquet as the Hub keeps it: eight samples to train, four to test."""
    folder.mkdir(parents=True)
    whole = datasets.Dataset.from_dict(columns, features=datasets.Features(features))
    whole.select(range(8)).to_parquet(folder / "train-00000-of-00001.parquet")
    whole.select(range(8, 12)).to_parquet(folder / "test-00000-of-00001.parquet")


@pytest.fixture
def texts(datasets, tmp_path):
    labels = datasets.ClassLabel(names=["bad", "good"])
    columns = {"text": [f"text {i} é" for i in range(12)], "label": [0, 1] * 6}
    saved(datasets, tmp_path / "reviews", columns, {"text": datasets.Value("string"), "label": labels})
    return tmp_path


@pytest.fixture
def pictures(datasets, tmp_path):
    pillow = pytest.importorskip("PIL.Image", reason="image files need Pillow")
    columns = {
        "image": [pillow.fromarray(np.full((6, 6 + i % 2), 20 * i, np.uint8)) for i in range(12)],
        "coarse": [0] * 12,
        "fine": [i % 3 for i in range(12)],
    }
    features = {
        "image": datasets.Image(),
        "coarse": datasets.ClassLabel(names=["any"]),
        "fine": datasets.ClassLabel(names=["a", "b", "c"]),
    }
    saved(datasets, tmp_path / "pictures", columns, features)
    return tmp_path


def load(home, name, **options):
    return DATASETS[f"hf:{name}"](Source(home, download=False), **options)


def test_texts_become_bytes(texts):
    data = load(texts, "reviews", length=9)
    assert data.classes == ("bad", "good")
    assert data.input_shape == (9, 257)
    assert data.train_targets.tolist() == [0, 1] * 4
    # "é" is two bytes, 0xC3 and 0xA9.
    expected = [byte + 1 for byte in b"text 3 \xc3\xa9"]
    assert data.train_inputs[3].tolist() == expected
    assert load(texts, "reviews", length=12).train_inputs[3].tolist() == [*expected, 0, 0, 0]
    assert len(load(texts, "reviews", train_size=2).train_inputs) == 2


def test_images_become_color_bytes_of_one_size(pictures):
    data = load(pictures, "pictures", labels="fine", size=6)
    assert data.name == "hf:pictures"
    assert data.train_inputs.dtype == torch.uint8
    assert data.train_inputs[:, :, 0, 0].tolist() == [[20 * i] * 3 for i in range(8)]
    assert data.test_targets.tolist() == [2, 0, 1, 2]


def test_images_of_several_sizes_are_refused(pictures):
    with pytest.raises(DataError, match="has images of 2 sizes; bring them to one by the option 'size'"):
        load(pictures, "pictures", labels="fine")


@pytest.mark.parametrize("options", [{}, {"labels": "image"}])
def test_a_column_that_cannot_be_told_is_asked_for(pictures, options):
    with pytest.raises(DataError, match=r"needs one column of kind ClassLabel .*\['coarse', 'fine'\].*'labels'"):
        load(pictures, "pictures", **options)


def test_a_split_that_is_not_there_is_told(texts):
    with pytest.raises(DataError, match="dataset 'hf:reviews', split 'val', cannot be loaded"):
        load(texts, "reviews", test="val")


def test_without_the_package_the_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match=r"needs the package datasets .*pip install 'sharpscope\[datasets\]'"):
        load(tmp_path, "uoft-cs/cifar10")


def test_the_family_is_listed():
    assert "hf:NAME" in DATASETS.families
    assert DATASETS["hf:a/b"].complete({"size": 32})["size"] == 32
