"""A record reads back to the last bit, and says what of it answers a study."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from sharpscope.errors import SharpscopeError
from sharpscope.store.documents import content_of, document
from sharpscope.store.files import Damaged
from sharpscope.store.record import Record
from sharpscope.store.run_folder import RunFolder
from sharpscope.store.wanted import Wanted, answers


def test_a_record_reads_back_to_the_last_bit_and_is_valid_json():
    values = {"a": 0.1 + 0.2, "b": math.nan, "c": math.inf, "d": -math.inf, "e": 5e-324}
    record = Record("r", "done", coordinates={"regime": "NaN"})
    record.keep("end", "predictions", "predictions", {"values": values})
    text = record.to_json()
    json.loads(text, parse_constant=pytest.fail)
    again = Record.from_json(text, "r")
    np.testing.assert_equal(again.at("end", "predictions")["predictions"]["values"], values)
    assert again.coordinates == {"regime": "NaN"}


@pytest.mark.parametrize(
    "damage",
    [
        lambda t: t[: len(t) // 2],
        lambda t: b"",
        lambda t: b"[]",
        lambda t: t.replace(b'"r"', b'"s"'),
        lambda t: b"\xff",
        lambda t: t.replace(b'"snapshots": {}', b'"snapshots": null'),
        lambda t: t.replace(b'"snapshots": {}', b'"snapshots": {"end": {"scores": {"s": {"value": 1.0}}}}'),
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


@pytest.mark.parametrize(
    "entry",
    [
        {"value": None},
        {"value": "much"},
        {"value": 1.0, "stderr": []},
        {"value": 1.0, "converged": "yes"},
        {"reached": 2},
        {"epoch": "first"},
        {"values": {"train_loss": None}},
        {"conditions": 3},
        {"files": [1]},
        {"made_by": {}},
        [],
        None,
    ],
)
def test_a_sealed_record_whose_results_are_none_is_noticed(entry):
    record = Record("r", "done", snapshots={"end": {"any": {"key": entry}}})
    with pytest.raises(SharpscopeError, match="is damaged"):
        Record.from_json(record.to_json(), "r")


@pytest.mark.parametrize(("schema", "run_id"), [(1, "r"), (9, "r"), (4, "s")])
def test_a_record_of_another_schema_or_run_is_one_sentence(schema, run_id):
    content = document({**content_of(Record("r", "done").to_json()), "schema": schema})
    with pytest.raises(SharpscopeError, match=f"has schema {schema} and run r, not schema 4 and run {run_id}"):
        Record.from_json(content, run_id)


def test_a_value_of_other_options_or_another_version_is_no_answer():
    stamp = {"score": "ece", "options": {"bins": 15, "edges": [0, 1]}, "version": 2}
    stored = {**stamp, "value": 0.1}
    assert answers(stored, stamp)
    assert answers(json.loads(json.dumps(stored)), stamp)
    assert not answers({**stored, "version": 1}, stamp)
    assert not answers({**stored, "options": {"bins": 10}}, stamp)
    assert not answers({**stored, "score": "nll"}, stamp)
    assert not answers({**stored, "subset": 9}, stamp)
    assert not answers(None, stamp)


def test_predictions_may_hold_more_conditions_than_are_wanted_and_no_fewer():
    wanted = {"conditions": {"fog": 1}}
    assert answers({"conditions": {"fog": 1, "snow": 1}}, wanted)
    assert not answers({"conditions": {"fog": 2}}, wanted)
    assert not answers({}, wanted)


MEASURE, SCORE = {"measure": "margin", "version": 1}, {"score": "ece", "version": 1}
WANTED = Wanted(
    {
        "end": {"training": {"weights": {}}, "measures": {"m": MEASURE}, "scores": {"s": SCORE}},
        "loss-1": {"training": {"weights": {"level": 1.0, "check_loss_every": 2}}, "measures": {"m": MEASURE}},
    }
)


def test_what_is_left_to_do_of_a_run_is_one_question_for_all_snapshots_and_stages():
    record = Record("r", "done")
    assert record.left(WANTED) == WANTED.snapshots
    # Without weights, they are what is told.
    assert record.missing(WANTED) == ["weights", "weights@1"]
    record.keep("end", "training", "weights", {"files": []})
    record.keep("end", "measures", "m", {**MEASURE, "value": 1.0})
    assert record.missing(WANTED) == ["s", "weights@1"]
    record.keep("loss-1", "training", "weights", {"level": 1.0, "check_loss_every": 2})
    assert record.missing(WANTED) == ["s", "m@1"]
    # A moment that is matched less closely is another one, and what was found there no answer.
    record.keep("loss-1", "measures", "m", {**MEASURE, "value": 1.0})
    record.keep("loss-1", "training", "weights", {"level": 1.0, "check_loss_every": None})
    assert record.missing(WANTED) == ["s", "weights@1"]
    assert set(record.left(WANTED)["loss-1"]) == {"training", "measures"}
    assert not record.came_to("loss-1", WANTED)
    record.keep("loss-1", "training", "weights", {"level": 1.0, "check_loss_every": 2, "reached": False})
    assert record.missing(WANTED) == ["s"]
    assert not record.came_to("loss-1", WANTED)
    record.keep("end", "scores", "s", {**SCORE, "value": 1.0})
    assert record.settled(WANTED)
    assert not Record("r", "failed").settled(Wanted())
    assert Record("r", "diverged").settled(WANTED)


def test_a_result_whose_file_has_lost_its_seal_is_left_to_do():
    record = Record("r", "done", files={"a": {"bytes": 1, "blake2b": ""}})
    record.keep("end", "training", "weights", {})
    record.keep("end", "scores", "s", {**SCORE, "files": ["a"]})
    wanted = Wanted({"end": {"training": {"weights": {}}, "scores": {"s": SCORE}}})
    assert record.settled(wanted)
    assert record.needed_files() == {"a"}
    del record.files["a"]
    assert record.missing(wanted) == ["s"]


def test_facts_of_a_process_stand_as_long_as_something_of_it_is_left():
    record = Record("r")
    old, new = (record.note_maker({"device": device}) for device in ("cpu", "cuda"))
    assert record.note_maker({"device": "cpu"}) == old
    record.keep("end", "training", "weights", {"made_by": old})
    record.keep("end", "scores", "s", {"value": 1.0, "made_by": new})
    record.forget_unused()
    assert record.provenance == {old: {"device": "cpu"}, new: {"device": "cuda"}}
    del record.at("end", "scores")["s"]
    record.forget_unused()
    assert list(record.provenance) == [old]


def test_of_predictions_under_conditions_those_are_left_that_are_not_there():
    wanted = Wanted(
        {"end": {"training": {"weights": {}}, "predictions": {"under": {"conditions": {"fog": 1, "snow": 2}}}}}
    )
    record = Record("r", "done", files={"cases": {"bytes": 1, "blake2b": ""}})
    record.keep("end", "training", "weights", {"files": []})
    everything = wanted.snapshots["end"]["predictions"]["under"]
    assert record.left(wanted)["end"]["predictions"]["under"] == everything
    record.keep("end", "predictions", "under", {"conditions": {"fog": 1, "snow": 1, "rain": 1}, "files": ["cases"]})
    assert record.left(wanted)["end"]["predictions"]["under"] == {"conditions": {"snow": 2}}
    # Without the file, nothing is there.
    del record.files["cases"]
    assert record.left(wanted)["end"]["predictions"]["under"] == everything
