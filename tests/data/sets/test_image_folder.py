import numpy as np
import pytest
import torch

from sharpscope.data import DATASETS, DataSource
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
    return DATASETS["image_folder"](DataSource(home, download=False), **{"folder": "pets", "size": 8} | options)


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


def test_transparent_places_need_a_background(folder):
    half = np.full((8, 8, 4), 11, np.uint8)
    half[:4, :, 3] = 255
    half[4:, :, 3] = 0
    path = folder / "pets" / "train" / "cats" / "1.png"
    write(path, half)
    with pytest.raises(DataError, match=r"cats/1.png has transparent places.*set the option 'background' to white"):
        load(folder)
    for background, color in (("white", 255), ("black", 0)):
        image = load(folder, background=background).train_inputs[1]
        assert (image[:, :4] == 11).all()
        assert (image[:, 4:] == color).all()


# What programs, systems and people leave beside images: none of it is a class or an image.
BESIDE = (
    "train/.ipynb_checkpoints/0-checkpoint.png",
    "train/cats/.ipynb_checkpoints/0-checkpoint.png",
    "train/__MACOSX/cats/._0.png",
    "train/cats/__MACOSX/0.png",
    "train/cats/._0.png",
    "train/cats/.DS_Store",
    "train/.DS_Store",
    "train/cats/Thumbs.db",
    "train/cats/desktop.ini",
    "train/cats/notes.txt",
    "train/cats/@eaDir/0.jpg",
    "train/labels.csv",
    "test/._cats/0.png",
    "test/.git/x.png",
)


@pytest.mark.parametrize("name", BESIDE)
def test_what_is_no_image_and_no_class_is_left_alone(folder, name):
    path = folder / "pets" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"anything")
    data = load(folder)
    assert data.classes == ("cats", "dogs")
    assert (len(data.train_inputs), len(data.test_inputs)) == (8, 4)


# What might be an image or a class, and would be missed or made up without a word.
UNCLEAR = {
    "a folder without images": ("train/fish/notes.txt", "fish holds no images, so its class has none; remove it"),
    "of the test": ("test/cats2/.DS_Store", "cats2 holds no images, so its class has none; remove it"),
    "an image of no class": ("train/0.png", "train/0.png is an image outside of the folders of classes"),
    "an ending that is not read": ("train/cats/4.heic", "4.heic is no image of a kind that is read .* convert it"),
    "no ending": ("train/cats/4", "cats/4 is no image of a kind that is read .* or move it away"),
    "a name in another case": (
        "train/Cats/0.png",
        "two classes of one name but for its letters' case, 'Cats' and 'cats'",
    ),
}


@pytest.mark.parametrize(("name", "message"), UNCLEAR.values(), ids=UNCLEAR)
def test_what_might_be_an_image_or_a_class_is_asked_about(folder, name, message):
    path = folder / "pets" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"anything")
    with pytest.raises(DataError, match=message):
        load(folder)


def test_links_that_lead_nowhere_or_to_folders_are_told(folder):
    cats = folder / "pets" / "train" / "cats"
    (cats / "9.png").symlink_to(folder / "gone.png")
    with pytest.raises(DataError, match=r"9.png cannot be read \(No such file or directory\)"):
        load(folder)
    (cats / "9.png").unlink()
    (cats / "more").symlink_to(cats.parent / "dogs", target_is_directory=True)
    with pytest.raises(DataError, match="more is a link to a folder, which is not followed"):
        load(folder)


def test_one_folder_is_not_both_trained_and_tested_on(folder):
    with pytest.raises(DataError, match="would be both trained and tested on"):
        load(folder, test="../pets/train")


def test_a_single_class_is_refused(folder):
    (folder / "pets" / "train" / "dogs").rename(folder / "elsewhere")
    with pytest.raises(DataError, match="'pets/train' holds one class, 'cats', and so nothing to tell apart"):
        load(folder)


def test_a_name_is_one_class_however_its_accents_are_written(folder):
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    write(folder / "pets" / "train" / composed / "0.png", np.zeros((8, 8, 3), np.uint8))
    write(folder / "pets" / "test" / decomposed / "0.png", np.zeros((8, 8, 3), np.uint8))
    data = load(folder)
    assert data.classes == (composed, "cats", "dogs")
    assert data.test_targets[0] == 0


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
        ({"train": "../../x"}, "leads out of the data directory"),
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


def test_images_are_held_out_to_calibrate_with_where_they_are_asked_for(folder):
    assert load(folder).calibration is None
    data = load(folder, calibration_size=2)
    assert (len(data.train_targets), data.calibration.targets.tolist()) == (6, [0, 1])
    values = {int(image[0, 0, 0]) for image in (*data.train_inputs, *data.calibration.inputs)}
    assert values == {0, 1, 2, 3, 50, 51, 52, 53}
    some = load(folder, train_size=4, calibration_size=2)
    assert some.calibration.inputs.equal(data.calibration.inputs)
