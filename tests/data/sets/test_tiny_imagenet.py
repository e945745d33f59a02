import io
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.data.archives import published, tar, zipped

from sharpscope.data import DATASETS, DataSource, altered_cases
from sharpscope.data.sets.tiny_imagenet import TINY_IMAGENET
from sharpscope.data.subsets.parts import Sizes
from sharpscope.errors import DataError

Image = pytest.importorskip("PIL.Image", reason="image files need Pillow")

WNIDS = ("n02", "n01", "n03")
ROOT = "tiny-imagenet-200"
KINDS = ("fog", "snow")


def png(value, side=64):
    """Return a flat image; PNG keeps values that JPEG would change."""
    buffer = io.BytesIO()
    Image.new("RGB", (side, side), (value, value, value)).save(buffer, "PNG")
    return buffer.getvalue()


class Made:
    """Three classes, four training images and two test images of each; the color tells which image it is."""

    def __init__(self, folder):
        self.folder = folder
        self.files = {
            f"{ROOT}/wnids.txt": "\n".join(WNIDS).encode(),
            f"{ROOT}/words.txt": b"n01\tgoldfish, Carassius\nn02\tsalamander\nn99\tother\n",
        }
        for label, wnid in enumerate(sorted(WNIDS)):
            for number in range(4):
                self.files[f"{ROOT}/train/{wnid}/images/{wnid}_{number}.JPEG"] = png(40 * label + number)
        # Test image i is of class i % 3.
        lines = [f"val_{i}.JPEG\tn0{i % 3 + 1}\t0\t0\t9\t9" for i in range(6)]
        self.files |= {f"{ROOT}/val/images/val_{i}.JPEG": png(100 + i) for i in range(6)}
        self.files[f"{ROOT}/val/val_annotations.txt"] = "\n".join(lines).encode()
        self.corrupted = {
            f"Tiny-ImageNet-C/{kind}/{severity}/n0{i % 3 + 1}/val_{i}.JPEG": png(10 * severity + i)
            for kind in KINDS
            for severity in range(1, 6)
            for i in reversed(range(6))
        }

    def load(self, check=True, **sizes):
        path = self.folder / f"{ROOT}.zip"
        if not path.exists():
            zipped(path, self.files)
        suite = self.folder / "Tiny-ImageNet-C.tar"
        tar(suite, self.corrupted, "w")
        archive = published(path.name, path.read_bytes()) if check else TINY_IMAGENET.archive
        dataset = replace(TINY_IMAGENET, archive=archive, suite=published(suite.name, suite.read_bytes()))
        data = dataset.load(DataSource(self.folder, download=False), Sizes(**sizes))
        return replace(data, corrupted=replace(data.corrupted, corruptions=KINDS))


@pytest.fixture
def made(tmp_path):
    return Made(tmp_path)


def colors(images):
    assert (images == images[:, :1, :1, :1]).all()
    return images[:, 0, 0, 0].tolist()


def test_images_come_class_by_class(made):
    data = made.load()
    assert colors(data.train_inputs) == [0, 1, 2, 3, 40, 41, 42, 43, 80, 81, 82, 83]
    assert data.train_targets.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert colors(data.test_inputs) == [100, 103, 101, 104, 102, 105]
    assert data.test_targets.tolist() == [0, 0, 1, 1, 2, 2]
    assert data.classes == ("goldfish", "salamander", "n03")
    assert data.input_shape == (3, 64, 64)


def test_images_are_decoded_once(made, monkeypatch):
    first = made.load()
    monkeypatch.setattr("sharpscope.data.sets.tiny_imagenet.decode", None)
    assert made.load().train_inputs.equal(first.train_inputs)
    assert len(made.load(train_size=6, test_size=3).train_inputs) == 6


def test_corrupted_images_are_in_the_order_of_the_test_set(made, monkeypatch):
    data = made.load(test_size=3)
    data.corrupted.prepare()
    # From here on nothing is decoded again.
    monkeypatch.setattr("sharpscope.data.sets.tiny_imagenet.decode", None)
    numbers = [color - 100 for color in colors(data.test_inputs)]
    sets = {str(case): altered.inputs for case, altered in altered_cases(data) if case.kind == "inputs"}
    assert len(sets) == 10
    for severity in range(1, 6):
        assert colors(sets[f"Tiny-ImageNet-C/snow-{severity}"]) == [10 * severity + i for i in numbers]


def test_a_missing_corrupted_image_is_told(made):
    del made.corrupted["Tiny-ImageNet-C/snow/4/n02/val_4.JPEG"]
    with pytest.raises(DataError, match="holds 5 images of 'snow' at severity 4 that are not the 6 of the test split"):
        made.load().corrupted.prepare()


BROKEN = {
    "missing image": ({f"{ROOT}/val/images/val_3.JPEG": None}, r"should hold .*val_3.JPEG and does not"),
    "missing list": ({f"{ROOT}/wnids.txt": None}, r"should hold tiny-imagenet-200/wnids.txt and does not"),
    "no image": ({f"{ROOT}/val/images/val_3.JPEG": b"<html>"}, r"val_3.JPEG is not an image or is damaged"),
    "cut off image": ({f"{ROOT}/val/images/val_3.JPEG": png(3)[:-30]}, r"val_3.JPEG is not an image or is damaged"),
    "another size": ({f"{ROOT}/val/images/val_3.JPEG": png(3, 63)}, r"should be 64x64 pixels, got 63x63"),
    "unknown class": ({f"{ROOT}/val/val_annotations.txt": b"val_0.JPEG\tn77\t0"}, "an image of class 'n77'"),
    "path that leaves": ({"../outside": b""}, "a path that leaves its folder"),
}


@pytest.mark.parametrize(("change", "message"), BROKEN.values(), ids=BROKEN)
def test_a_damaged_archive_is_told_by_what_is_wrong(made, change, message):
    made.files = {k: v for k, v in {**made.files, **change}.items() if v is not None}
    with pytest.raises(DataError, match=message):
        made.load()
    assert [path.name for path in made.folder.rglob("*.tmp")] == []


def test_an_archive_without_training_images_is_refused(made):
    made.files = {k: v for k, v in made.files.items() if "/train/" not in k}
    with pytest.raises(DataError, match=f"should hold images in {ROOT}/train and does not"):
        made.load()


def test_an_archive_of_another_checksum_is_refused(made):
    with pytest.raises(DataError, match="is not the file that was published"):
        made.load(check=False)


def test_an_archive_that_is_cut_off_is_refused(made):
    path = zipped(made.folder / f"{ROOT}.zip", made.files)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match="cannot be read as a zip file"):
        made.load()


def test_without_pillow_the_extra_is_named(made, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(DataError, match=r"needs the package PIL .*pip install 'sharpscope\[images\]'"):
        made.load()


def test_crops_are_drawn_for_every_image(made):
    data = made.load()
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (8, 3, 64, 64), dtype=np.uint8))
    augmented = data.augment(images, torch.Generator().manual_seed(0))
    assert augmented.dtype == torch.uint8
    assert all(not a.equal(b) for a, b in zip(augmented, images, strict=True))


def test_registered_by_name(tmp_path):
    with pytest.raises(DataError, match=r"tiny-imagenet-200.zip is in none of .*http://cs231n.stanford.edu/"):
        DATASETS["tiny_imagenet"](DataSource(tmp_path, download=False))
