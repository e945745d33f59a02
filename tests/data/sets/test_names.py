import pytest
import torch

from sharpscope.data import DATASETS, DataSource
from sharpscope.data.sets.names import LENGTH, SYMBOLS, encoded, mistype
from sharpscope.errors import DataError

OFFLINE = DataSource(download=False)


def decoded(symbols):
    return ["".join(SYMBOLS[number] for number in row).rstrip("\0") for row in symbols.tolist()]


@pytest.fixture(scope="module")
def data():
    return DATASETS["names"](OFFLINE)


def test_generated_names_are_all_different_and_balanced(data):
    every = decoded(data.train_inputs) + decoded(data.test_inputs)
    assert len(set(every)) == len(every) == 15 * 400
    assert data.train_targets.bincount().tolist() == [320] * 15
    assert data.test_targets.bincount().tolist() == [80] * 15
    assert data.input_shape == (LENGTH, len(SYMBOLS)) == (25, 56)
    assert data.normalize(data.train_inputs) is data.train_inputs


def test_generated_names_are_the_same_everywhere(data):
    # Written down once: another generator would make another dataset under the same name.
    assert decoded(data.test_inputs[:3]) == ["Baepenko", "Meiquaivlano", "Moakeukenko"]


def test_languages_can_be_told_apart_but_not_always(data):
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.naive_bayes import MultinomialNB

    pairs = CountVectorizer(analyzer="char_wb", ngram_range=(1, 2))
    judge = MultinomialNB().fit(pairs.fit_transform(decoded(data.train_inputs)), data.train_targets)
    assert 0.5 < judge.score(pairs.transform(decoded(data.test_inputs)), data.test_targets) < 0.95


def test_names_are_cut_off_and_filled_up():
    assert decoded(encoded(["Abe", "x" * 30])) == ["Abe", "x" * 25]
    assert encoded(["Abe"])[0, 3:].tolist() == [0] * 22


def test_a_slip_hits_a_neighbor_in_the_same_case():
    symbols = encoded(["Gg-"]).expand(4000, LENGTH)
    slipped = mistype(symbols, torch.Generator().manual_seed(0), probability=0.5)
    upper = [SYMBOLS[number] for number in slipped[:, 0].tolist()]
    lower = [SYMBOLS[number] for number in slipped[:, 1].tolist()]
    assert set(upper) == set("GTYFHVB")
    assert set(lower) == set("gtyfhvb")
    # Half of 4,000 slips, with a standard deviation of 0.008 of the share; each neighbor gets a sixth of them.
    assert upper.count("G") / 4000 == pytest.approx(0.5, abs=0.035)
    assert lower.count("v") / 4000 == pytest.approx(1 / 12, abs=0.02)
    assert slipped[:, 2:].equal(symbols[:, 2:])


def test_without_slips_names_stay_and_draws_are_the_generators_alone(data):
    batch = data.train_inputs[:64]
    assert mistype(batch, torch.Generator().manual_seed(0), probability=0.0).equal(batch)
    state = torch.get_rng_state()
    first, again = (data.augment(batch, torch.Generator().manual_seed(0)) for _ in range(2))
    assert first.equal(again)
    assert not first.equal(batch)
    assert torch.get_rng_state().equal(state)


def write(folder, text):
    (folder / "people.csv").write_bytes(text.encode() if isinstance(text, str) else text)
    return DataSource(folder, download=False)


def test_names_of_a_file_are_read(tmp_path):
    rows = "".join(f"Ann{c}e,French\nMü{c}ller,German\n" for c in "abcdefghij")
    data = DATASETS["names"](write(tmp_path, f"name,class\n{rows}"), file="people.csv")
    assert data.classes == ("French", "German")
    assert sorted(decoded(data.train_inputs) + decoded(data.test_inputs)) == sorted(
        [f"Ann{c}e" for c in "abcdefghij"] + [f"Mu{c}ller" for c in "abcdefghij"]
    )
    assert data.test_targets.bincount().tolist() == [2, 2]
    assert len(DATASETS["names"](DataSource(tmp_path), file="people.csv", train_size=4).train_inputs) == 4


