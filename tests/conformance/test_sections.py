"""Every section of the report stands by itself, whatever came of the study; a new one is one function."""

import re
from dataclasses import replace

import pytest
from tests.analysis.conftest import synthetic, with_conditions, with_levels, with_pairs_across
from tests.pages import page_and_tables, with_few

from sharpscope.analysis.drawing.figures import files_of
from sharpscope.analysis.report import contents_of, render, unknown_sections, write_report
from sharpscope.analysis.section import check_sections, usual_sections
from sharpscope.errors import SpecError
from sharpscope.extend import SECTIONS, Content, Evidence, SectionFacts
from sharpscope.study.source.presets import presets
from sharpscope.study.source.study import load_source


def comparing(factor, results):
    return replace(results, study={**results.study, "compare": {"factor": factor}})


STUDIES = {
    "four seeds, a run that diverged": lambda: synthetic(seeds=4, failed=1),
    "two settings": lambda: synthetic(seeds=2, regimes=("baseline", "sam"), training__lr=[0.01, 0.1]),
    "a matched loss": lambda: with_levels(synthetic(seeds=2, regimes=("baseline", "sam")), "0.1"),
    "under conditions": lambda: with_conditions(synthetic(seeds=3, regimes=("baseline", "sam", "augmentation"))),
    "settings under conditions": lambda: with_conditions(
        synthetic(seeds=2, regimes=("baseline", "sam"), training__lr=[0.01, 0.1])
    ),
    "conditions of one regime": lambda: with_conditions(synthetic(seeds=2, regimes=("sam",))),
    "pairs across regimes": lambda: with_pairs_across(
        synthetic(seeds=3, regimes=("baseline", "sam", "<b>")), error_consistency=0.5, brier_variance=0.01
    ),
    "another factor": lambda: comparing(
        "data.factor", synthetic(seeds=2, regimes=("b", "sam"), data__factor=[0.5, 0.9])
    ),
    "one regime": lambda: synthetic(seeds=2, regimes=("sam",)),
    "nothing finished": lambda: synthetic(seeds=1, failed=6),
}


@pytest.fixture(scope="module", params=STUDIES)
def evidence(request):
    return Evidence(STUDIES[request.param]())


@pytest.fixture(scope="module")
def contents(evidence):
    """What every section has to show, also one that is not usual."""
    return {name: section(evidence) for name, section in SECTIONS.items()}


def assert_links_lead_somewhere(page):
    page = page.partition("<script>")[0]
    assert set(re.findall(r'href="#(\w+)"', page)) <= set(re.findall(r'<section id="(\w+)"', page))


@pytest.mark.parametrize("name", SECTIONS)
def test_stands_alone(name, evidence, contents):
    section, content = SECTIONS[name], contents[name]
    page = render(evidence, {name: content})
    # Without the other sections, to which it may lead.
    assert_links_lead_somewhere(page)
    found = re.findall(r'<section id="(\w+)">\s*<h2>([^<]+)</h2>(.*?)</section>', page, flags=re.DOTALL)
    if content.page is not None or section.facts.nothing:
        ((anchor, title, body),) = found
        assert (anchor, title) == (name, content.title or section.facts.title)
        assert re.sub(r"<[^>]*>", "", body).strip()
    else:
        assert not found
    assert ('id="plot"' in page) == content.interactive
    for file, data in content.tables.items():
        assert file.endswith((".csv", ".tex"))
        assert data


def test_links_lead_somewhere(evidence, contents):
    for part in ({}, {name: contents[name] for name in usual_sections()}, contents):
        assert_links_lead_somewhere(render(evidence, part))


def test_usual_order_is_that_of_places():
    usual = [entry for entry in SECTIONS.values() if entry.facts.usual]
    assert list(contents_of(Evidence(small()))) == [e.name for e in sorted(usual, key=lambda entry: entry.facts.place)]
    assert len({entry.facts.place for entry in SECTIONS.values()}) == len(SECTIONS)


def small():
    return synthetic(seeds=2, regimes=("baseline", "sam"))


