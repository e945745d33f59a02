"""A study with plausible numbers, made without training anything."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax
from tests.pages import with_few, write_page

from sharpscope.analysis.comparisons import comparisons_table
from sharpscope.analysis.conditions import COLUMNS as CONDITION_COLUMNS
from sharpscope.analysis.contrasts import contrasts_table
from sharpscope.analysis.correlations import correlations_table
from sharpscope.analysis.ledger import BIN_COLUMNS, CONFIDENCE_COLUMNS
from sharpscope.analysis.report import write_report
from sharpscope.analysis.results import MEASURES, Quantity, StudyResults
from sharpscope.safety import Split
from sharpscope.safety.diagram import BINS, diagram

REGIMES = ("baseline", "sam", "augmentation", "augmentation+sam", "weight_decay", "weight_decay+sam")

# How far each regime moves from baseline, in units of the seeds' standard deviation.
_SHARPER = dict(zip(REGIMES, (0.0, 1.4, 2.6, 3.4, 0.1, 1.2), strict=True))
_SAFER = dict(zip(REGIMES, (0.0, 0.9, 2.2, 2.9, 0.1, 0.8), strict=True))

QUANTITIES = (
    Quantity("train_loss", "training", "Train loss", unit="nats", summary="Mean loss on clean training data"),
    Quantity("test_loss", "training", "Test loss", unit="nats"),
    Quantity("train_accuracy", "training", "Train accuracy", unit="fraction"),
    Quantity("test_accuracy", "score", "Test accuracy", better="higher", unit="fraction"),
    Quantity("generalization_gap", "score", "Generalization gap", better="lower", unit="fraction"),
    Quantity("ece", "score", "Expected calibration error", better="lower", unit="fraction"),
    Quantity("nll", "score", "Negative log-likelihood", better="lower", unit="nats"),
    Quantity("brier", "score", "Brier score", better="lower"),
    Quantity("corruption_accuracy", "score", "Corruption accuracy", better="higher", unit="fraction"),
    Quantity("prediction_disagreement", "score", "Prediction disagreement", better="lower", unit="fraction"),
    Quantity(
        "relative_flatness",
        "sharpness",
        "Relative flatness",
        sharper_is="larger",
        symbol=r"\kappa",
        summary="Curvature of the head weighed by its weights",
        reference="Petzka et al., NeurIPS 2021",
        caveats=("Scales with confidence: temperature moves it at unchanged predictions.",),
    ),
    Quantity("fisher_rao_norm", "sharpness", "Fisher–Rao norm", sharper_is="larger"),
    Quantity("fisher_rao_norm_analytic", "sharpness", "Fisher–Rao norm, analytic", sharper_is="larger"),
    Quantity(
        "sam_sharpness",
        "sharpness",
        "SAM sharpness",
        sharper_is="larger",
        caveats=("For small rho it is the gradient norm.",),
    ),
    Quantity("geometric_complexity", "complexity", "Geometric complexity", sharper_is="larger"),
    Quantity("gradient_norm", "control", "Gradient norm"),
    Quantity("parameter_norm", "control", "Parameter norm"),
    Quantity("head_norm", "control", "Head norm"),
    Quantity("margin", "control", "Margin"),
)

_CENTERS = {
    "train_loss": (0.012, 0.003, 0.009),
    "test_accuracy": (0.942, 0.006, 0.008),
    "ece": (0.026, 0.004, -0.004),
    "nll": (0.21, 0.02, -0.02),
    "brier": (0.09, 0.008, -0.008),
    "corruption_accuracy": (0.71, 0.012, 0.03),
    "relative_flatness": (2.2, 0.5, 0.9),
    "fisher_rao_norm": (0.11, 0.02, 0.04),
    "fisher_rao_norm_analytic": (0.9, 0.15, 0.3),
    "sam_sharpness": (0.0031, 0.0006, 0.0008),
    "gradient_norm": (0.02, 0.006, 0.008),
    "parameter_norm": (24.0, 0.2, -0.1),
    "head_norm": (3.1, 0.08, 0.05),
    "margin": (4.2, 0.4, -0.5),
}
_SAFETY = {"test_accuracy", "ece", "nll", "brier", "corruption_accuracy"}


def _run(rng: np.random.Generator, regime: str, seed: int, luck: float) -> dict[str, object]:
    row: dict[str, object] = {"run_id": f"{regime}-{seed:02d}", "state": "done", "regime": regime, "seed": seed}
    for name, (center, spread, shift) in _CENTERS.items():
        moved = (_SAFER if name in _SAFETY else _SHARPER).get(regime, 0.0)
        sign = 1 if shift > 0 else -1
        value = center + shift * moved + spread * (0.5 * sign * luck + 0.85 * rng.standard_normal())
        row[name] = max(value, center / 20)
    row["test_accuracy"] = round(min(float(row["test_accuracy"]), 0.99) * 500) / 500
    row["train_accuracy"] = 1.0 - float(row["train_loss"]) / 10
    row["test_loss"] = row["nll"]
    row["geometric_complexity"] = 100 * float(row["fisher_rao_norm"])
    row["generalization_gap"] = float(row["train_accuracy"]) - float(row["test_accuracy"])
    row["relative_flatness_stderr"] = 0.0
    return row


def _diagram(rng: np.random.Generator, run: dict[str, object]) -> dict[str, Any]:
    """Return what is kept of a run's reliability, of predictions that are too sure by about its error."""
    logits = 4.0 * rng.standard_normal((500, 10))
    probabilities = softmax(logits / (1 + 10 * float(run["ece"])), axis=1).cumsum(axis=1)
    targets = (rng.random((500, 1)) > probabilities[:, :-1]).sum(axis=1)
    return diagram(Split(logits, targets))


