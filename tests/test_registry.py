"""Registries: options are read from signatures, and what does not fit is told in plain words."""

from __future__ import annotations

import sys
from typing import Any, Literal

import pytest

from sharpscope.errors import SpecError, UnknownName, suggest
from sharpscope.registry import Registration, Registry

PARTS: Registry[Any] = Registry("part")


@PARTS.register(version=3, facts="heavy")
def engine(
    supplied: int,
    *,
    power: float,
    fuel: Literal["diesel", "petrol"] = "diesel",
    cylinders: int = 4,
    turbo: bool = False,
    limit: int | None = None,
    ratios: tuple[float, ...] = (1.0, 2.0),
    copy: int = 1,
) -> str:
    """Drives the car.

    More about it.
    """
    return f"{supplied} {power} {fuel} {cylinders} {turbo} {limit} {ratios} {copy}"


@PARTS.register("door")
def make_door(*, width: float = 1.0) -> float:
    return width


def test_is_a_sorted_mapping_of_names() -> None:
    assert list(PARTS) == ["door", "engine"]
    assert len(PARTS) == 2
    assert "door" in PARTS
    assert "make_door" not in PARTS
    assert PARTS.get("wheel") is None
    assert isinstance(PARTS["engine"], Registration)


def test_an_entry_knows_what_was_declared() -> None:
    entry = PARTS["engine"]
    assert (entry.kind, entry.name, entry.version, entry.facts) == ("part", "engine", 3, "heavy")
    assert entry.summary == "Drives the car"
    assert PARTS["door"].summary == ""
    assert PARTS["door"](width=2.0) == 2.0


def test_keyword_only_parameters_are_the_options() -> None:
    assert PARTS["engine"].defaults == {
        "fuel": "diesel",
        "cylinders": 4,
        "turbo": False,
        "limit": None,
        "ratios": (1.0, 2.0),
        "copy": 1,
    }
    completed = PARTS["engine"].complete({"power": 2, "limit": "7", "ratios": [3], "copy": 2})
    assert completed == {
        "power": 2.0,
        "fuel": "diesel",
        "cylinders": 4,
        "turbo": False,
        "limit": 7,
        "ratios": (3.0,),
        "copy": 2,
    }
    assert list(completed) == ["power", "fuel", "cylinders", "turbo", "limit", "ratios", "copy"]
    assert PARTS["engine"](5, **completed) == "5 2.0 diesel 4 False 7 (3.0,) 2"


@pytest.mark.parametrize(
    ("options", "message", "option"),
    [
        (
            {"powr": 1},
            r"unknown option 'powr' of part 'engine'; did you mean 'power'\? \(known: copy, cylinders",
            "powr",
        ),
        ({"power": 1, "supplied": 2}, "unknown option 'supplied'", "supplied"),
        ({"power": 1, "option_fuel": "diesel"}, "unknown option 'option_fuel'", "option_fuel"),
        ({}, "option 'power' of part 'engine': field required$", "power"),
        ({"power": "strong"}, "option 'power' of part 'engine': expected a number, got 'strong'", "power"),
        ({"power": None}, "expected a number, got None", "power"),
        ({"power": 1, "fuel": "coal"}, "'fuel' .*: input should be 'diesel' or 'petrol', got 'coal'", "fuel"),
        ({"power": 1, "cylinders": 2.5}, "'cylinders' .*: expected a whole number, got 2.5", "cylinders"),
        ({"power": 1, "turbo": "maybe"}, "'turbo' .*: expected true or false, got 'maybe'", "turbo"),
        ({"power": 1, "limit": "x"}, "'limit' .*: expected a whole number, got 'x'", "limit"),
        ({"power": 1, "ratios": [1, "y"]}, "'ratios' .*number.*got 'y'", "ratios"),
    ],
)
def test_options_that_do_not_fit_are_told_in_plain_words(options: dict[str, Any], message: str, option: str) -> None:
    with pytest.raises(SpecError, match=message) as caught:
        PARTS["engine"].complete(options)
    assert caught.value.loc == (option,)
    assert caught.value.within("parts", 0).loc == ("parts", 0, option)
    assert "\n" not in str(caught.value)


def test_only_what_differs_from_the_defaults_belongs_to_an_identity() -> None:
    entry = PARTS["engine"]
    assert entry.reduced({"power": 1, "cylinders": "4", "turbo": 0, "ratios": [1, 2]}) == {"power": 1.0}
    assert entry.reduced({"power": 1, "fuel": "petrol", "limit": 0}) == {"power": 1.0, "fuel": "petrol", "limit": 0}


def test_an_unknown_name_is_told_with_the_near_ones() -> None:
    with pytest.raises(UnknownName, match=r"unknown part 'engin'; did you mean 'engine'\? \(known: door, engine\)"):
        PARTS["engin"]
    with pytest.raises(UnknownName, match=r"unknown part 'xyz' \(known: door, engine\)"):
        PARTS["xyz"]
    assert suggest("a", []) == " (known: none)"


def test_a_name_belongs_to_the_module_that_took_it() -> None:
    registry: Registry[Any] = Registry("part")

    def part() -> None: ...

    def other() -> None: ...

    registry.register("part")(part)
    registry.register("part")(other)
    assert registry["part"].function is other, "a module that is loaded again replaces its own"

    def foreign() -> None: ...

    foreign.__module__ = "elsewhere"
    with pytest.raises(SpecError, match=r"part 'part' is registered by .* already; elsewhere must choose another name"):
        registry.register("part")(foreign)


def test_fills_itself_from_a_package_at_the_first_look(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "some_parts"
    package.mkdir()
    (package / "__init__.py").write_text(
        "from sharpscope.registry import Registry\nPARTS = Registry('part', __name__)\n"
    )
    (package / "wheel.py").write_text("from some_parts import PARTS\n@PARTS.register()\ndef wheel(): ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    import some_parts  # type: ignore[import-not-found]

    assert "some_parts.wheel" not in sys.modules
    assert list(some_parts.PARTS) == ["wheel"]
