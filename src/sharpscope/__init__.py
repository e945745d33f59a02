"""Measure what the sharpness of a minimum means.

Attributes are imported when they are first used, so that ``import sharpscope`` does not load torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from sharpscope import errors
from sharpscope.extras import require_study
from sharpscope.lazy import lazily

__version__ = "0.1.0"
__all__ = ["Estimate", "Measurements", "SharpnessMonitor", "errors", "load_ledger", "measure"]

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from sharpscope.curvature.estimate import Estimate
    from sharpscope.measurement import Measurements, measure
    from sharpscope.monitor import SharpnessMonitor
else:
    __getattr__, __dir__ = lazily(
        __name__,
        {
            "sharpscope.curvature.estimate": ("Estimate",),
            "sharpscope.measurement": ("Measurements", "measure"),
            "sharpscope.monitor": ("SharpnessMonitor",),
        },
    )


def load_ledger(study_dir: str | Path) -> pd.DataFrame:
    """Return the ledger of a study: one row a run that has ended, in the order of its grid.

    A run that failed or diverged has NaN in its measured columns, and so has an estimate that another definition or
    other options made.

    Args:
        study_dir: The folder of the study, the ``--out`` of its run.

    Raises:
        SharpscopeError: If it is no such folder, or the extra "study" is not installed.
    """
    require_study("load_ledger")
    # By its name, since what it is made of may import this module.
    return import_module("sharpscope.analysis.ledger").load_ledger(study_dir)
