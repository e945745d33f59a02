"""``sharpscope power`` on the command line."""

import json

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
