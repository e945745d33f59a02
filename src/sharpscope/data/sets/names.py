"""Names of people by the language they come from: short sequences of symbols."""

from __future__ import annotations

import csv
import io
import string
import unicodedata
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from sharpscope.data.dataset import Dataset, DataSource
from sharpscope.data.registry import DATASETS
from sharpscope.data.sets.image_folder import as_it_looks, below, refuse_alike
from sharpscope.data.subsets.parts import Sizes
from sharpscope.data.subsets.selection import stratified
from sharpscope.errors import DataError
from sharpscope.seeding import Stream

LENGTH = 25
# The empty place comes first: its number is 0, and names end where it begins.
SYMBOLS = "\0" + string.ascii_letters + " -'"
KEYBOARD = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
# Of the generated names: how many there are of each language, and the share that tests.
LANGUAGES, EACH, TESTED = 15, 400, 0.2
# fmt: off
ONSETS = (
    "b", "br", "c", "ch", "d", "dr", "f", "fl", "g", "gr", "h", "j", "k", "kl", "kr", "l", "m", "n", "p", "pr", "qu",
    "r", "s", "sch", "sh", "sk", "st", "t", "th", "tr", "ts", "v", "vl", "w", "x", "y", "z", "zh",
)
VOWELS = (
    "a", "ae", "ai", "au", "e", "ea", "ei", "eu", "i", "ia", "ie", "io", "o", "oa", "oe", "oi", "ou", "u", "ua", "ui",
    "y",
)
ENDINGS = (
    "a", "ai", "an", "ano", "ard", "as", "eau", "elli", "en", "enko", "er", "ev", "ez", "i", "ian", "ich", "ides",
    "ier", "ini", "is", "mann", "nen", "o", "off", "ong", "os", "ot", "ov", "ova", "poulos", "qvist", "sen", "ska",
    "ski", "son", "stra", "sz", "u", "ura", "uz", "vic", "wa", "yan",
)
# fmt: on


@DATASETS.register()
def names(
    source: DataSource,
    *,
    file: str | None = None,
    train_size: int | None = None,
    test_size: int | None = None,
    subset_seed: int = 0,
    calibration_size: int | None = None,
) -> Dataset:
    """Names of people, 25 places of 56 symbols, by their language; generated unless a CSV file is given.

    The generated ones are of 15 languages that do not exist, each with its own habits of sound that overlap with those
    of the others: 320 names of each to train, 80 to test. A fifth of the names of a file tests, stratified, and
    each class keeps a name to train on. What a file holds is no part of a run's identity, its name is.

    Args:
        source: Its data directory has the file.
        file: A CSV file below the data directory, in UTF-8, with the columns ``name`` and ``class`` under these heads.
            Accents are dropped; names are cut off after 25 places. One that then comes twice in a class counts once, so
            that none is tested that was trained on.
        train_size: Size of a stratified training subset; None for all. Sizes are nested.
        test_size: Size of a stratified test subset, the same for every seed; None for all.
        subset_seed: Which training subset of that size.
        calibration_size: Names to calibrate on, which are not trained on. None for some that ``train_size`` leaves
            over: a tenth of the names to train on, but 500 to 5,000, or what is left; none where fewer than 100 are
            left. A number is taken off the training set where ``train_size`` is None.

    Returns:
        Symbols as int64 ``[N, 25]``; augmented by a slip of the typist.

    Raises:
        DataError: If the file is missing or unfit, or a size out of range.
    """
    labeled = generated() if file is None else _read(source, file)
    classes = tuple(sorted({label for _, label in labeled}))
    symbols = encoded(name for name, _ in labeled)
    targets = torch.tensor([classes.index(label) for _, label in labeled])
    if len(classes) == 1:
        raise DataError(f"{file} holds names of one class, '{classes[0]}', and so nothing to tell apart; give it more")
    if len(targets) <= len(classes):
        raise DataError(
            f"{file} holds {len(targets)} names of {len(classes)} classes, which leaves none to test on; give it more"
        )
    # Where most names are the only ones of their class, fewer than a fifth can be spared.
    count = min(max(1, round(TESTED * len(targets))), len(targets) - len(classes))
    tested = stratified(targets, count, Stream("names", "split"), every_class="outside")
    pool = torch.ones(len(targets), dtype=torch.bool).index_fill(0, tested, False).nonzero().squeeze(1)
    sizes = Sizes(train_size, test_size, subset_seed, calibration_size)
    parts = sizes.parts("names", targets[pool], targets[tested])
    return Dataset(
        name="names",
        train_inputs=symbols[pool[parts.train]],
        train_targets=targets[pool[parts.train]],
        test_inputs=symbols[tested[parts.test]],
        test_targets=targets[tested[parts.test]],
        classes=classes,
        mean=(),
        std=(),
        augment=mistype,
        vocabulary=len(SYMBOLS),
        calibration=parts.to_calibrate(lambda chosen: symbols[pool[chosen]], targets[pool]),
    )


