"""What measures keep of a model for its twins: nothing of it is computed twice, and a resumed run has the same bits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from sharpscope.analysis.ledger import load_ledger
from sharpscope.complexity.input_derivatives import InputDerivatives
from sharpscope.spec import Run
from sharpscope.store.folder import Store
from sharpscope.study.planning.plan import Plan
from sharpscope.study.stages import measure
from sharpscope.study.work.stage import in_order
from sharpscope.study.work.timing import Timing

from .conftest import perform_all

MEASURES = {"input_jacobian_norm": {}, "geometric_complexity": {}, "margin": {}}


def planned(plan_of: Callable[..., Plan], *, twins: list[str]) -> Plan:
    return plan_of(
        data={"name": "circles", "samples": 100, "noise": 0.3},
        training={"epochs": 20, "batch_size": 16},
        regimes=["baseline"],
        grid={"seed": 1},
        measures=MEASURES,
        scores=["accuracy"],
        twins=twins,
    )


def test_a_twin_has_the_same_values_however_its_run_was_done(
    plan_of: Callable[..., Plan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pulls = []
    pull = InputDerivatives.pull

    def counted(self: InputDerivatives, cotangents: Tensor) -> Any:
        pulls.append(cotangents)
        return pull(self, cotangents)

    monkeypatch.setattr(InputDerivatives, "pull", counted)
    at_once, in_two = Store(tmp_path / "at-once"), Store(tmp_path / "in-two")
    whole, without = planned(plan_of, twins=["calibrated"]), planned(plan_of, twins=[])
    pulls.clear()
    perform_all(whole, at_once)
    assert len(pulls) == 2, "a row for each of two outputs, once for all measures, the model and its twin"
    perform_all(without, in_two)
    perform_all(whole, in_two)
    assert len(pulls) == 2 + 2 + 2
    first, second = (load_ledger(store.path).iloc[0] for store in (at_once, in_two))
    for key in (*MEASURES, *(f"{key}~calibrated" for key in MEASURES)):
        assert first[key] == second[key]
    assert first["geometric_complexity~calibrated"] != first["geometric_complexity"]


def test_a_model_is_not_measured_again_for_each_twin_where_nothing_is_kept(
    plan_of: Callable[..., Plan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Rows that are too large to be held.
    monkeypatch.setattr("sharpscope.complexity.jacobian_rows._HELD", 0)
    asked: list[tuple[Any, list[str]]] = []
    measured = measure._measured

    def watched(work: Any, snapshot: str, requested: Any) -> Any:
        asked.append((snapshot, list(requested)))
        return measured(work, snapshot, requested)

    monkeypatch.setattr(measure, "_measured", watched)
    perform_all(planned(plan_of, twins=["calibrated"]), Store(tmp_path / "out"))
    assert asked == [("end", list(MEASURES)), ("end~calibrated", list(MEASURES))]


def test_a_forecast_counts_for_a_twin_what_is_computed_for_it(
    plan_of: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = planned(plan_of, twins=["calibrated"])
    asked: list[list[str]] = []

    def watched(timing: Timing, run: Run, keys: Any) -> float:
        asked.append(list(keys))
        return 1.0

    monkeypatch.setattr(measure, "seconds_of", watched)
    (run,) = plan.runs.values()
    stage = next(stage for stage in in_order() if stage.name == measure.MEASURING)
    left = {snapshot: stages["measures"] for snapshot, stages in plan.wanted.snapshots.items() if "measures" in stages}
    assert stage.seconds(Timing(plan, "cpu"), run, left) == 2
    assert asked == [list(MEASURES), ["margin"]]