def _bins(found: dict[str, Any]) -> list[dict[str, object]]:
    return [{"bin": k, **{name: column[k] for name, column in found["bins"].items()}} for k in range(BINS)]


def _pairs(rng: np.random.Generator, regime: str, seeds: int) -> list[dict[str, object]]:
    effects = 0.006 * rng.standard_normal(seeds)
    center = 0.065 - 0.009 * _SAFER.get(regime, 0.0)
    return [
        {
            "regime": regime,
            "seed_a": a,
            "seed_b": b,
            "prediction_disagreement": max(0.0, center + effects[a] + effects[b] + 0.004 * rng.standard_normal()),
        }
        for a in range(seeds)
        for b in range(a + 1, seeds)
    ]


# What a study with matched train losses is about here: fewer panels are drawn sooner.
_AT_END = ("generalization_gap", "ece")
_AT_LEVELS = ("train_loss", "test_accuracy", "relative_flatness", "sam_sharpness", "gradient_norm")


def with_levels(results: StudyResults, *levels: str) -> StudyResults:
    """Return a study that was measured at matched train losses too, where measures are larger and differ less."""
    rng = np.random.default_rng(1)
    quantities = {name: q for name, q in results.quantities.items() if name in (*_AT_END, *_AT_LEVELS)}
    ledger = results.ledger.copy()
    for level in levels:
        for key in _AT_LEVELS:
            facts, name = results.quantities[key], f"{key}@{level}"
            label = f"{facts.label} at train loss {level}"
            quantities[name] = replace(facts, name=name, label=label, matched_loss=level, better=None)
            ledger[name] = 20 * ledger[key] ** 0.5
        step = Quantity(f"step@{level}", "training", f"Steps at train loss {level}", unit="steps", matched_loss=level)
        quantities[step.name] = step
        ledger[step.name] = (100 / float(level) + ledger["seed"]).where(ledger["state"] == "done")
        ledger[f"train_loss@{level}"] = (float(level) * rng.uniform(0.7, 1, len(ledger))) + 0 * ledger["train_loss"]
    return replace(results, quantities=quantities, ledger=ledger)


def with_twins(results: StudyResults, twin: str, changed: dict[str, pd.Series]) -> StudyResults:
    """Return a study with a twin of each model, by the columns that it has."""
    quantities, ledger = dict(results.quantities), results.ledger.copy()
    for key, values in changed.items():
        facts, name = results.quantities[key], f"{key}~{twin}"
        quantities[name] = replace(facts, name=name, label=f"{facts.label}, {twin.replace('_', ' ')}", twin=twin)
        ledger[name] = values
    return replace(results, quantities=quantities, ledger=ledger)


