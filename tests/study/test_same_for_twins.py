"""What is the same at any temperature is taken once, and stands for the twins too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sharpscope.analysis.ledger import load_ledger
from sharpscope.store.folder import Store
from sharpscope.study.planning.plan import Plan
from sharpscope.study.stages import measure

from .conftest import perform_all


def test_a_boundary_is_measured_once_for_a_snapshot_and_its_twins(
    plan_of: Callable[..., Plan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of(
        data={"name": "circles", "samples": 200, "noise": 0.3},
        training={"epochs": 20, "batch_size": 16},
        regimes=["baseline"],
        grid={"seed": 1},
        measures={"boundary_length": {"draws": 2, "lines": 4}, "linear_regions": {"segments": 3}, "margin": {}},
        scores=["accuracy"],
        twins=["calibrated"],
    )
    asked = []
    measured = measure.measure_clean

    def watched(model: Any, dataset: Any, requested: Any, *rest: Any, **options: Any) -> Any:
        asked.append(set(requested))
        return measured(model, dataset, requested, *rest, **options)

    monkeypatch.setattr(measure, "measure_clean", watched)
    store = Store(tmp_path / "out")
    (outcome,) = perform_all(plan, store)
    assert outcome.missing == {}
    assert asked == [{"boundary_length", "linear_regions", "margin"}, {"margin"}]
    row = load_ledger(store.path).iloc[0]
    assert row["boundary_length~calibrated"] == row["boundary_length"]
    assert row["boundary_length~calibrated_stderr"] == row["boundary_length_stderr"]
    assert row["linear_regions~calibrated"] == row["linear_regions"]
    assert row["margin~calibrated"] != row["margin"]
