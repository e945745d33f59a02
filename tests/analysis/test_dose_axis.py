"""Dose and response: which factors have an order, and where their levels lie."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from tests.analysis.conftest import synthetic
from tests.analysis.dosed import BOTH, FACTORS, KEY, compared, dosed, row_of
from tests.pages import section_of

from sharpscope.analysis.dose.axis import axis_of
from sharpscope.analysis.dose.headline import told_dose
from sharpscope.analysis.dose.trends import dose_table


def test_values_of_a_key_lie_where_they_are():
    axis = axis_of(dosed())
    assert (axis.name, axis.levels, axis.h) == (KEY, ("0.5", "0.6", "0.7", "0.8", "0.9", "0.95"), KEY)
    assert list(axis.positions) == list(FACTORS)
    assert axis.scaled(np.ones(6, dtype=bool)) == pytest.approx((np.array(FACTORS) - 0.5) / 0.45)


def test_levels_are_in_order_whatever_the_study_says_first():
    axis = axis_of(dosed(factors=(0.9, 0.5, 0.7)))
    assert axis.levels == ("0.5", "0.7", "0.9")


def test_there_is_no_axis_without_an_order_or_three_levels():
    assert axis_of(compared(dosed(), ordered=False)) is None
    assert axis_of(dosed(factors=(0.5, 0.9))) is None
    assert axis_of(synthetic()) is None
    assert dose_table(synthetic()).empty
    assert section_of("dose_response", synthetic())[1].page is None


def test_doses_that_span_decades_lie_by_their_ratios_and_a_zero_by_itself():
    axis = axis_of(dosed(factors=(0.0, 0.001, 0.01, 0.1)))
    assert axis.h == f"log10({KEY})"
    assert list(axis.on_line) == [False, True, True, True]
    assert axis.positions[1:] == pytest.approx([-3, -2, -1])
    assert axis.drawn == pytest.approx([0, 1 / 3, 2 / 3, 1])


def test_even_steps_lie_by_their_differences_however_far_they_span():
    axis = axis_of(dosed(factors=tuple(k / 10 for k in range(11))))
    assert axis.h == KEY
    assert axis.on_line.all()


def test_words_in_an_order_lie_a_step_apart():
    words_of = {0.5: "low", 0.7: "middle", 0.9: "high"}
    results = dosed(factors=tuple(words_of))
    ledger = results.ledger.assign(**{KEY: results.ledger[KEY].map(words_of)})
    grid = {**results.study["grid"], KEY: list(words_of.values())}
    named = replace(results, ledger=ledger, study={**results.study, "grid": grid, "compare": {"factor": KEY}})
    assert axis_of(named) is None
    axis = axis_of(compared(named, ordered=True))
    assert (axis.levels, axis.h) == (("low", "middle", "high"), f"place of {KEY} in its order")
    rows = [row_of(one, BOTH.name)["change"] for one in (results, compared(named, ordered=True))]
    assert rows[0] == pytest.approx(rows[1])


def of_regimes(regimes, labels):
    """The same numbers where the levels are regimes, or options of one."""
    results = dosed(factors=(0.5, 0.7, 0.9))
    map_of = dict(zip((0.5, 0.7, 0.9), labels, strict=True))
    ledger = results.ledger.assign(regime=results.ledger[KEY].map(map_of)).drop(columns=KEY)
    study = {**results.study, "regimes": regimes, "grid": {"seed": results.study["grid"]["seed"]}}
    del study["compare"]
    return replace(results, ledger=ledger, study=study)


def test_regimes_that_differ_in_one_number_have_an_order():
    labels = ["baseline", "sam(rho=0.1)", "sam(rho=0.05)"]
    regimes = [
        {"label": "baseline", "baseline": {}},
        *({"label": n, "sam": {"rho": float(n[8:-1])}} for n in labels[1:]),
    ]
    results = of_regimes(regimes, labels)
    axis = axis_of(results)
    assert (axis.name, axis.levels) == ("regimes.sam.rho", ("baseline", "sam(rho=0.05)", "sam(rho=0.1)"))
    assert list(axis.doses) == [0.0, 0.05, 0.1]
    assert told_dose(results, dose_table(results))[0].startswith("From baseline to sam.rho 0.1, ")


@pytest.mark.parametrize(
    "regimes",
    [
        [{"label": "a"}, {"label": "b", "sam": {"rho": 0.1}}, {"label": "c", "weight_decay": {"rho": 0.2}}],
        [{"label": "a"}, {"label": "b", "sam": {"rho": 0.1}}, {"label": "c", "sam": {"rho": 0.2, "adaptive": True}}],
        [{"label": "a"}, {"label": "b", "sam": {"rho": 0.1}}, {"label": "c", "sam": {}}],
        [{"label": "a"}, {"label": "b", "sam": {"on": "x"}}, {"label": "c", "sam": {"on": "y"}}],
        [{"label": "a"}, {"label": "b"}, {"label": "c", "sam": {"rho": 0.1}}],
    ],
)
def test_other_regimes_have_none(regimes):
    assert axis_of(of_regimes(regimes, ["a", "b", "c"])) is None


def test_an_option_of_the_grid_has_the_regime_without_the_part_as_its_zero():
    results = dosed(factors=(0.05, 0.1, 0.2))
    key = "regimes.sam.rho"
    without_sam = results.ledger[results.ledger[KEY] == 0.05].assign(regime="baseline")
    with_sam = results.ledger[results.ledger[KEY] > 0.05].assign(regime="sam")
    ledger = pd.concat([without_sam.assign(**{KEY: np.nan}), with_sam], ignore_index=True).rename(columns={KEY: key})
    regimes = [{"label": "baseline", "baseline": {}}, {"label": "sam", "sam": {}}]
    study = {**results.study, "regimes": regimes, "grid": {"seed": list(range(10)), key: [0.1, 0.2]}}
    by_key = replace(results, ledger=ledger, study={**study, "compare": {"factor": key}})
    assert (axis_of(by_key).levels, list(axis_of(by_key).doses)) == (("no sam", "0.1", "0.2"), [0.0, 0.1, 0.2])
    by_regime = replace(by_key, study={**study, "compare": {"factor": "regime"}})
    assert axis_of(by_regime).levels == ("baseline", "sam(rho=0.1)", "sam(rho=0.2)")
    assert list(axis_of(by_regime).doses) == [0.0, 0.1, 0.2]
