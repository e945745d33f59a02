import io
import sys

import numpy as np
import pytest
import torch

from sharpscope.data import DATASETS, DataSource
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
    return DATASETS[f"hf:{name}"](DataSource(home, download=False), **options)


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


def png(pillow, array):
    buffer = io.BytesIO()
    pillow.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def odd_pictures(datasets, tmp_path):
    """Return a function that saves a set of which one image is another, given as its file."""
    pillow = pytest.importorskip("PIL.Image", reason="image files need Pillow")

    def save(file):
        plain = png(pillow, np.full((6, 6), 9, np.uint8))
        files = [file(pillow) if i == 3 else plain for i in range(12)]
        images = [None if file is None else {"bytes": file, "path": None} for file in files]
        features = {"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])}
        saved(datasets, tmp_path / "odd", {"image": images, "label": [0, 1] * 6}, features)
        return tmp_path

    return save


WIDE = np.full((6, 6), 1000, np.uint16)
WHERE = "row 3 of column 'image' of dataset 'hf:odd'"
ODD = {
    "cut off": (lambda pillow: png(pillow, WIDE)[:-30], f"{WHERE} cannot be read"),
    "transparent": (lambda pillow: png(pillow, np.full((6, 6, 4), 7, np.uint8)), f"{WHERE} has transparent places"),
    "nothing": (lambda pillow: None, f"{WHERE} is empty"),
}


@pytest.mark.parametrize(("file", "message"), ODD.values(), ids=ODD)
def test_an_image_that_has_no_known_values_is_named(odd_pictures, file, message):
    with pytest.raises(DataError, match=message):
        load(odd_pictures(file), "odd")


def test_images_are_read_as_those_of_folders_are(odd_pictures):
    data = load(odd_pictures(lambda pillow: png(pillow, WIDE)), "odd", background="white")
    # 16 bits: 1000 / 257 = 3.9.
    assert data.train_inputs[2:5, 0, 0, 0].tolist() == [9, 4, 9]


@pytest.mark.parametrize("missing", [-1, None])
def test_a_split_without_labels_is_told(datasets, tmp_path, missing):
    columns = {"text": ["x"] * 12, "label": [0, 1] * 4 + [missing] * 4}
    features = {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["bad", "good"])}
    saved(datasets, tmp_path / "secret", columns, features)
    with pytest.raises(
        DataError, match="'hf:secret', split 'test' has 4 of 4 samples without a class in column 'label'"
    ):
        load(tmp_path, "secret", test_size=1)


def test_an_empty_text_is_one_and_a_missing_text_is_none(datasets, tmp_path):
    columns = {"text": ["", "x"] + [None] * 10, "label": [0, 1] * 6}
    features = {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["bad", "good"])}
    saved(datasets, tmp_path / "gaps", columns, features)
    with pytest.raises(DataError, match="row 2 of column 'text' of dataset 'hf:gaps' is empty"):
        load(tmp_path, "gaps")


@pytest.mark.parametrize("options", [{}, {"labels": "image"}])
def test_a_column_that_cannot_be_told_is_asked_for(pictures, options):
    with pytest.raises(DataError, match=r"needs one column of kind ClassLabel .*\['coarse', 'fine'\].*'labels'"):
        load(pictures, "pictures", **options)


def test_one_split_is_not_both_trained_and_tested_on(tmp_path):
    with pytest.raises(DataError, match="split 'test' of dataset 'hf:any' would be both trained and tested on"):
        load(tmp_path, "any", train="test")


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


def test_texts_are_held_out_to_calibrate_with_where_they_are_asked_for(texts):
    whole, data = load(texts, "reviews", length=9), load(texts, "reviews", length=9, calibration_size=2)
    assert whole.calibration is None
    assert (len(data.train_targets), data.calibration.targets.tolist()) == (6, [0, 1])
    joined = torch.cat([data.train_inputs, data.calibration.inputs]).tolist()
    assert sorted(joined) == sorted(whole.train_inputs.tolist())
