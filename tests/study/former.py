"""Records and catalogs as schema 3 had them: what was found at the end beside what was found at each matched loss."""

from __future__ import annotations

from typing import Any

from sharpscope.store.snapshots import loss_of
from sharpscope.store.upgrade import FORMER

POINT = ("level", "check_loss_every", "epoch", "step", "loss")


def former_record(content: dict[str, Any]) -> dict[str, Any]:
    """Turn the content of a ``run.json`` into that of schema 3."""
    snapshots = content["snapshots"]
    end = snapshots.get("end", {})
    trained, predicted = end.get("training", {}), end.get("predictions", {}).get("predictions", {})
    makers = {"training": next(iter(trained.values()), {}).get("made_by"), "predictions": predicted.get("made_by")}
    conditions = end.get("predictions", {}).get("corruptions", {}).get("conditions", {})
    return {
        **{key: value for key, value in content.items() if key != "snapshots"},
        "schema": FORMER,
        "training": predicted.get("values", {}),
        "measures": end.get("measures", {}),
        "scores": end.get("scores", {}),
        "predictions": {"corruptions": conditions} if predicted else {},
        "made_by": {stage: name for stage, name in makers.items() if name is not None},
        "at_loss": {loss_of(name): _point(stages) for name, stages in snapshots.items() if loss_of(name)},
    }


def _point(stages: dict[str, Any]) -> dict[str, Any]:
    weights = stages["training"]["weights"]
    values = stages.get("predictions", {}).get("predictions", {}).get("values", {})
    return {**{key: weights[key] for key in POINT}, "training": values, "measures": stages.get("measures", {})}


def former_catalog(content: dict[str, Any]) -> dict[str, Any]:
    """Turn the content of a ``catalog.json`` into that of schema 3."""
    end = content["wanted"]["end"]
    matched = {loss_of(name): stages for name, stages in content["wanted"].items() if loss_of(name)}
    stamps = {level: stages["training"]["weights"] for level, stages in matched.items()}
    basics = [c["at"] for c in content["columns"] if c["at"] and c["at"][1] == "predictions"]
    return {
        **{key: value for key, value in content.items() if key not in ("wanted", "columns")},
        "schema": FORMER,
        "training": [at[-1] for at in basics if at[0] == "end"],
        "measures": end.get("measures", {}),
        "scores": end.get("scores", {}),
        "corruptions": end["predictions"].get("corruptions", {}).get("conditions", {}),
        "at_loss": ["step", "train_loss", "test_loss", "train_accuracy", "test_accuracy", "generalization_gap"],
        "levels": {level: stamp["level"] for level, stamp in stamps.items()},
        "check_loss_every": next((stamp["check_loss_every"] for stamp in stamps.values()), None),
    }
