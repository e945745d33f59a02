"""The report says what the statistics allow, whatever came of the study."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from markupsafe import escape
from tests.analysis.conftest import FEW, reported
from tests.pages import figures_of, page_of, with_few, words

from sharpscope.analysis.contrasts import contrasts_table
from sharpscope.analysis.correlations import correlations_table
from sharpscope.analysis.drawing.figures import files_of
from sharpscope.analysis.findings import find
from sharpscope.analysis.report import write_report
from sharpscope.analysis.sections.scatter.figure import drawings
from sharpscope.errors import SharpscopeError
from sharpscope.store.seals import digest


def test_page_is_whole_small_and_asks_for_nothing(report):
    text = report.read_text("utf-8")
    assert report.stat().st_size < 8_000_000
    assert not re.search(r"<(?:script|img|link|iframe)[^>]+(?:src|href)=[\"'](?!data:)", text)
    assert "train loss became NaN in epoch 3" in text
    assert "default-src 'none'" in text
    assert {p.name for p in report.parent.iterdir()} == {"report.html", "tables", "figures"}


def test_controls_and_complexity_have_sections_of_their_own(report):
    text = report.read_text("utf-8")
    sections = dict(re.findall(r'scope="rowgroup"><span>([^<]+)</span>(.*?)</tbody>', text, flags=re.DOTALL))
    assert list(sections)[1:4] == [
        "How sharp the minimum is",
        "How complex the function is",
        "Controls, with which sharpness may move",
    ]
    assert "larger is more complex" in sections["How complex the function is"]
    for title in list(sections)[2:4]:
        assert not re.search("sharper|flatter", sections[title])


def test_values_that_did_not_converge_are_marked(make_results):
    results = with_few(make_results(seeds=3, regimes=("baseline", "sam")), *FEW, "margin")
    ledger = results.ledger.assign(margin_converged=[True, True, True, True, False, True])
    unsure = replace(results, ledger=ledger)
    text = page_of(unsure)
    assert "1 of 6 values of margin did not reach their precision and are used as they are." in text
    assert text.count('<span class="cell">≈\u202f') + text.count("</svg>≈\u202f") == 1
    assert '"Did not converge","1 of these"' in text
    assert '"unconverged":{"margin":[false,false,false,false,true,false]}' in text
    drawn, plain = (
        files_of(drawings(with_few(r, "train_loss", "margin")))["measures_vs_train_loss.svg"] for r in (unsure, results)
    )
    assert drawn != plain
    assert "did not converge" not in page_of(results).partition("<script>")[0]


def test_page_tells_whose_choice_the_primary_family_is(make_results):
    results = with_few(make_results(seeds=2, regimes=("baseline", "sam")), *FEW)
    family = results.study["primary"]
    usual = replace(results, default_primary=True, first_primary=family)
    text = words(page_of(usual))
    assert "The primary one is the usual one" in text
    assert "was changed after the study first ran" not in text
    changed = replace(results, first_primary=["brier"])
    text = words(page_of(changed))
    assert "The study file declares the primary one" in text
    assert "The primary family was changed after the study first ran." in text
    assert "when it was brier." in text


def test_null_in_the_grid_is_told_as_written(make_results):
    results = with_few(make_results(seeds=2, regimes=["sam"], training__clip_norm=[1.0, np.nan]), *FEW)
    text = page_of(results)
    assert "training.clip_norm = null" in text
    assert "training.clip_norm = nan" not in text


def test_same_results_same_bytes(report, tmp_path):
    first, second = report.parent, write_report(reported(), tmp_path).parent
    files = [p.relative_to(first) for p in first.rglob("*") if p.is_file()]
    assert len(files) > 30
    assert all((first / name).read_bytes() == (second / name).read_bytes() for name in files)


def test_what_a_quantity_left_behind_is_removed_unless_it_was_changed(make_results, tmp_path):
    few = ("train_loss", "ece", "generalization_gap", "relative_flatness")
    results = with_few(make_results(seeds=2, regimes=["baseline", "sam"]), *few)
    results = replace(results, study={**results.study, "sections": ["scatter"]})
    write_report(results, tmp_path)
    figures = tmp_path / "figures"
    (figures / "measures_vs_ece.svg").write_text("edited")
    (figures / "mine.pdf").write_text("mine")
    for _ in range(2):
        write_report(with_few(results, "train_loss", "relative_flatness"), tmp_path)
        left = {path.name for path in figures.iterdir()}
        assert {"measures_vs_ece.svg", "mine.pdf", "measures_vs_train_loss.pdf"} <= left
        assert not left & {"measures_vs_ece.pdf", "measures_vs_generalization_gap.pdf"}


def test_a_page_that_lists_what_is_none_of_its_files_removes_nothing_of_it(make_results, tmp_path):
    results = make_results(seeds=2, regimes=["baseline", "sam"])
    results = replace(results, study={**results.study, "sections": ["pairs", "settings"]})
    home = tmp_path / "study"
    page = write_report(results, home)
    mine = tmp_path / "mine.txt"
    mine.write_text("mine")
    listed = {"../mine.txt": digest(b"mine"), "tables/../../mine.txt": digest(b"mine"), str(mine): digest(b"mine")}
    written = page.read_text("utf-8")
    for text in (
        re.sub(r'(id="files">).*?<', rf"\1{json.dumps(listed)}<", written),
        written.replace('id="files">{', 'id="files">'),
    ):
        assert text != written
        page.write_text(text, "utf-8")
        write_report(results, home)
        assert mine.read_text() == "mine"
        assert page.read_text("utf-8") == written


STUDIES = {
    "one seed": ({"seeds": 1}, "No difference could be significant"),
    "one regime": ({"seeds": 3, "regimes": ["baseline"]}, "no other regime to compare it with"),
    "one regime in two settings": (
        {"seeds": 2, "regimes": ["sam"], "training__lr": [0.1, 0.2]},
        "not tested against each other",
    ),
    "all diverged": ({"seeds": 2, "failed": 12}, "None of the 12 runs finished"),
    "two settings": ({"seeds": 3, "training__lr": [0.01, 0.1]}, "training.lr = 0.1"),
    "other regimes": (
        {"seeds": 3, "regimes": ["mine(<b>=1)", *(f"sam(rho={i})" for i in range(1, 10))]},
        "mine(&lt;b&gt;=1)",
    ),
}


@pytest.mark.parametrize("name", STUDIES)
def test_page_stands_whatever_came_of_the_study(make_results, name):
    options, sentence = STUDIES[name]
    assert sentence in page_of(with_few(make_results(**options), *FEW))


@pytest.mark.slow
@pytest.mark.parametrize("name", STUDIES)
def test_figures_are_drawn_whatever_came_of_the_study(make_results, tmp_path, name):
    options, _ = STUDIES[name]
    write_report(with_few(make_results(**options), *FEW), tmp_path)
    drawn = (tmp_path / "figures").is_dir() and any((tmp_path / "figures").iterdir())
    assert drawn == (name != "all diverged")


def test_missing_scores_and_pairs(make_results):
    results = make_results(seeds=3)
    lost = ["ece", "prediction_disagreement", "relative_flatness"]
    bare = replace(
        results,
        ledger=results.ledger.drop(columns=lost),
        pairs=results.pairs.iloc[:0],
        reliability=results.reliability.iloc[:0],
        provenance={},
    )
    assert "Not measured in this study" in words(page_of(bare))
    drawn = figures_of(with_few(bare, "train_loss", "ece", "relative_flatness", "sam_sharpness"))
    assert {"levels.pdf", "measures_vs_train_loss.pdf"} <= set(drawn)
    assert "measures_vs_ece.pdf" not in drawn


def test_headline_names_regimes_by_what_is_significant(results, contrasts, correlations):
    found = find(results, contrasts, correlations)
    assert found.headline.startswith(
        "Compared with baseline, sam, augmentation, augmentation+sam and weight_decay+sam have significantly sharper "
        "minima and significantly better scores; weight_decay does not differ significantly. At equal train loss, "
    )
    nothing = dict(found.by_level)["weight_decay"]
    assert nothing.startswith("no significant difference in this family; could have seen a difference of 0.0")
    assert "or more of expected calibration error" in nothing


def test_each_control_of_the_headline_stands_by_itself(results, contrasts, correlations):
    found = find(results, contrasts, correlations)
    assert [sentence.partition(",")[0] for sentence in found.lead[:2]] == [
        "Compared with baseline",
        "At equal train loss",
    ]
    paragraphs = re.findall(r"<p><strong>(.*?)</strong></p>", page_of(results))
    assert paragraphs == [str(escape(sentence)) for sentence in found.lead]


def test_headline_says_so_when_nothing_is_significant(results, correlations):
    ledger = results.ledger.copy()
    baseline = ledger[ledger["regime"] == "baseline"].set_index("seed")
    for name in results.quantities.keys() - {"margin"}:  # where nothing differed, regimes would be the same runs
        ledger[name] = ledger["seed"].map(baseline[name])
    same = replace(results, ledger=ledger)
    found = find(same, contrasts_table(same), correlations)
    assert found.headline == (
        "No difference could be significant: all values of the primary family equal those of their reference."
    )


def test_headline_counts_what_was_tested(make_results):
    few = with_few(make_results(seeds=7, regimes=("baseline", "weight_decay")), "brier", "ece")
    one = replace(few, study={**few.study, "primary": ["ece"]})
    found = find(one, contrasts_table(one), correlations_table(one))
    assert found.headline == "No regime differs significantly from baseline in the one comparison tested."
    assert found.sentences[0].startswith("The one comparison of the primary family is not significant at 0.05")
    two = replace(few, study={**few.study, "primary": ["brier", "ece"]})
    found = find(two, contrasts_table(two), correlations_table(two))
    assert found.headline == "No regime differs significantly from baseline in any of the 2 comparisons tested."
    assert found.sentences[0].startswith("None of the 2 comparisons of the primary family is significant at 0.05")


def test_a_level_of_which_no_run_finished_is_named(make_results):
    results = make_results(seeds=6, regimes=("baseline", "sam", "weight_decay"), failed=6)
    found = find(results, contrasts_table(results), correlations_table(results))
    assert "No run of weight_decay finished, so nothing is said of it." in found.sentences
    ledger = results.ledger.assign(state="done")
    ledger["seed"] += 10 * (ledger["regime"] == "sam")
    ledger.loc[ledger["regime"] == "weight_decay", "ece"] = 0.02
    apart = replace(results, ledger=ledger)
    told = find(apart, contrasts_table(apart), correlations_table(apart)).sentences
    assert "No seed finished both in sam and in the reference, so they are not compared." in told


def test_headline_tells_pairs_that_do_not_differ(make_results):
    few = with_few(make_results(seeds=8, regimes=("baseline", "sam")), "brier", "ece")
    ledger = few.ledger.copy()
    ledger.loc[ledger["seed"] < 3, "ece"] = 0.02
    one = replace(few, ledger=ledger, study={**few.study, "primary": ["ece"]})
    found = find(one, contrasts_table(one), correlations_table(one))
    assert "with 5 pairs that differ the smallest p that a test can reach is 0.062" in found.headline
    # One quantity with fewer pairs that differ does not speak for those whose seeds all do.
    few = with_few(make_results(seeds=4, regimes=("baseline", "sam")), "brier", "ece")
    ledger = few.ledger.copy()
    ledger.loc[ledger["seed"] < 2, "ece"] = 0.02
    both = replace(few, ledger=ledger, study={**few.study, "primary": ["ece", "brier"]})
    assert "with 4 seeds the smallest p" in find(both, contrasts_table(both), correlations_table(both)).headline


@pytest.mark.parametrize(("seeds", "reached"), [(1, ""), (2, "50%"), (3, "75%"), (5, "93.8%"), (6, "")])
def test_what_intervals_of_few_seeds_reach_is_told(make_results, seeds, reached):
    page = page_of(with_few(make_results(seeds=seeds, regimes=("baseline", "sam")), "brier", "ece"))
    told = f"With {seeds} seeds, an interval over seeds may hold the truth in {reached} of cases only"
    assert (told in page) == bool(reached)
    assert ("may hold the truth in" in page) == bool(reached)


def test_study_of_which_no_run_has_ended(make_results):
    results = make_results(seeds=1)
    empty = replace(
        results,
        ledger=results.ledger.iloc[:0],
        pairs=results.pairs.iloc[:0],
        reliability=results.reliability.iloc[:0],
    )
    assert "None of the 0 runs finished" in page_of(empty)


def test_missing_reference_is_told_and_nothing_is_tested_against_another(make_results):
    results = with_few(make_results(seeds=6, regimes=["sam", "baseline", "weight_decay"]), *FEW)
    left = results.ledger[results.ledger["regime"] != "baseline"]
    pairs = results.pairs[results.pairs["regime"] != "baseline"]
    text = page_of(replace(results, ledger=left, pairs=pairs))
    assert "No run of baseline, the reference, has finished" in text
    assert "There is nothing to test" in text
    assert "compared with sam" not in text


def test_regimes_without_a_seed_in_common_are_described_but_not_tested(make_results):
    results = with_few(make_results(seeds=2, regimes=["baseline", "sam"]), *FEW)
    ledger = results.ledger
    apart = ledger[(ledger["regime"] == "baseline") == (ledger["seed"] == 0)]
    text = page_of(replace(results, ledger=apart, pairs=results.pairs.iloc[:0]))
    assert "No seed finished in two regimes" in text
    assert "There is nothing to test" in text


@pytest.mark.parametrize(
    ("label", "told"),
    [
        ("Hessian top eigenvalue", "Hessian top eigenvalue"),
        ("Gauss-Newton trace", "Gauss-Newton trace"),
        ("SAM sharpness", "SAM sharpness"),
        ("Worst-case sharpness", "worst-case sharpness"),
    ],
)
def test_names_keep_their_capital_in_a_sentence(make_results, label, told):
    few = with_few(make_results(seeds=6, regimes=("baseline", "sam")), "relative_flatness")
    quantities = {**few.quantities, "relative_flatness": replace(few.quantities["relative_flatness"], label=label)}
    ledger = few.ledger.copy()
    ledger["relative_flatness"] = ledger["seed"] + 10.0 * (ledger["regime"] == "sam")
    one = replace(few, ledger=ledger, quantities=quantities, study={**few.study, "primary": ["relative_flatness"]})
    found = find(one, contrasts_table(one), correlations_table(one))
    assert f"sharper by {told} (" in dict(found.by_level)["sam"]


def test_a_twin_is_no_quantity_of_its_own(results):
    few = with_few(results, *FEW)
    name = "ece~calibrated"
    twin = replace(few.quantities["ece"], name=name, twin="calibrated")
    known = replace(few, quantities={**few.quantities, name: twin}, ledger=few.ledger.assign(**{name: 1.0}))
    assert name not in page_of(known)
    assert "Not measured in this study" not in page_of(known)


def test_latex_tables_have_the_columns_that_are_asked_for(make_results, tmp_path):
    results = with_few(make_results(seeds=2, regimes=("baseline", "sam", "augmentation")), "train_loss")
    results = replace(results, study={**results.study, "sections": ["levels"], "primary": ["train_loss"]})
    write_report(results, tmp_path, {"levels": ["augmentation", "baseline"]})
    text = (tmp_path / "tables" / "levels.tex").read_text("utf-8")
    assert "Quantity & augmentation & baseline" in text
    assert "sam" not in text
    assert "sam" in (tmp_path / "tables" / "levels.csv").read_text("utf-8")
    for columns, told in (
        ({"level": ["sam"]}, r"no LaTeX table is called 'level' \(known: levels\)"),
        ({"levels": ["sma"]}, r"table 'levels': no column is called 'sma' \(known: baseline, sam, augmentation\)"),
    ):
        with pytest.raises(SharpscopeError, match=told):
            write_report(results, tmp_path / "none", columns)
    assert not (tmp_path / "none").exists()
