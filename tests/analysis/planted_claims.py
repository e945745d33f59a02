"""Studies with planted differences, and claims that they are to judge."""

from dataclasses import replace

import numpy as np
import pandas as pd
from tests.analysis.planted import planted

from sharpscope.analysis.claims import judge
from sharpscope.analysis.results import Quantity

LEVELS = ("baseline", "sam", "augmentation")
SHARP = Quantity("relative_flatness", "sharpness", "Relative flatness", sharper_is="larger", scale="ratio")
NORM = replace(SHARP, name="fisher_rao_norm", label="Fisher-Rao norm")
ECE = Quantity("ece", "score", "Calibration error", better="lower", scale="difference")
LOSSES = Quantity("train_loss", "training", "Train loss", scale="ratio")


def at(quantity, loss):
    return replace(quantity, name=f"{quantity.name}@{loss}", matched_loss=loss)


def calibrated(quantity):
    return replace(quantity, name=f"{quantity.name}~calibrated")


def study(columns, claim, *, seeds=10, seed=0, spread=0.1):
    """Return a study with planted differences to the baseline.

    Args:
        columns: For each quantity the differences of sam and augmentation: logarithms of factors of ratios.
        claim: What the study is to judge, without what every claim has.
        seeds: How many.
        seed: Of the noise.
        spread: Of the seeds' values around these.
    """
    rng = np.random.default_rng(seed)
    runs = [
        {"run_id": f"{level}-{s}", "state": "done", "regime": level, "seed": s}
        for level in LEVELS
        for s in range(seeds)
    ]
    ledger = pd.DataFrame(runs)
    ledger["train_loss"] = np.exp(0.3 * rng.standard_normal(len(ledger)))
    for quantity, effects in columns.items():
        moved = ledger["regime"].map(dict(zip(LEVELS, (0.0, *effects), strict=True)))
        values = 0.5 + moved + spread * rng.standard_normal(len(ledger))
        ledger[quantity.name] = np.exp(values) if quantity.scale == "ratio" else values
    told = {"name": "own.yaml", "title": "Own", "statement": "It is so.", "source": "a note", **claim}
    return planted("planted", ledger, (LOSSES, *columns), told, regimes=LEVELS, grid={"seed": list(range(seeds))})


def sharper(*quantities, levels=("sam",), **claim):
    prediction = {"levels": list(levels), "quantities": [q.name for q in quantities], "direction": "sharper"}
    return {"controls": ["loss"], "predictions": [prediction], **claim}


def verdict(columns, claim, **options):
    (found,) = judge(study(columns, claim, **options))
    return found.verdict


BIG = (0.5, 0.5)
NONE = (0.0, 0.0)
