from __future__ import annotations

import pytest

from sharpscope.errors import SpecError
from sharpscope.study.document import parse, parse_value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1E3", 1000.0),
        ("-2.5e+2", -250.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("3", 3),
        ("010", 10),
        ("-08", -8),
        ("50_000", 50_000),
        ("1:30", "1:30"),
        ("0x", "0x"),
        ("1.0e-4", 1e-4),
        ("e5", "e5"),
        ("1e", "1e"),
        ("v1.2", "v1.2"),
        ("[1e-3, 2]", [1e-3, 2]),
    ],
)
def test_numbers_are_what_the_user_means(text, value):
    parsed = parse_value(text, "here")
    assert parsed == value
    assert type(parsed) is type(value)


TEXT = """name: x
data:
  name: digits
  train_size: 5
regimes:
  - baseline
  - {sam: {rho: 1}}
  - augmentation+sam
"""


@pytest.mark.parametrize(
    ("loc", "place"),
    [
        (("data", "train_size"), "s.yaml, line 4"),
        (("data", "absent"), "s.yaml, line 2"),
        (("regimes", 1, "sam", "rho"), "s.yaml, line 7"),
        (("regimes", "sam", "rho"), "s.yaml, line 7"),
        (("regimes", "augmentation+sam"), "s.yaml, line 8"),
        (("regimes", 0, "baseline"), "s.yaml, line 6"),
        (("absent",), "s.yaml"),
        ((), "s.yaml"),
    ],
)
def test_the_place_is_the_nearest_thing_written(loc, place):
    assert parse(TEXT, "s.yaml").place(loc) == place


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", "s.yaml, line 3: the key 'a' stands twice, first in line 1"),
        ("a:\n  b: 1\n  b: 1\n", "s.yaml, line 3: the key 'b' stands twice, first in line 2"),
        ("a: [1, 2\nb: 3\n", "s.yaml, line 2, column 2: this is not YAML"),
        ("a: &x [*x]\n", "s.yaml, line 1: this value contains itself"),
        ("? [1, 2]\n: 3\n", "s.yaml, line 1: a key must be a word"),
        ("a: !!python/object:os.system x\n", "s.yaml, line 1, column 4: this is not YAML"),
        ("a: \x07\n", "s.yaml: this is not YAML"),
    ],
)
def test_what_is_not_fit_is_told_with_its_place(text, message):
    with pytest.raises(SpecError) as caught:
        parse(text, "s.yaml")
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
