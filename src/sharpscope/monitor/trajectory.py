"""What a monitor has seen, as a table."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sharpscope.curvature.estimate import Estimate
from sharpscope.errors import SharpscopeError
from sharpscope.extras import optional
from sharpscope.files import write_atomic

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class TrajectoryRow:
    """One measure at one step.

    Attributes:
        step: The step of the training.
        key: What the measure was asked for under.
        value: Its value; NaN where it failed.
        stderr: The standard error of the value for the samples watched, 0 where it is exact.
        converged: Whether the value can be relied on.
        seconds: How long all measures of this step took together.
        reason: Why there is no value, or none to rely on; empty where all is well.
    """

    step: int
    key: str
    value: float
    stderr: float
    converged: bool
    seconds: float
    reason: str = ""


class Trajectory:
    """Rows in the order they came."""

    def __init__(self) -> None:
        self.rows: list[TrajectoryRow] = []

    def add(self, step: int, found: Mapping[str, Estimate], failed: Mapping[str, str], seconds: float) -> None:
        """Take in what was found at a step, and what was not with the reason."""
        for key, e in found.items():
            reason = str(e.details.get("reason", ""))
            self.rows.append(TrajectoryRow(step, key, e.value, e.stderr, e.converged, seconds, reason))
        for key, reason in failed.items():
            self.rows.append(TrajectoryRow(step, key, math.nan, math.nan, False, seconds, reason))

    def to_frame(self, *, wide: bool = False) -> pd.DataFrame:
        """Return one row a step and measure; or, if ``wide``, one row a step, with ``key`` and ``key_stderr``."""
        pd = optional("pandas", "study", "a monitor's table", SharpscopeError)
        long = pd.DataFrame(
            [astuple(row) for row in self.rows], columns=[field.name for field in fields(TrajectoryRow)]
        )
        if not wide:
            return long
        table = long.drop_duplicates(["step", "key"], keep="last").pivot(index="step", columns="key")
        columns = {}
        for key in dict.fromkeys(long["key"]):
            columns[key] = table["value"][key]
            columns[f"{key}_stderr"] = table["stderr"][key]
        return pd.DataFrame(columns, index=table.index)

    def to_csv(self, path: str | Path, *, wide: bool = False) -> None:
        """Write the table as CSV, whole or not at all."""
        write_atomic(Path(path), self._flat(wide).to_csv(index=False, lineterminator="\n").encode())

    def to_parquet(self, path: str | Path, *, wide: bool = False) -> None:
        """Write the table as Parquet, whole or not at all."""
        optional("pyarrow", "study", "to_parquet", SharpscopeError)
        buffer = io.BytesIO()
        self._flat(wide).to_parquet(buffer, index=False)
        write_atomic(Path(path), buffer.getvalue())

    def _flat(self, wide: bool) -> pd.DataFrame:
        return self.to_frame(wide=True).reset_index() if wide else self.to_frame()

    def state_dict(self) -> list[tuple[Any, ...]]:
        """Return the rows as plain tuples."""
        return [astuple(row) for row in self.rows]

    def load_state_dict(self, state: list[tuple[Any, ...]]) -> None:
        """Hold these rows instead."""
        self.rows = [TrajectoryRow(*values) for values in state]