def with_pairs_across(results: StudyResults, **scores: float) -> StudyResults:
    """Return a study with scores of pairs of different levels, least apart for the same seed.

    Args:
        results: With ``prediction_disagreement`` within levels.
        scores: Further ones, with about what they are within levels.
    """
    rng = np.random.default_rng(3)
    pairs, quantities = results.pairs.copy(), dict(results.quantities)
    for name, center in scores.items():
        pairs[name] = center + 0.05 * center * rng.standard_normal(len(pairs))
        quantities[name] = Quantity(name, "score", name.replace("_", " ").capitalize(), better="lower")
    ledger = results.ledger.assign(**scores)
    keys = [key for key in results.study["grid"] if key != "seed"]
    rows = []
    for _, cell in (
        ledger[ledger["state"] == "done"].groupby(keys) if keys else [((), ledger[ledger["state"] == "done"])]
    ):
        seeds = sorted(cell["seed"].unique())
        for first, second in itertools.permutations(cell.to_dict("records"), 2):
            away = (seeds.index(first["seed"]) - seeds.index(second["seed"])) % len(seeds)
            in_order = list(results.levels).index(first["regime"]) < list(results.levels).index(second["regime"])
            if in_order and away in (0, 1, len(seeds) - 1):
                far = 0.8 if first["seed"] == second["seed"] else 1.2
                centers = {"prediction_disagreement": 0.06, **scores}
                found = {name: far * center * rng.uniform(0.9, 1.1) for name, center in centers.items()}
                rows.append({"run_a": first["run_id"], "run_b": second["run_id"], **found})
    return replace(results, pairs=pairs, quantities=quantities, ledger=ledger, pairs_across=pd.DataFrame(rows))


CORRUPTIONS = {
    "fog": "weather",
    "snow": "weather",
    "shot_noise": "noise",
    "defocus_blur": "blur",
    "elastic_transform": "digital",
}
SEVERITIES = {**dict.fromkeys(CORRUPTIONS, (1, 2, 3, 4, 5)), "quantized": (8, 4, 3)}


def with_conditions(results: StudyResults) -> StudyResults:
    """Return a study that was tested under corruptions and with rounded weights, where safer regimes lose less."""
    rng = np.random.default_rng(2)
    keys = [key for key in results.study["grid"] if key != "seed"]
    rows: list[dict[str, object]] = []
    for run in results.ledger[results.ledger["state"] == "done"].to_dict("records"):
        key = {**{name: run[name] for name in ("run_id", "regime", "seed", *keys)}, "samples": 500}
        clean = {"condition": "clean", "kind": "clean", "family": "", "severity": 0, "accuracy": run["test_accuracy"]}
        rows.append({**key, **clean, "like": False})
        for name, severities in SEVERITIES.items():
            for step, severity in enumerate(severities):
                lost = 0.04 * (step + 1) * (1 - 0.2 * _SAFER.get(run["regime"], 0.0)) + 0.005 * rng.standard_normal()
                kind = "inputs" if name in CORRUPTIONS else "weights"
                told = {"condition": name, "kind": kind, "family": CORRUPTIONS.get(name, "quantization")}
                like = name == "elastic_transform" and "augmentation" in run["regime"]
                found = {**told, "severity": severity, "accuracy": run["test_accuracy"] - lost, "like": like}
                rows.append({**key, **found})
    table = pd.DataFrame(rows, columns=["regime", *keys, "seed", "run_id", *CONDITION_COLUMNS])
    return replace(results, conditions=table)


