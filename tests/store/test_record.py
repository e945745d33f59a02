"""A record reads back to the last bit, and says what of it answers a study."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from sharpscope.store.files import Damaged
from sharpscope.store.record import Record
from sharpscope.store.run_folder import RunFolder
from sharpscope.store.wishes import Wish, Wishes


def test_a_record_reads_back_to_the_last_bit_and_is_valid_json():
    values = {"a": 0.1 + 0.2, "b": math.nan, "c": math.inf, "d": -math.inf, "e": 5e-324}
    record = Record("r", "done", training=values, coordinates={"regime": "NaN"})
    text = record.to_json()
    json.loads(text, parse_constant=pytest.fail)
    again = Record.from_json(text, "r")
    np.testing.assert_equal(again.training, values)
    assert again.coordinates == {"regime": "NaN"}


@pytest.mark.parametrize(
    "damage",
    [
        lambda t: t[: len(t) // 2],
        lambda t: b"",
        lambda t: b"[]",
        lambda t: t.replace(b'"r"', b'"s"'),
        lambda t: b"\xff",
        lambda t: t.replace(b'"measures": {}', b'"measures": null'),
        lambda t: t.replace(b'"measures": {}', b'"measures": {"m": {"value": 1.0}}'),
        lambda t: t.replace(b'"scores": {}', b'"scores": {"s": {"value": null}}'),
        lambda t: t.replace(b'"state": "done"', b'"state": "over"'),
    ],
)
def test_a_torn_record_is_noticed(damage, tmp_path):
    folder = RunFolder(tmp_path / "r")
    folder.write_record(Record("r", "done"))
    path = folder.path / "run.json"
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    assert path.read_bytes() != whole
    with pytest.raises(Damaged):
        folder.read_record()


def test_a_value_of_other_options_or_another_version_is_no_answer():
    wish = Wish("ece", {"bins": 15, "edges": (0, 1)}, version=2)
    stored = {**wish.stamp("score"), "value": 0.1}
    assert wish.answered_by(stored, "score")
    assert wish.answered_by(json.loads(json.dumps(stored)), "score")
    assert not wish.answered_by({**stored, "version": 1}, "score")
    assert not wish.answered_by({**stored, "options": {"bins": 10}}, "score")
    assert not wish.answered_by({**stored, "score": "nll"}, "score")
    assert not wish.answered_by(None, "score")


def test_what_is_left_to_do_of_a_run():
    wishes = Wishes(measures={"m": Wish("margin")}, scores={"s": Wish("ece")}, conditions={"fog": 1})
    record = Record("r", "done", training={"train_loss": 1.0}, predictions={"conditions": {"fog": 1}})
    assert record.missing(wishes) == ["m", "s"]
    record.measures["m"] = {**Wish("margin").stamp("measure"), "value": 1.0}
    record.scores["s"] = {**Wish("ece").stamp("score"), "value": 1.0}
    assert record.settled(wishes)
    record.predictions = {"conditions": {"fog": 1, "snow": 1}}
    assert record.settled(wishes)
    record.predictions = {"conditions": {"fog": 2}}
    assert not record.settled(wishes)
    assert not Record("r", "failed").settled(Wishes())
    assert Record("r", "diverged").settled(wishes)


def test_facts_of_a_process_stand_as_long_as_something_of_it_is_left():
    record = Record("r")
    old, new = (record.note_maker({"device": device}) for device in ("cpu", "cuda"))
    assert record.note_maker({"device": "cpu"}) == old
    record.made_by["training"] = old
    record.scores["s"] = {"value": 1.0, "made_by": new}
    record.forget_makers()
    assert record.provenance == {old: {"device": "cpu"}, new: {"device": "cuda"}}
    del record.scores["s"]
    record.forget_makers()
    assert list(record.provenance) == [old]
