"""A report of another factor than the regime speaks of it and of its levels, in tables, figures and sentences."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tests.analysis.conftest import FEW, synthetic
from tests.pages import page_of, with_few

from sharpscope.analysis.comparisons import comparisons_table
from sharpscope.analysis.contrasts import contrasts_table
from sharpscope.analysis.correlations import WITHIN, correlations_table
from sharpscope.analysis.drawing.figures import level_legend
from sharpscope.analysis.drawing.palette import styles_of
from sharpscope.analysis.findings import find
from sharpscope.analysis.levels import levels_table
from sharpscope.analysis.results import StudyResults
from sharpscope.spec import Factor

KEY = "data.factor"


def comparing(results: StudyResults, **compare) -> StudyResults:
    return replace(results, study={**results.study, "compare": compare})


def tight(seeds: int = 4, regimes: tuple[str, ...] = ("baseline",)) -> StudyResults:
    """A study of three levels, of which the last one has sharper minima in every seed."""
    results = with_few(synthetic(regimes=regimes, seeds=seeds, data__factor=[0.5, 0.7, 0.9]), *FEW)
    ledger = results.ledger.copy()
    ledger["relative_flatness"] = 1 + 0.1 * ledger["seed"] + 5 * (ledger[KEY] == 0.9)
    return comparing(replace(results, ledger=ledger), factor=KEY)


def words_of(results: StudyResults) -> str:
    page = page_of(results).partition("<script>")[0]
    return " ".join(re.sub(r"<style>.*?</style>|<script type.*?</script>|<[^>]+>", "", page, flags=re.DOTALL).split())


def renamed(results: StudyResults) -> StudyResults:
    """The same numbers, where the levels are regimes."""
    labels = {"0.5": "baseline", "0.7": "middle", "0.9": "tight"}

    def told(table: pd.DataFrame) -> pd.DataFrame:
        return table.assign(regime=[labels[f"{v:g}"] for v in table[KEY]]).drop(columns=KEY)

    study = {**results.study, "regimes": [{"label": label} for label in labels.values()], "grid": {"seed": 4}}
    del study["compare"]
    tables = {name: told(getattr(results, name)) for name in ("ledger", "pairs", "reliability", "confidence")}
    return replace(results, study=study, **tables)


def test_the_numbers_are_those_of_regimes() -> None:
    results = tight()
    other = renamed(results)
    for make in (levels_table, comparisons_table, correlations_table):
        numbers = [make(r).select_dtypes(float) for r in (results, other)]
        pd.testing.assert_frame_equal(*numbers)
        assert len(numbers[0]) > 5


def test_tables_have_the_factor_as_a_column_with_its_levels() -> None:
    results = tight()
    assert (results.levels, results.reference, results.keys) == (["0.5", "0.7", "0.9"], "0.5", [])
    means, tests = levels_table(results), comparisons_table(results)
    assert list(means.columns)[:3] == ["quantity", "kind", KEY]
    assert set(tests[KEY]) == {"0.7", "0.9"}
    assert set(tests["reference"]) == {"0.5"}
    assert "regime" not in {*means.columns, *tests.columns}
    found = correlations_table(results)
    assert {"pooled", WITHIN, "between", "0.5", "0.7", "0.9"} < set(found["scope"])


def test_regimes_are_settings_then() -> None:
    results = tight(regimes=("baseline", "sam"))
    assert results.keys == ["regime"]
    assert [group for group, _ in results.groups] == [{"regime": "baseline"}, {"regime": "sam"}]
    tests = comparisons_table(results)
    assert next(iter(tests.columns)) == "regime"
    assert "Levels of data.factor" in (page := words_of(results))
    assert "regime = sam" in page
    pairs = results.pairs.groupby(["regime", KEY])["prediction_disagreement"].mean()
    mean = levels_table(results).query("quantity == 'prediction_disagreement' and regime == 'sam'").set_index(KEY)
    assert mean.loc["0.7", "mean"] == pytest.approx(pairs["sam", 0.7])


def test_a_reference_of_ones_own() -> None:
    results = comparing(tight(), factor=KEY, reference=0.9, ordered=False)
    tests = comparisons_table(results)
    assert set(tests[KEY]) == {"0.5", "0.7"}
    row = tests.query("quantity == 'relative_flatness'").iloc[0]
    assert row["difference"] == pytest.approx(-5)


def test_sentences_speak_of_levels() -> None:
    results = comparing(tight(seeds=8), factor=KEY, ordered=False)
    one = replace(results, study={**results.study, "primary": ["relative_flatness"]})
    found = find(one, contrasts_table(one), correlations_table(one))
    assert found.headline == (
        "Compared with data.factor 0.5, data.factor 0.7 does not differ significantly; "
        "data.factor 0.9 has significantly sharper minima. "
        "At equal train loss, nothing can be told of data.factor 0.9: no loss was matched, "
        "and its train losses hardly overlap the reference's."
    )
    assert [level for level, _ in found.by_level] == ["0.7", "0.9"]
    assert "within levels" in " ".join(found.sentences)
    none = replace(results, study={**results.study, "primary": ["ece"]})
    ledger = results.ledger.assign(ece=np.tile(np.random.default_rng(0).permutation(8), 3) + results.ledger["ece"])
    none = replace(none, ledger=ledger)
    found = find(none, contrasts_table(none), correlations_table(none))
    assert found.headline == (
        "No level of data.factor differs significantly from 0.5 in any of the 2 comparisons tested."
    )


def test_no_sentence_speaks_of_regimes_that_are_levels() -> None:
    page = words_of(tight()).partition("How to reproduce")[0]
    told = re.findall(r"[^.]*\b[Rr]egimes?\b[^.]*", page)
    # What was run has them, since the study does.
    assert [sentence for sentence in told if "baseline" not in sentence] == []
    assert "3 levels of data.factor" in page
    assert "differs from data.factor 0.5 significantly" in page
    assert "Every level of data.factor is compared with data.factor 0.5 seed by seed" in page


def test_a_reference_without_runs_is_told() -> None:
    results = tight()
    left = replace(
        results,
        ledger=results.ledger[results.ledger[KEY] > 0.5],
        pairs=results.pairs[results.pairs[KEY] > 0.5],
    )
    assert "No run of data.factor 0.5, the reference, has finished, so no level is compared with it." in words_of(left)
    alone = replace(results, ledger=results.ledger[results.ledger[KEY] == 0.5], pairs=results.pairs.iloc[:0])
    page = words_of(alone)
    assert "4 runs of one level, data.factor 0.5, so there is no other level to compare it with." in page


def with_radius() -> StudyResults:
    """A study that varies an option of ``sam`` in two of four regimes."""
    regimes = ("baseline", "augmentation", "sam", "augmentation+sam")
    results = with_few(synthetic(regimes=regimes, seeds=3, **{"regimes__sam__rho": [0.05, 0.1]}), *FEW, "nll")
    parts = [{"label": label, **{part: {} for part in label.split("+")}} for label in regimes]

    def once(table: pd.DataFrame) -> pd.DataFrame:
        has = table["regime"].str.contains("sam")
        kept = table[has | (table["regimes.sam.rho"] == 0.05)]
        return kept.assign(**{"regimes.sam.rho": kept["regimes.sam.rho"].where(has[kept.index])})

    tables = {name: once(getattr(results, name)) for name in ("ledger", "pairs", "reliability", "confidence")}
    return replace(results, study={**results.study, "regimes": parts}, **tables)


def test_an_option_is_compared_with_the_regime_that_lacks_the_part() -> None:
    results = comparing(with_radius(), factor="regimes.sam.rho")
    assert (results.levels, results.keys) == (["no sam", "0.05", "0.1"], ["regime"])
    tests = comparisons_table(results).query("quantity == 'nll'")
    assert list(zip(tests["regime"], tests["regimes.sam.rho"], strict=True)) == [
        *(("baseline (+sam)", "0.05"), ("baseline (+sam)", "0.1")),
        *(("augmentation (+sam)", "0.05"), ("augmentation (+sam)", "0.1")),
    ]
    ledger = results.ledger
    of_both = ledger[(ledger["regime"] == "augmentation+sam") & (ledger["regimes.sam.rho"] == 0.1)]
    with_sam = of_both.set_index("seed")["nll"]
    without = ledger[ledger["regime"] == "augmentation"].set_index("seed")["nll"]
    assert tests["mean_difference"].iloc[-1] == pytest.approx((with_sam - without).mean())
    page = words_of(results)
    assert "differs from no sam significantly" in page
    assert "Levels of regimes.sam.rho" in page


def test_regimes_with_options_are_compared_as_regimes_of_their_own() -> None:
    results = with_radius()
    levels = [
        *("baseline", "augmentation", "sam(rho=0.05)", "sam(rho=0.1)"),
        *("augmentation+sam(rho=0.05)", "augmentation+sam(rho=0.1)"),
    ]
    assert (results.levels, results.keys) == (levels, [])
    tests = comparisons_table(results).query("quantity == 'nll'")
    assert list(tests["regime"]) == levels[1:]
    assert len(results.runs) == 3 * len(levels)


def luminance(color: str) -> float:
    parts = np.array([int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(parts <= 0.03928, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def of_levels(values: list[float], **compare) -> Factor:
    study = {"regimes": [{"label": "baseline"}], "grid": {KEY: values}, "compare": {"factor": KEY, **compare}}
    return Factor.of(study)


@pytest.mark.parametrize("count", [2, 4, 11])
def test_colors_of_an_order_rise_in_lightness_and_show_on_either_page(count: int) -> None:
    factor = of_levels([0.1 * i for i in reversed(range(count))])
    colors = [styles_of(factor)[level].color for level in sorted(factor.levels, key=float)]
    lightness = [luminance(color) for color in colors]
    assert lightness == sorted(lightness)
    assert len(set(colors)) == count
    css = (Path(__file__).parents[2] / "src/sharpscope/analysis/assets/report.css").read_text()
    for paper in re.findall(r"--paper: (#\w{6})", css):
        for light in lightness:
            ends = sorted((light, luminance(paper)))
            assert (ends[1] + 0.05) / (ends[0] + 0.05) >= 3


def test_levels_without_an_order_have_colors_that_are_told_apart() -> None:
    plain = styles_of(of_levels([0.5, 0.9], ordered=False))
    assert plain != styles_of(of_levels([0.5, 0.9]))
    assert len({look.color for look in plain.values()}) == 2


def test_a_long_name_is_broken_between_its_parts_and_a_number_is_not() -> None:
    page = page_of(tight(seeds=8))
    assert "data.<wbr>factor 0.9</dt>" in page


def test_a_legend_names_the_factor() -> None:
    from matplotlib.figure import Figure

    results, figure = tight(), Figure()
    level_legend(figure, results)
    (legend,) = figure.legends
    assert legend.get_title().get_text() == KEY
    assert [text.get_text() for text in legend.get_texts()] == results.levels
    level_legend(figure, renamed(results))
    assert figure.legends[1].get_title().get_text() == ""