def generated() -> list[tuple[str, str]]:
    """Return invented names with their languages, all different, the same on every machine."""
    labeled: dict[str, str] = {}
    for language in range(LANGUAGES):
        wanted = len(labeled) + EACH
        for name in _invented(Stream("names", "language", language).numpy()):
            if len(labeled) < wanted and len(name) <= LENGTH:
                labeled.setdefault(name, f"language{language + 1:02d}")
    return list(labeled.items())


def _invented(rng: np.random.Generator) -> list[str]:
    """Return more than enough names of one language, some of them twice."""
    # A small concentration: each language uses some of the sounds often, and shares many of them with others.
    onsets, vowels, endings = (rng.dirichlet(np.full(len(sounds), 0.4)) for sounds in (ONSETS, VOWELS, ENDINGS))
    counts = 1 + rng.choice(3, 3 * EACH, p=rng.dirichlet((4.0, 6.0, 2.0)))
    before = rng.choice(ONSETS, (3 * EACH, 4), p=onsets)
    after = rng.choice(VOWELS, (3 * EACH, 3), p=vowels)
    last = rng.choice(ENDINGS, 3 * EACH, p=endings)
    return [
        "".join([*(b[i] + a[i] for i in range(count)), b[3], end]).capitalize()
        for count, b, a, end in zip(counts, before, after, last, strict=True)
    ]


def encoded(written: Iterable[str]) -> Tensor:
    """Return names as numbers of their symbols, int64 ``[N, 25]``; the places after the end are 0."""
    rows = []
    for name in written:
        numbers = [SYMBOLS.index(letter) for letter in name[:LENGTH]]
        rows.append(numbers + [0] * (LENGTH - len(numbers)))
    return torch.tensor(rows)


def mistype(symbols: Tensor, generator: torch.Generator, *, probability: float = 0.1) -> Tensor:
    """Replace letters by neighbors on an English keyboard, each with a probability.

    Args:
        symbols: int64 ``[N, L]``.
        generator: Source of two draws a symbol.
        probability: Of a slip; what is no letter, and the empty places, stay.
    """
    neighbors = _NEIGHBORS.to(symbols.device)
    counts = (neighbors >= 0).sum(dim=1)[symbols]
    slip, which = torch.rand((2, *symbols.shape), generator=generator, device=symbols.device)
    chosen = neighbors[symbols, (which * counts).long().clamp(max=neighbors.shape[1] - 1)]
    return torch.where((slip < probability) & (counts > 0), chosen, symbols)


def _neighbors() -> Tensor:
    """Return the numbers of the letters beside each symbol's key, in its case, filled up with -1, ``[56, 6]``."""
    # Each row of keys stands half a key to the right of the one above.
    keys = {
        letter: (row, 2 * place + row) for row, letters in enumerate(KEYBOARD) for place, letter in enumerate(letters)
    }
    table = torch.full((len(SYMBOLS), 6), -1)
    for number, symbol in enumerate(SYMBOLS):
        if symbol.lower() not in keys:
            continue
        row, place = keys[symbol.lower()]
        near = [k for k, (r, p) in keys.items() if abs(r - row) <= 1 and 0 < abs(p - place) + abs(r - row) <= 2]
        cased = [SYMBOLS.index(k.upper() if symbol.isupper() else k) for k in near]
        table[number, : len(cased)] = torch.tensor(cased)
    return table


_NEIGHBORS = _neighbors()


def _read(source: DataSource, file: str) -> list[tuple[str, str]]:
    """Return names and classes of a CSV file."""
    path = below(source, file)
    if not path.is_file():
        raise DataError(f"dataset 'names' needs the file {path}, with the columns name and class")
    try:
        rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig")), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} should be a CSV file in UTF-8 ({error})") from None
    labeled = []
    for number, row in enumerate(rows, start=2):
        name, label = row.get("name"), row.get("class")
        if not name or not label:
            raise DataError(f"{path}, row {number}: a name and a class were expected, got {dict(row)}")
        plain = _without_accents(name.strip())
        unknown = sorted(set(plain) - set(SYMBOLS[1:]))
        if unknown or not plain:
            raise DataError(f"{path}, row {number}: '{name}' has symbols that are no letters: {unknown}")
        labeled.append((plain[:LENGTH], as_it_looks(label.strip())))
    if not labeled:
        raise DataError(f"{path} holds no names; write one a line under the head name,class")
    refuse_alike({label for _, label in labeled}, str(path))
    return list(dict.fromkeys(labeled))


def _without_accents(name: str) -> str:
    parts = unicodedata.normalize("NFKD", name.replace("\u2019", "'"))
    return "".join(letter for letter in parts if not unicodedata.combining(letter))