def having(results, *sections):
    return replace(results, study={**results.study, "sections": list(sections)})


def test_a_study_says_which_sections_in_which_order(tmp_path):
    results = with_few(small(), "train_loss", "ece", "relative_flatness")
    write_report(results, tmp_path)
    usual = {path.name for path in tmp_path.glob("*s/*")}
    assert {"pairs.csv", "correlations.csv", "levels.pdf"} <= usual
    page = write_report(having(results, "settings", "levels"), tmp_path).read_text("utf-8")
    assert re.findall(r'<section id="(\w+)"', page) == ["settings", "levels"]
    # What is left out is absent, and what an earlier report wrote of it.
    assert {path.name for path in tmp_path.glob("*s/*")} == {name for name in usual if name.startswith("levels.")}
    assert not re.search(r"<section", write_report(having(results), tmp_path).read_text("utf-8"))


def test_a_section_of_a_plugin_that_is_not_there_is_left_out():
    results = having(small(), "mine", "settings")
    assert list(contents_of(Evidence(results))) == ["settings"]
    assert unknown_sections(results.study) == ["mine"]


@pytest.mark.parametrize(
    ("named", "loc", "message"),
    [
        (["levels", "scater"], ("sections", 1), "unknown section 'scater'; did you mean 'scatter'?"),
        (["pairs", "levels", "pairs"], ("sections", 2), "the section 'pairs' is listed twice"),
    ],
)
def test_names_of_sections_are_checked(named, loc, message):
    with pytest.raises(SpecError, match=re.escape(message)) as caught:
        check_sections(named)
    assert caught.value.loc == loc
    check_sections(list(SECTIONS))


def test_the_paper_is_in_the_reports_of_its_presets_alone():
    words = re.compile("Mason-Williams|2510[.]12451|the paper|p_paper", re.IGNORECASE)

    def written(results):
        page, tables = page_and_tables(results)
        return " ".join([page.partition("<script>")[0], *(data.decode() for data in tables.values())])

    assert not words.search(written(small()))
    named = load_source("paper/cifar10-vgg19").study.sections
    assert [name for name in named if SECTIONS[name].facts.usual] == usual_sections()
    assert {name for name in named if not SECTIONS[name].facts.usual} == {"paper_tests", "paper_citation"}
    assert len(set(words.findall(written(having(small(), *named))))) > 2
    for name in presets():
        sections = load_source(name).study.sections
        assert sections == (named if name.startswith("paper/") else None)


def test_files_of_sections_do_not_collide(contents):
    names = [name for content in contents.values() for name in (*content.tables, *content.figures)]
    assert len(set(names)) == len(names)


def test_a_section_of_ones_own_is_one_function(tmp_path):
    @SECTIONS.register(
        facts=SectionFacts(
            "Seeds", place=15, template="<p>{% for s in seeds %}seed {{ s }} {{ dot('sam') }}{% endfor %}</p>"
        )
    )
    def seeds(evidence: Evidence) -> Content:
        """Which seeds there are."""
        from matplotlib.figure import Figure

        found = sorted(set(evidence.results.ledger["seed"]))
        return Content({"seeds": found}, {"seeds": Figure}, {"seeds.csv": b"seed\n0\n1\n"})

    page, _ = page_and_tables(small())
    sections = re.findall(r'<section id="(\w+)"', page)
    assert sections.index("seeds") == sections.index("levels") + 1
    assert "seed 0 <i" in page
    write_report(having(small(), "seeds"), tmp_path)
    assert (tmp_path / "tables" / "seeds.csv").read_bytes() == b"seed\n0\n1\n"
    assert (tmp_path / "figures" / "seeds.pdf").read_bytes().startswith(b"%PDF")


def test_what_a_section_shows_is_escaped():
    evidence = Evidence(synthetic(seeds=2, regimes=("baseline", "<b>&")))
    page = render(evidence, contents_of(evidence)).partition("<script>")[0]
    assert "<b>&</dt>" not in page
    assert "&lt;b&gt;&amp;" in page


def test_a_figure_without_data_is_left_out():
    assert files_of({"nothing": lambda: None}) == {}
