"""Studies in which it is planted what sharpness comes from: all loss, all complexity, both, none."""

from dataclasses import replace

import numpy as np
from tests.analysis.conftest import synthetic
from tests.pages import with_few

FLATNESS, COMPLEXITY = "relative_flatness", "geometric_complexity"
FEW = (FLATNESS, COMPLEXITY, "train_loss", "ece", "test_accuracy")


def study(on_loss=1.0, on_complexity=0.0, on_level=0.0, noise=0.3, seeds=10, **varying):
    """A study whose log sharpness is a planted sum; loss and complexity go together within cells and between them."""
    results = with_few(synthetic(regimes=("baseline", "sam", "augmentation"), seeds=seeds, **varying), *FEW)
    rng, ledger = np.random.default_rng(0), results.ledger.copy()
    size = len(ledger)
    level = ledger["regime"].map({"baseline": 0.0, "sam": -1.0, "augmentation": 1.0}).to_numpy()
    shared = rng.normal(size=size) + 0.5 * level
    loss, complexity = (shared + rng.normal(size=size) for _ in range(2))
    luck = 0.5 * rng.normal(size=seeds)[ledger["seed"]]
    sharp = on_loss * loss + on_complexity * complexity + on_level * level + noise * rng.normal(size=size) + luck
    ledger[["train_loss", COMPLEXITY, FLATNESS]] = np.exp(np.stack([loss, complexity, sharp], axis=1))
    ratios = (FLATNESS, COMPLEXITY, "train_loss")
    quantities = {n: replace(q, scale="ratio") if n in ratios else q for n, q in results.quantities.items()}
    primary = {**results.study, "primary": [FLATNESS, "ece"]}
    return replace(results, ledger=ledger, quantities=quantities, study=primary)


def turned(results):
    """A study whose regimes move complexity so much that no test overlooks it."""
    level = results.ledger["regime"].map({"baseline": 0.0, "sam": -1.0, "augmentation": 1.0})
    function = results.ledger[COMPLEXITY] * np.exp(6 * level)
    return replace(results, ledger=results.ledger.assign(**{COMPLEXITY: function}))


def sharper(results):
    """A study whose regimes differ in sharpness too."""
    level = results.ledger["regime"].map({"baseline": 0.0, "sam": -1.0, "augmentation": 1.0})
    return replace(results, ledger=results.ledger.assign(**{FLATNESS: results.ledger[FLATNESS] * np.exp(9 * level)}))


def moved(results, steps):
    """A study whose complexity differs between levels by steps of its logarithm, beside small luck."""
    rng, ledger = np.random.default_rng(1), results.ledger
    level = ledger["regime"].map(dict(zip(("baseline", "sam", "augmentation"), steps, strict=True)))
    return replace(results, ledger=ledger.assign(**{COMPLEXITY: np.exp(level + 0.1 * rng.normal(size=len(ledger)))}))


def at_loss(results, **columns):
    """A study that was measured at train loss 0.1 too."""
    quantities = dict(results.quantities)
    for name in columns:
        quantities[f"{name}@0.1"] = replace(quantities[name], name=f"{name}@0.1", matched_loss="0.1")
    ledger = results.ledger.assign(**{f"{name}@0.1": values for name, values in columns.items()})
    return replace(results, ledger=ledger, quantities=quantities)
