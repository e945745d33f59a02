"""A factor of one's own, from a study to its report: an option of a dataset or of a regime that a plugin brings."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

from sharpscope.analysis.comparisons import comparisons_table
from sharpscope.analysis.ledger import load_ledger, load_results
from sharpscope.cli import run_command
from sharpscope.data import DATASETS
from sharpscope.errors import SpecError
from sharpscope.store.folder import Store
from sharpscope.store.pairs import update_pairs
from sharpscope.study.planning.plan import make_plan
from sharpscope.study.source.study import load_source
from sharpscope.training import REGIMES

from .conftest import perform_all

PLUGIN = '''
from dataclasses import replace

import torch
from sharpscope.extend import DATASETS, REGIMES, Dataset


@DATASETS.register()
def steps(source, *, height: float = 1.0):
    """Two classes of numbers that lie a step apart."""
    inputs = torch.linspace(-1, 1, 40)[:, None] + height * (torch.arange(40) % 2)[:, None]
    targets = torch.arange(40) % 2
    return Dataset("steps", inputs, targets, inputs, targets, ("low", "high"), (0.0,), (1.0,))


@REGIMES.register()
def slower(recipe, *, times: float):
    """A smaller learning rate."""
    return replace(recipe, lr=recipe.lr / times)
'''


@pytest.fixture(autouse=True)
def own_registries(monkeypatch):
    for registry in (DATASETS, REGIMES):
        len(registry)
        monkeypatch.setattr(registry, "_entries", dict(registry._entries))


@pytest.fixture
def done(study_file, tmp_path):
    """Do all runs of a study with the plugin, and return its folder."""
    (tmp_path / "mine.py").write_text(PLUGIN)

    def run(**changes):
        changes = {"data": "steps", "plugins": ["mine.py"], "scores": ["ece", "prediction_disagreement"], **changes}
        store = Store(tmp_path / "out")
        outcomes = perform_all(make_plan(load_source(str(study_file(**changes)))), store)
        assert {outcome.state for outcome in outcomes} == {"done"}
        update_pairs(store)
        return store.path

    return run


def test_an_option_of_a_dataset_is_compared(done, capsys):
    grid = {"seed": 3, "data.height": [1.0, 0.1, 3.0]}
    folder = done(regimes=["baseline"], grid=grid, compare="data.height", sections=["levels"])
    results = load_results(folder)
    factor = results.factor
    assert (factor.name, factor.levels, factor.reference, factor.ordered) == (
        *("data.height", ("1", "0.1", "3")),
        *("1", True),
    )
    ledger = load_ledger(folder)
    assert list(ledger.columns[:5]) == ["run_id", "state", "regime", "seed", "data.height"]
    tests = comparisons_table(results)
    flatness = ledger.pivot(index="seed", columns="data.height", values="relative_flatness")
    row = tests[(tests["data.height"] == "3") & (tests["quantity"] == "relative_flatness")].iloc[0]
    assert row["scale"] == "ratio"
    assert row["mean_difference"] == pytest.approx(np.exp(np.log(flatness[3.0] / flatness[1.0]).mean()))
    # Pairs are of the seeds of one level.
    assert len(results.pairs) == 3 * 3
    assert run_command(["report", str(folder)]) == 0
    page = (folder / "report.html").read_text("utf-8")
    assert "Levels of data.height" in page
    assert "differs from data.height 1 significantly" in page
    assert list(pd.read_csv(folder / "tables" / "levels.csv").columns[:3]) == ["quantity", "kind", "data.height"]


def test_an_option_of_a_regime_is_compared_with_what_has_none(done):
    grid = {"seed": 2, "regimes.slower.times": [2.0, 8.0], "training.batch_size": [8, 16]}
    folder = done(regimes=["baseline", "slower"], grid=grid, compare={"factor": "regimes.slower.times"})
    ledger = load_ledger(folder)
    assert len(ledger) == 2 * 2 * 3
    assert set(ledger["regime"]) == {"baseline", "slower"}
    assert ledger["regimes.slower.times"].isna().equals(ledger["regime"] == "baseline")
    results = load_results(folder)
    assert (results.levels, results.keys) == (["no slower", "2", "8"], ["training.batch_size"])
    tests = comparisons_table(results)
    row = tests.query("quantity == 'train_loss' and `training.batch_size` == 16").iloc[-1]
    of_group = ledger[ledger["training.batch_size"] == 16].set_index("seed")
    slowest = of_group.loc[of_group["regimes.slower.times"] == 8, "train_loss"]
    alone = of_group.loc[of_group["regime"] == "baseline", "train_loss"]
    assert row["regimes.slower.times"] == "8"
    assert row["mean_difference"] == pytest.approx(np.exp(np.log(slowest / alone).mean()))
    # What the study says in full is the same study.
    again = make_plan(load_source(str(folder / "study.yaml")))
    assert set(again.runs) == set(ledger["run_id"])
    assert again.study.factor == results.factor
    assert "times" not in again.study.regimes[1].model_dump()["slower"]


def test_a_wrong_factor_is_told_with_its_place(study_file):
    grid = {"seed": 2, "training.lr": [0.1, 0.2]}
    for compare, place, message in [
        ("training.lrs", "line 27", "did you mean 'training.lr'?"),
        ({"factor": "training.lr", "reference": 0.3}, "line 29", "0.3 is no level of training.lr"),
    ]:
        with pytest.raises(SpecError, match=f"tiny.yaml, {place}: .*{re.escape(message)}"):
            make_plan(load_source(str(study_file(grid=grid, compare=compare))))


def test_what_is_compared_is_extended_like_a_component(study_file, tmp_path):
    study_file(grid={"seed": 2, "training.lr": [0.1, 0.2], "training.epochs": [1, 2]}, compare="training.lr")
    extending = tmp_path / "extending.yaml"

    def compared(text):
        extending.write_text(f"extends: tiny.yaml\n{text}")
        found = load_source(str(extending)).study.factor
        return found.name, found.reference, found.ordered

    assert compared("name: again") == ("training.lr", "0.1", True)
    assert compared("compare: {reference: 0.2, ordered: false}") == ("training.lr", "0.2", False)
    assert compared("compare: {factor: training.epochs}") == ("training.epochs", "1", True)
    assert compared("compare: regime") == ("regime", "baseline", False)
    study_file(grid={"seed": 2, "training.lr": [1, 2]}, compare={"factor": "training.lr", "reference": 2})
    assert compared("compare: {factor: regime}") == ("regime", "baseline", False)


def test_a_plan_tells_what_is_compared_and_how_many_regimes_there_are(study_file, capsys):
    grid = {"seed": 2, "regimes.sam.rho": [0.1, 0.2], "training.lr": [0.1, 0.2]}
    path = str(study_file(regimes=["baseline", "sam"], grid=grid, compare="regimes.sam.rho", scores=["ece"]))
    assert run_command(["plan", path]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "tiny: 12 runs = 3 regimes with their options x 2 training.lr x 2 seeds"
    assert "  compared with no sam: regimes.sam.rho 0.1 and 0.2" in lines
    assert run_command(["plan", path, "--set", "compare=regime"]) == 0
    assert "compared with" not in capsys.readouterr().out
