"""Every section of the report stands by itself, whatever came of the study; a new one is one function."""

import re

import pytest
from tests.analysis.conftest import synthetic, with_levels

from sharpscope.analysis.drawing import files_of
from sharpscope.analysis.report import contents_of, render, write_report
from sharpscope.extend import SECTIONS, Content, Evidence, SectionFacts

STUDIES = {
    "four seeds, a run that diverged": lambda: synthetic(seeds=4, failed=1),
    "two settings": lambda: synthetic(seeds=2, regimes=("baseline", "sam"), training__lr=[0.01, 0.1]),
    "a matched loss": lambda: with_levels(synthetic(seeds=2, regimes=("baseline", "sam")), "0.1"),
    "one regime": lambda: synthetic(seeds=2, regimes=("sam",)),
    "nothing finished": lambda: synthetic(seeds=1, failed=6),
}


@pytest.fixture(scope="module", params=STUDIES)
def evidence(request):
    return Evidence(STUDIES[request.param]())


@pytest.mark.parametrize("name", SECTIONS)
def test_stands_alone(name, evidence):
    section = SECTIONS[name]
    content = section(evidence)
    page = render(evidence, {name: content})
    found = re.findall(r'<section id="(\w+)">\s*<h2>([^<]+)</h2>(.*?)</section>', page, flags=re.DOTALL)
    if content.page is not None or section.facts.nothing:
        ((anchor, title, body),) = found
        assert (anchor, title) == (name, section.facts.title)
        assert re.sub(r"<[^>]*>", "", body).strip()
    else:
        assert not found
    assert ('id="plot"' in page) == content.interactive
    for file, data in content.tables.items():
        assert file.endswith((".csv", ".tex"))
        assert data


def test_order_is_that_of_places_and_links_lead_somewhere(evidence):
    contents = contents_of(evidence)
    assert sorted(contents) == list(SECTIONS)
    assert [SECTIONS[name].facts.place for name in contents] == sorted(e.facts.place for e in SECTIONS.values())
    assert len({entry.facts.place for entry in SECTIONS.values()}) == len(SECTIONS)
    page = render(evidence, contents).partition("<script>")[0]
    assert set(re.findall(r'href="#(\w+)"', page)) <= set(re.findall(r'<section id="(\w+)"', page))


def test_files_of_sections_do_not_collide(evidence):
    contents = contents_of(evidence).values()
    names = [name for content in contents for name in (*content.tables, *content.figures)]
    assert len(set(names)) == len(names)


def test_a_section_of_ones_own_is_one_function(monkeypatch, tmp_path):
    len(SECTIONS)
    monkeypatch.setattr(SECTIONS, "_entries", dict(SECTIONS._entries))

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

    page = write_report(synthetic(seeds=2, regimes=("baseline", "sam")), tmp_path).read_text("utf-8")
    sections = re.findall(r'<section id="(\w+)"', page)
    assert sections.index("seeds") == sections.index("regimes") + 1
    assert "seed 0 <i" in page
    assert (tmp_path / "tables" / "seeds.csv").read_bytes() == b"seed\n0\n1\n"
    assert (tmp_path / "figures" / "seeds.pdf").read_bytes().startswith(b"%PDF")


def test_what_a_section_shows_is_escaped():
    evidence = Evidence(synthetic(seeds=2, regimes=("baseline", "<b>&")))
    page = render(evidence, contents_of(evidence)).partition("<script>")[0]
    assert "<b>&</dt>" not in page
    assert "&lt;b&gt;&amp;" in page


def test_a_figure_without_data_is_left_out():
    assert files_of({"nothing": lambda: None}) == {}
