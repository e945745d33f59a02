"""Records and catalogs of former schemas, turned into the present form as they are read.

Schema 3 had what was found at the end of the training beside what was found at each matched loss; schema 2 was the same
before files had seals, see ``before_seals``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sharpscope.store.snapshots import END, STEP, column, snapshot_at, weights_file

SCHEMA = 4
FORMER = 3
BEFORE_SEALS = 2

Json = dict[str, Any]

_HISTORY = "history.parquet"
_PREDICTIONS = "predictions.safetensors"


def upgraded_record(content: Mapping[str, Any]) -> Json:
    """Return the content of a ``run.json`` in the present form.

    Raises:
        KeyError: If it is not what its schema says; or ``TypeError``, ``ValueError`` or ``AttributeError``.
    """
    if content["schema"] not in (FORMER, BEFORE_SEALS):
        return {**content}
    moved = ("training", "measures", "scores", "at_loss", "predictions", "made_by")
    kept = {key: value for key, value in content.items() if key not in moved}
    found = {END: _end(content)}
    found |= {snapshot_at(level): _at_loss(level, point, content) for level, point in content["at_loss"].items()}
    snapshots = {name: {stage: keys for stage, keys in stages.items() if keys} for name, stages in found.items()}
    return {**kept, "schema": SCHEMA, "snapshots": {name: stages for name, stages in snapshots.items() if stages}}


def _end(content: Mapping[str, Any]) -> Json:
    # What is unpacked is known to be a mapping: before there were seals, anything could stand in a file.
    made_by, files = {**content["made_by"]}, _present(content, weights_file(END), _HISTORY)
    found: Json = {"training": {}, "predictions": {}}
    found |= {stage: {**content[stage]} for stage in ("measures", "scores")}
    if weights_file(END) in files:
        found["training"]["weights"] = {**_maker(made_by, "training"), "reached": True, "files": files}
    elif files:
        found["training"]["history"] = {**_maker(made_by, "training"), "files": files}
    if values := {**content["training"]}:
        maker, predicted = _maker(made_by, "predictions"), _present(content, _PREDICTIONS)
        found["predictions"]["predictions"] = {**maker, "values": values, "files": predicted}
        conditions = content["predictions"]["corruptions"]
        if conditions:
            found["predictions"]["corruptions"] = {**maker, "conditions": conditions}
    return found


def _at_loss(level: str, point: Mapping[str, Any], content: Mapping[str, Any]) -> Json:
    found: Json = {"training": {}, "predictions": {}, "measures": {**point["measures"]}}
    found["training"]["weights"] = {
        **_maker(content["made_by"], "training"),
        **{key: point.get(key) for key in ("level", "check_loss_every", "epoch", STEP, "loss")},
        "reached": point["epoch"] is not None,
        "files": _present(content, weights_file(snapshot_at(level))),
    }
    if values := {**point["training"]}:
        found["predictions"]["predictions"] = {"values": values, "files": []}
    return found


def _maker(made_by: Mapping[str, str], stage: str) -> Json:
    return {"made_by": made_by[stage]} if stage in made_by else {}


def _present(content: Mapping[str, Any], *names: str) -> list[str]:
    return [name for name in names if name in content["files"]]


def upgraded_catalog(content: Mapping[str, Any]) -> Json:
    """Return the content of a ``catalog.json`` in the present form.

    Raises:
        KeyError: If it is not what its schema says; or ``TypeError``, ``ValueError`` or ``AttributeError``.
    """
    if content.get("schema") != FORMER:
        return {**content}
    moved = ("training", "measures", "scores", "at_loss", "corruptions", "levels", "check_loss_every")
    kept = {key: value for key, value in content.items() if key not in moved}
    wanted = {END: _wanted_at_end(content)}
    for level, loss in content["levels"].items():
        weights = {"level": loss, "check_loss_every": content["check_loss_every"]}
        stages = {"training": {"weights": weights}, "predictions": {"predictions": {}}, "measures": content["measures"]}
        wanted[snapshot_at(level)] = {stage: keys for stage, keys in stages.items() if keys}
    return {**kept, "schema": SCHEMA, "wanted": wanted, "columns": list(_columns(content))}


def _wanted_at_end(content: Mapping[str, Any]) -> Json:
    conditions = {**content["corruptions"]}
    predictions = {"predictions": {}, **({"corruptions": {"conditions": conditions}} if conditions else {})}
    stages = {"predictions": predictions, "measures": content["measures"], "scores": content["scores"]}
    return {"training": {"weights": {}}, **{stage: keys for stage, keys in stages.items() if keys}}


def _columns(content: Mapping[str, Any]) -> Iterator[Json]:
    yield from (_basic(name, END) for name in content["training"])
    yield from _estimates(content, END)
    yield from ({"name": key, "at": [END, "scores", key, "value"], "type": "float"} for key in content["scores"])
    yield from ({"name": key, "at": None, "type": "float"} for key in content["pair_scores"])
    for snapshot in map(snapshot_at, content["levels"]):
        for name in content["at_loss"]:
            if name == STEP:
                yield {"name": column(STEP, snapshot), "at": [snapshot, "training", "weights", STEP], "type": "float"}
            else:
                yield _basic(name, snapshot)
        yield from _estimates(content, snapshot)


def _basic(name: str, snapshot: str) -> Json:
    at = [snapshot, "predictions", "predictions", "values", name]
    return {"name": column(name, snapshot), "at": at, "type": "float"}


def _estimates(content: Mapping[str, Any], snapshot: str) -> Iterator[Json]:
    for key in content["measures"]:
        for part, suffix, kind in (
            ("value", "", "float"),
            ("stderr", "_stderr", "float"),
            ("converged", "_converged", "boolean"),
        ):
            yield {"name": f"{column(key, snapshot)}{suffix}", "at": [snapshot, "measures", key, part], "type": kind}
