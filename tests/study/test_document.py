from __future__ import annotations

import tracemalloc

import pytest

from sharpscope.errors import SpecError
from sharpscope.study.source import document
from sharpscope.study.source.document import parse, parse_value


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


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2026-13-45", "2026-13-45"),
        ("2026-11-25", "2026-11-25"),
        ("{on: 1, 2: 3, null: 4}", {"on": 1, "2": 3, "null": 4}),
        ("[&a {x: 1}, {<<: *a, y: 2}]", [{"x": 1}, {"x": 1, "y": 2}]),
        ('"\\ud83d\\ude00"', "\U0001f600"),
        ('{"\\ud83d\\ude00": x}', {"\U0001f600": "x"}),
        ("=", "="),
        ("9223372036854775807", 2**63 - 1),
    ],
)
def test_values_are_those_that_json_has(text, value):
    assert parse_value(text, "here") == value


LAUGHS = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}' if n else 'ha'] * 9)}]\n" for n in range(9))
MERGED = "".join(f"- &a{n} {{k{n}: 1, <<: [{', '.join([f'*a{n - 1}'] * 9 if n else [])}]}}\n" for n in range(9))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LAUGHS, "stands for more than 2000 values, which no study needs"),
        (MERGED, "stands for more than 2000 values, which no study needs"),
        (f"[{'a,' * 2500}]", "line 1: this stands for more than 2000 values, which no study needs"),
        ("[" * 5000, "line 1: this is nested more than 50 levels deep"),
        ("{a: " * 5000, "line 1: this is nested more than 50 levels deep"),
        ("- " * 5000, "line 1: this is nested more than 50 levels deep"),
        ("".join(f"a{n}: &a{n} [{f'*a{n - 1}' if n else ''}]\n" for n in range(60)), "more than 50 levels deep"),
        ("x: 1\na: !!int abc", "line 2: abc is no int; write a value that is"),
        ("a: !!int ''", "line 1:  is no int"),
        ("a: !!float x", "line 1: x is no float"),
        ("a: !!float ''", "line 1:  is no float"),
        ("a: !!bool perhaps", "line 1: perhaps is no bool"),
        ("a: !!map [1]", "line 1: a list or mapping is no mapping of keys"),
        ("a: !!timestamp 2026-01-01", "line 1, column 4: this is not YAML: could not determine a constructor"),
        ("a: !!binary eA==", "could not determine a constructor"),
        ("a: !!set {x}", "could not determine a constructor"),
        ("a: " + "9" * 5000, f"line 1: {'9' * 40}... is too large, a whole number is at most 9223372036854775807"),
        ("a: 9223372036854775808", "9223372036854775808 is too large"),
        ("a: .inf", "line 1: .inf is not finite"),
        ("a: 1e999", "line 1: 1e999 is not finite"),
        ('a: "x\\0y"', "line 1: no text in a study can have the character NUL"),
        ('a: "\\ud83d"', "line 1: this text has half of a character"),
        ('a: "\\ude00\\ud83d"', "line 1: this text has half of a character"),
    ],
)
def test_what_has_no_bounds_or_no_value_is_refused_with_its_line(text, message, monkeypatch):
    monkeypatch.setattr(document, "MOST_VALUES", 2000)
    with pytest.raises(SpecError) as caught:
        parse(text, "s.yaml")
    assert message in str(caught.value)
    assert str(caught.value).startswith("s.yaml, line ")
    assert len(str(caught.value)) < 300


def test_aliases_cost_no_memory(monkeypatch):
    monkeypatch.setattr(document, "MOST_VALUES", 2000)
    assert len(LAUGHS) < 500
    tracemalloc.start()
    with pytest.raises(SpecError):
        parse(LAUGHS, "s.yaml")
    assert tracemalloc.get_traced_memory()[1] < 10e6
    tracemalloc.stop()