def synthetic(
    regimes: tuple[str, ...] = REGIMES, seeds: int = 10, failed: int = 0, **varying: list[float]
) -> StudyResults:
    """Return the results of a study; ``varying`` are further keys with their values (``__`` for the dot)."""
    rng = np.random.default_rng(0)
    keys = {key.replace("__", "."): values for key, values in varying.items()}
    cells = [{}] if not keys else [{k: v} for k, values in keys.items() for v in values]
    runs, pairs, reliability, confidence = [], [], [], []
    outcomes = np.random.default_rng(1)
    for cell in cells:
        luck = rng.standard_normal(seeds)
        for regime in regimes:
            of_cell = [{**_run(rng, regime, s, luck[s]), **cell} for s in range(seeds)]
            suffix = "".join(f"-{value}" for value in cell.values())
            for run in of_cell:
                run["run_id"] = f"{run['run_id']}{suffix}"
                found = _diagram(outcomes, run)
                key = {**{k: run[k] for k in ("run_id", "regime", "seed")}, **cell}
                reliability += [{**key, **row} for row in _bins(found)]
                confidence.append({**key, **found["values"], "doubt": found["doubt"]})
            runs += of_cell
            pairs += [{**row, **cell} for row in _pairs(rng, regime, seeds)]
    ledger = pd.DataFrame(runs)
    pair_columns = [*keys, "regime", "seed_a", "seed_b", "prediction_disagreement"]
    pair_table = pd.DataFrame(pairs, columns=pair_columns)
    ledger["prediction_disagreement"] = [
        pair_table.loc[
            (pair_table["regime"] == run["regime"])
            & ((pair_table["seed_a"] == run["seed"]) | (pair_table["seed_b"] == run["seed"])),
            "prediction_disagreement",
        ].mean()
        for run in runs
    ]
    measured = [q.name for q in QUANTITIES]
    lost = ledger.index[len(ledger) - failed :]
    ledger.loc[lost, [*measured, "relative_flatness_stderr"]] = np.nan
    ledger.loc[lost, "state"] = "diverged"
    gone = set(ledger.loc[lost, "run_id"])
    failures = ledger.loc[lost, ["run_id", "regime", "seed", "state"]].assign(reason="train loss became NaN in epoch 3")
    if lost.size == len(ledger):
        pair_table = pair_table.iloc[:0]
    return StudyResults(
        study={
            "name": "digits",
            "data": {"name": "digits", "train_size": 500},
            "model": {"name": "resnet8"},
            "training": {"optimizer": "sgd", "lr": 0.05, "momentum": 0.9, "batch_size": 64, "epochs": 30},
            "regimes": [{"label": regime} for regime in regimes],
            "grid": {"seed": seeds, **keys},
            "measures": {q.name: {} for q in QUANTITIES if q.kind in MEASURES},
            "scores": {q.name: {} for q in QUANTITIES if q.kind == "score"},
            "primary": ["relative_flatness", "fisher_rao_norm", "test_accuracy", "ece", "corruption_accuracy"],
        },
        quantities={q.name: q for q in QUANTITIES},
        ledger=ledger[["run_id", "state", "regime", "seed", *keys, *measured, "relative_flatness_stderr"]],
        pairs=pair_table,
        reliability=pd.DataFrame(
            [row for row in reliability if row["run_id"] not in gone],
            columns=["regime", *keys, "seed", "run_id", *BIN_COLUMNS],
        ),
        confidence=pd.DataFrame(
            [row for row in confidence if row["run_id"] not in gone],
            columns=["regime", *keys, "seed", "run_id", *CONFIDENCE_COLUMNS],
        ),
        failures=failures,
        provenance={
            "command": "sharpscope run digits",
            "sharpscope": "0.1.0",
            "torch": "2.13.0",
            "platform": "Linux x86_64",
        },
    )


# A few quantities of every kind.
FEW = (
    *("train_loss", "test_accuracy", "generalization_gap", "ece", "prediction_disagreement"),
    *("relative_flatness", "sam_sharpness", "geometric_complexity", "gradient_norm"),
)


def reported() -> StudyResults:
    """Return a study of four seeds, one run of which diverged."""
    return with_few(synthetic(seeds=4, failed=1), *FEW)


@pytest.fixture(scope="session")
def make_results() -> Callable[..., StudyResults]:
    return synthetic


@pytest.fixture(scope="session")
def at_levels() -> Callable[..., StudyResults]:
    return with_levels


@pytest.fixture(scope="session")
def results() -> StudyResults:
    return synthetic()


@pytest.fixture(scope="session")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a study of four seeds, one run of which diverged."""
    return write_report(reported(), tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="session")
def matched(results: StudyResults) -> StudyResults:
    """A study with matched train losses, the smaller of which weight decay alone never reached."""
    found = with_levels(results, "0.5", "0.1")
    columns = [name for name in found.quantities if name.endswith("@0.1")]
    found.ledger.loc[found.ledger["regime"] == "weight_decay", columns] = np.nan
    return found


@pytest.fixture(scope="session")
def matched_report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page and tables of a study of four seeds with a matched train loss, one run of which diverged."""
    return write_page(with_levels(synthetic(seeds=4, failed=1), "0.1"), tmp_path_factory.mktemp("matched"))


@pytest.fixture(scope="session")
def comparisons(results: StudyResults) -> pd.DataFrame:
    return comparisons_table(results)


@pytest.fixture(scope="session")
def contrasts(results: StudyResults) -> pd.DataFrame:
    return contrasts_table(results)


@pytest.fixture(scope="session")
def correlations(results: StudyResults) -> pd.DataFrame:
    return correlations_table(results)
