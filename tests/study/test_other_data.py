"""A study that asks how sure its networks are of other real data."""

from __future__ import annotations

import numpy as np
import pytest
from tests.data.conditions.test_other_sets import source  # noqa: F401 - a fixture

from sharpscope.analysis.ledger import load_ledger
from sharpscope.condition import Case
from sharpscope.errors import SpecError
from sharpscope.safety import SCORES
from sharpscope.store.folder import Store
from sharpscope.study.planning.plan import make_plan
from sharpscope.study.source.study import load_source

from .conftest import perform_all

ASKED = {
    "ood_auroc": {},
    "small": {"score": "ood_auroc", "data": "small"},
    "small_fpr": {"score": "ood_fpr95", "data": {"name": "small", "test_size": 20}},
}


@pytest.fixture
def planned(source, study_file):  # noqa: F811
    def plan(**changes):
        study = {"regimes": ["baseline"], "grid": {"seed": 1}, "measures": ["gradient_norm"], **changes}
        return make_plan(load_source(str(study_file(**study))), source.data_dir)

    return plan


def test_each_score_is_of_its_own_data(planned, tmp_path):
    plan, store = planned(scores=ASKED, twins=["calibrated"]), Store(tmp_path / "out")
    (outcome,) = perform_all(plan, store)
    assert not outcome.missing
    row = load_ledger(store.path).iloc[0]
    folder = store.run(outcome.run_id)
    predictions = folder.read_predictions(folder.read_record(), cases=True)
    names = ["data:small", 'data:{"name": "small", "test_size": 20}', "shuffled_values"]
    assert sorted(map(str, predictions.cases)) == sorted(str(Case(name, 1)) for name in names)
    by_name = {case.condition: split for case, split in predictions.cases.items()}
    assert [len(by_name[name].targets) for name in names] == [30, 20, 797]
    own = predictions.test.condensed().log_top[:, 0]
    wins = [np.mean(own > sure) + np.mean(own == sure) / 2 for sure in by_name["data:small"].log_top[:, 0]]
    assert row["small"] == pytest.approx(np.mean(wins))
    assert row["ood_auroc"] == SCORES["ood_auroc"](predictions.limited_to(["shuffled_values"]))
    assert row["small_fpr"] == SCORES["ood_fpr95"](predictions, data={"name": "small", "test_size": 20})
    assert row["small~calibrated"] > 0
    # Asked again, there is nothing left to do.
    assert [o.stages for o in perform_all(plan, store)] == [()]


def test_data_that_are_not_there_are_told_before_anything_is_run(planned):
    with pytest.raises(SpecError, match=r"the condition 'data:smal' fails .* did you mean 'small'") as error:
        planned(scores={"other": {"score": "ood_auroc", "data": "smal"}})
    assert error.value.loc[:2] == ("scores", "other")
    with pytest.raises(SpecError, match="the other data 'small' cannot be had"):
        planned(scores={"other": {"score": "ood_auroc", "data": {"name": "small", "test_size": 31}}})
