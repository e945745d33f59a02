"""``sharpscope power`` on the command line."""

import json
import re
import sys

import pytest

import sharpscope.analysis.ledger
from sharpscope.cli import run_command
from tests.analysis.conftest import synthetic


def test_it_prints_a_line_a_test_with_a_column_a_number_of_seeds(monkeypatch, capsys):
    results = synthetic(regimes=("baseline", "sam"), seeds=6)
    results.study.update(margin={"ece": 0.004, "nll": 0.1}, primary=["ece", "test_accuracy"])
    monkeypatch.setattr(sharpscope.analysis.ledger, "load_results", lambda directory: results)
    assert run_command(["power", "any"]) == 0
    header, *rows = (line.split("\t") for line in capsys.readouterr().out.splitlines())
    assert header[:4] == ["quantity", "regime", "told", "n=5"]
    told = {row[0]: row[2:] for row in rows}
    assert set(told) == set(results.primary)
    assert told["ece"][0] == "power to see 0.0040"
    assert told["test_accuracy"][:2] == ["smallest seen", "none"]
    assert run_command(["power", "any", "--effect", "test_accuracy=0.01", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {row["effect"] for row in found if row["quantity"] == "test_accuracy"} == {0.01}
    assert run_command(["power", "any", "--effect", "ece"]) == 2
    assert "--effect is QUANTITY=SIZE" in capsys.readouterr().err


@pytest.mark.parametrize("columns", [40, 80, 300])
def test_no_number_is_cut_on_a_terminal(monkeypatch, capsys, columns):
    results = synthetic(regimes=("baseline", "sam"), seeds=6)
    results.study.update(margin={}, primary=["ece", "test_accuracy"])
    monkeypatch.setattr(sharpscope.analysis.ledger, "load_results", lambda directory: results)
    assert run_command(["power", "any"]) == 0
    _, *rows = (line.split("\t") for line in capsys.readouterr().out.splitlines())
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert run_command(["power", "any"]) == 0
    shown = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    assert "…" not in shown
    assert max(map(len, shown.splitlines())) <= columns
    for quantity, level, _, *cells in rows:
        assert quantity in shown
        assert level in shown
        in_order = ".*?".join(re.escape(cell) for cell in cells)
        assert re.search(in_order, shown, re.DOTALL), shown


def test_a_test_whose_seeds_are_alike_says_so(monkeypatch, capsys):
    results = synthetic(regimes=("baseline", "sam"), seeds=6)
    results.study.update(margin={}, primary=["ece", "test_accuracy"])
    results.runs["test_accuracy"] = 0.5
    monkeypatch.setattr(sharpscope.analysis.ledger, "load_results", lambda directory: results)
    assert run_command(["power", "any", "--effect", "test_accuracy=0.01"]) == 0
    told = {line.split("\t")[0]: line.split("\t")[2:] for line in capsys.readouterr().out.splitlines()}
    assert told["test_accuracy"][0] == "no spread to tell by"
    assert set(told["test_accuracy"][1:]) == {"–"}