BROKEN = {
    "no head": ("Ann,French\nBob,English\n", r"row 2: a name and a class were expected"),
    "no class": ("name,class\nAnn,French\nBob,\n", r"row 3: a name and a class were expected"),
    "no letters": ("name,class\nAnn,French\nB0b,English\n", r"row 3: 'B0b' has symbols that are no letters: \['0'\]"),
    "two cases": ("name,class\nAnn,French\nBob,french\n", r"two classes of one name but for .* 'French' and 'french'"),
    "nothing": ("name,class\n", "holds no names"),
    "one name": ("name,class\nAnn,French\n", "holds names of one class, 'French', and so nothing to tell apart"),
    "no text": (b"name,class\n\xff\xfe,French\n", "should be a CSV file in UTF-8"),
}


@pytest.mark.parametrize(("text", "message"), BROKEN.values(), ids=BROKEN)
def test_an_unfit_file_is_told_by_what_is_wrong(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        DATASETS["names"](write(tmp_path, text), file="people.csv")


@pytest.mark.parametrize(
    ("file", "message"), [("missing.csv", "needs the file .*missing.csv"), ("../people.csv", "leads out of the data")]
)
def test_a_file_that_is_not_there_is_told(tmp_path, file, message):
    with pytest.raises(DataError, match=message):
        DATASETS["names"](DataSource(tmp_path), file=file)


@pytest.mark.parametrize("counts", [(1, 9), (1, 1, 1, 1, 1, 1, 1, 1, 1, 2), (1, 1, 2), (2, 1), (40, 1, 1, 1)])
@pytest.mark.parametrize("size", [None, "classes"])
def test_every_class_of_a_file_has_a_name_to_train_on(tmp_path, counts, size):
    names = [f"{'A' * (i // 20)}{'B' * (i % 20 + 1)}" for i in range(max(counts))]
    rows = [f"{name},class{label}" for label, count in enumerate(counts) for name in names[:count]]
    (tmp_path / "people.csv").write_text("name,class\n" + "\n".join(rows))
    train_size = None if size is None else len(counts)
    data = DATASETS["names"](DataSource(tmp_path), file="people.csv", train_size=train_size)
    assert sorted(set(data.train_targets.tolist())) == list(range(len(counts)))
    if size is None:
        assert len(data.test_targets) + len(data.train_targets) == sum(counts)
        assert len(data.test_targets) == min(max(1, round(0.2 * sum(counts))), sum(counts) - len(counts))


def test_no_name_of_a_class_is_both_trained_on_and_tested(tmp_path):
    long = "B" * 25
    names = [*(f"Ann{c}" for c in "abcdefgh"), "José", "Jose", f"{long}c", f"{long}d"]
    rows = [f"{name},{label}" for name in [*names, *names] for label in ("x", "y")]
    data = DATASETS["names"](write(tmp_path, "name,class\n" + "\n".join(rows)), file="people.csv")
    train, test = (
        set(zip(decoded(inputs), targets.tolist(), strict=True))
        for inputs, targets in ((data.train_inputs, data.train_targets), (data.test_inputs, data.test_targets))
    )
    assert not train & test
    assert train | test == {(name, label) for name in [*names[:8], "Jose", long] for label in (0, 1)}


def test_classes_are_compared_as_they_look(tmp_path):
    (tmp_path / "people.csv").write_text("name,class\nAnn,fran\u00e7ais\nBob,franc\u0327ais\nEve,b\nIda,b\n")
    assert DATASETS["names"](DataSource(tmp_path), file="people.csv").classes == ("b", "fran\u00e7ais")


def test_a_file_without_a_name_to_spare_is_told(tmp_path):
    (tmp_path / "people.csv").write_text("name,class\nAnn,a\nBob,b\nEve,c\n")
    with pytest.raises(DataError, match="holds 3 names of 3 classes, which leaves none to test on; give it more"):
        DATASETS["names"](DataSource(tmp_path), file="people.csv")
