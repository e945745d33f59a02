"""Names that a registry serves without listing them: of a family, and of the user's own modules."""

import pytest

from sharpscope.errors import SpecError, UnknownName
from sharpscope.registry import Registry


@pytest.fixture
def models():
    registry = Registry("model", importable=True)

    @registry.register()
    def plain(size, *, width: int = 1):
        """A plain one."""
        return "plain", size, width

    @registry.family("zoo", version=3)
    def zoo(name, size, *, pretrained: bool = False):
        """The zoo's own."""
        return name, size, pretrained

    return registry


def test_a_family_serves_every_name_with_its_prefix(models):
    entry = models["zoo:lion/v2:tag"]
    assert entry(8, **entry.complete({"pretrained": "true"})) == ("lion/v2:tag", 8, True)
    assert entry(8, **entry.complete({})) == ("lion/v2:tag", 8, False)
    assert (entry.name, entry.version, entry.summary) == ("zoo:lion/v2:tag", 3, "The zoo's own")
    assert entry.reduced({"pretrained": False}) == {}


def test_options_of_a_family_are_checked(models):
    with pytest.raises(SpecError, match="unknown option 'pretraind' of model 'zoo:lion'; did you mean 'pretrained'"):
        models["zoo:lion"].complete({"pretraind": True})


def test_families_are_told_apart_from_members(models):
    assert list(models) == ["plain"]
    assert {form: entry.summary for form, entry in models.families.items()} == {"zoo:NAME": "The zoo's own"}
    assert "zoo:lion" in models
    assert "plain" in models
    assert "zoo" not in models
    assert "zoo:" not in models


def test_an_unknown_name_is_told_the_families(models):
    with pytest.raises(UnknownName, match=r"unknown model 'zoo'; .*known: plain, zoo:NAME"):
        models["zoo"]


def test_a_function_of_the_users_own_is_imported_with_its_options(models, tmp_path, monkeypatch):
    (tmp_path / "own_networks.py").write_text("def net(size, *, depth: int = 2):\n    return size, depth\nnumber = 3\n")
    monkeypatch.chdir(tmp_path)
    assert "own_networks:net" in models
    entry = models["own_networks:net"]
    assert entry(8, **entry.complete({"depth": 5})) == (8, 5)
    with pytest.raises(SpecError, match="unknown option 'width' of model 'own_networks:net'"):
        entry.complete({"width": 1})
    with pytest.raises(SpecError, match="'own_networks:number' should be a function, got a int"):
        models["own_networks:number"]


@pytest.mark.parametrize(
    ("name", "reason"), [("no_such_module:net", "ModuleNotFoundError"), ("math:no_such_function", "AttributeError")]
)
def test_what_cannot_be_imported_is_told_why(models, name, reason):
    with pytest.raises(SpecError, match=f"'{name}' cannot be imported \\({reason}"):
        models[name]


def test_a_registry_that_is_not_importable_imports_nothing():
    with pytest.raises(UnknownName):
        Registry("score")["math:sqrt"]
