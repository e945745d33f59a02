import numpy as np
import pytest
import torch

from sharpscope.data import DATASETS, Source
from sharpscope.errors import DataError

Image = pytest.importorskip("PIL.Image", reason="image files need Pillow")


def write(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


@pytest.fixture
def folder(tmp_path):
    for split, count in (("train", 4), ("test", 2)):
        for label, name in enumerate(("cats", "dogs")):
            for number in range(count):
                write(
                    tmp_path / "pets" / split / name / f"{number}.png",
                    np.full((8, 8, 3), 50 * label + number, np.uint8),
                )
    return tmp_path


def load(home, **options):
    return DATASETS["image_folder"](Source(home, download=False), **{"folder": "pets", "size": 8} | options)


def test_images_come_with_the_names_of_their_folders(folder):
    data = load(folder)
    assert data.classes == ("cats", "dogs")
    assert data.train_inputs[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 50, 51, 52, 53]
    assert data.train_targets.tolist() == [0] * 4 + [1] * 4
    assert data.test_inputs.shape == (4, 3, 8, 8)
    assert len(load(folder, train_size=2, test_size=2).train_inputs) == 2


def test_the_middle_square_is_kept_and_resized(folder):
    wide = np.zeros((8, 24, 3), np.uint8)
    wide[:, 8:16] = 200
    write(folder / "pets" / "train" / "cats" / "0.png", wide)
    assert (load(folder).train_inputs[0] == 200).all()
    assert (load(folder, size=4).train_inputs[0] == 200).all()


def test_gray_images_and_those_with_transparency_become_color(folder):
    write(folder / "pets" / "train" / "cats" / "0.png", np.full((8, 8), 9, np.uint8))
    write(folder / "pets" / "train" / "cats" / "1.png", np.full((8, 8, 4), 11, np.uint8))
    assert load(folder).train_inputs[:2, :, 0, 0].tolist() == [[9] * 3, [11] * 3]


def test_other_files_are_left_alone(folder):
    (folder / "pets" / "train" / "cats" / "notes.txt").write_text("nothing")
    assert len(load(folder).train_inputs) == 8


def test_augmented_images_are_shifted_and_mirrored(folder):
    images = torch.randint(0, 256, (64, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    augmented = load(folder).augment(images, torch.Generator().manual_seed(0))
    assert augmented.dtype == torch.uint8
    assert not augmented.equal(images)


def test_a_damaged_image_is_named(folder):
    (folder / "pets" / "test" / "dogs" / "1.png").write_bytes(b"<html>")
    with pytest.raises(DataError, match=r"1.png is not an image or is damaged"):
        load(folder)


def test_a_class_without_training_images_is_refused(folder):
    write(folder / "pets" / "test" / "fish" / "0.png", np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(DataError, match="fish is of a class that the training folder has not"):
        load(folder)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"folder": "missing"}, r"needs the folder .*missing/train"),
        ({"test": "val"}, r"needs the folder .*pets/val"),
        ({"folder": "../pets"}, "leads out of the data directory"),
        ({"folder": "/etc"}, "leads out of the data directory"),
        ({"train_size": 100}, "a subset of 100 was asked for"),
    ],
)
def test_what_is_not_there_is_told(folder, options, message):
    with pytest.raises(DataError, match=message):
        load(folder, **options)


def test_an_empty_split_is_told(folder):
    (folder / "empty" / "train").mkdir(parents=True)
    with pytest.raises(DataError, match="train holds no images"):
        load(folder, folder="empty")
