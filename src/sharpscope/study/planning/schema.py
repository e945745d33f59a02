"""The JSON schema of a study file, from the registries: what an editor completes, explains and checks.

It knows names, options and their types, and agrees with the program on these. What only planning finds out, such as
data that are too few, it lets pass; so it does any name in studies that extend a file or have plugins, which may bring
it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from sharpscope.curvature.measure import MEASURES
from sharpscope.data import DATASETS
from sharpscope.docstrings import explained, one_line
from sharpscope.models import MODELS
from sharpscope.registry import Registration, Registry
from sharpscope.safety import SCORES
from sharpscope.spec import EXTENDS, REQUIRED, Study, Training, Watch
from sharpscope.study.source.presets import foundations, presets
from sharpscope.training import REGIMES, SCHEDULES

Schema = dict[str, Any]

_TEXTS: Schema = {"type": "array", "items": {"type": "string"}}
_NULL: Schema = {"type": "null"}
_SUBSET: Schema = {"anyOf": [{"type": "integer", "minimum": 1}, _NULL]}
_EXTENDS_A_FILE: Schema = {"required": [EXTENDS], "properties": {EXTENDS: {"pattern": r"\.ya?ml$"}}}
_BRINGS_NAMES: Schema = {"anyOf": [{"required": ["plugins"]}, _EXTENDS_A_FILE]}


def study_schema(sections: Mapping[str, str]) -> Schema:
    """Return the JSON schema of a study file.

    Args:
        sections: The sections that a report can have, with what each shows.
    """
    told = explained(Study, "Attributes")
    properties = _structure()
    for key, facts in properties.items():
        if key in told:
            facts["description"] = one_line(told[key])
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A study of Sharpscope",
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
        "allOf": [
            {"if": {"required": [EXTENDS]}, "else": {"required": list(REQUIRED), "properties": _complete()}},
            {"if": _BRINGS_NAMES, "else": {"properties": _known(sections)}},
            {
                "if": {"anyOf": [{"required": [EXTENDS]}, _BRINGS_NAMES]},
                "else": {"properties": {f"{r.kind}s": _keys(r) for r in (MEASURES, SCORES)}},
            },
        ],
        "$defs": _definitions(),
    }


_AS_WRITTEN = ("name", "measures_subset", "twins", "primary", "claims", "correction", "margin", "sections", "plugins")


def _structure() -> dict[str, Schema]:
    """Return the form of every key, whatever names are known."""
    written = Study.model_json_schema()["properties"]
    taken = {key: _untitled(written[key]) for key in _AS_WRITTEN}
    component = {"type": ["string", "object"]}
    named = {"anyOf": [_NULL, _TEXTS, {"type": "object", "additionalProperties": {"type": ["object", "null"]}}]}
    return {
        EXTENDS: {
            "description": "Another study, whose keys hold where none is given here: a preset, or the path of a file.",
            "anyOf": [{"enum": [*presets(), *foundations()]}, {"type": "string", "minLength": 1}],
        },
        **{key: {} for key in Study.model_fields},
        **taken,
        "data": dict(component),
        "model": dict(component),
        "training": _training(),
        "regimes": {"type": "array", "minItems": 1, "items": {"type": ["string", "object"]}},
        "grid": _grid(),
        "compare": _compare(),
        "measures": dict(named),
        "scores": dict(named),
        "watch": _watch(named),
    }


def _complete() -> dict[str, Schema]:
    """Return what data and model are in a study that extends none: they have a name."""
    return {key: {"anyOf": [{"type": "string"}, {"required": ["name"]}]} for key in ("data", "model")}


def _known(sections: Mapping[str, str]) -> dict[str, Schema]:
    """Return what each key is where all names are known."""
    section = {"anyOf": [{"const": name, "description": text} for name, text in sections.items()]}
    return {
        "data": _component(DATASETS),
        "model": _component(MODELS),
        "regimes": {"items": _regime()},
        "measures": _named(MEASURES),
        "scores": _named(SCORES),
        "watch": {"properties": {"measures": _named(MEASURES)}},
        "sections": {"anyOf": [_NULL, {"type": "array", "items": section, "uniqueItems": True}]},
        "grid": _options_of_regimes(),
    }


def _definitions() -> dict[str, Schema]:
    found = {}
    for registry in (DATASETS, MODELS):
        for entry in registry.values():
            found[f"{registry.kind}.{entry.name}"] = _named_options(entry, {"const": entry.name})
        for entry, pattern in zip(registry.families.values(), registry.open_names, strict=False):
            found[f"{registry.kind}.{entry.name}"] = _named_options(entry, {"type": "string", "pattern": pattern})
    for entry in REGIMES.values():
        found[f"regime.{entry.name}"] = {**_options(entry), "type": ["object", "null"]}
    for registry, beside in ((MEASURES, {"subset": _SUBSET}), (SCORES, {})):
        for entry in registry.values():
            found[f"{registry.kind}.{entry.name}"] = _options(entry, {registry.kind: {"const": entry.name}, **beside})
    return found


def _options(entry: Registration, beside: Mapping[str, Schema] | None = None) -> Schema:
    """Return a mapping of the options of an entry, and of what may stand beside them."""
    return {
        "type": "object",
        "description": f"{entry.summary}.",
        "properties": {**(beside or {}), **entry.json_schema()},
        "additionalProperties": False,
    }


def _named_options(entry: Registration, name: Schema) -> Schema:
    """Return a dataset or model with its options, beside its name or under a key of their own."""
    beside = {"name": name, "options": {"type": ["object", "null"]}, "version": {"type": "integer"}}
    given = [{"required": ["options"]}, {"required": entry.required}]
    return {**_options(entry, beside), "required": ["name"], "anyOf": given}


def _component(registry: Registry) -> Schema:
    kind = registry.kind
    nameless = {"type": "object", "not": {"required": ["name"]}}
    plain = [name for name, entry in registry.items() if not entry.required]
    elsewhere = [{"type": "string", "pattern": pattern} for pattern in registry.open_names]
    imported = [
        {"type": "object", "required": ["name"], "properties": {"name": {"type": "string", "pattern": pattern}}}
        for pattern in registry.open_names[len(registry.families) :]
    ]
    members = [{"$ref": f"#/$defs/{kind}.{name}"} for name in (*registry, *registry.families)]
    return {"anyOf": [{"enum": plain}, *elsewhere, *members, *imported, nameless]}


def _regime() -> Schema:
    parts = {name: {"$ref": f"#/$defs/regime.{name}"} for name in REGIMES}
    names = "|".join(REGIMES)
    mapping = {
        "type": "object",
        "properties": {"label": {"type": ["string", "null"], "minLength": 1}, **parts},
        "patternProperties": {rf"^({names})( *\+ *({names}))+$": {"type": ["object", "null"]}},
        "additionalProperties": False,
        "anyOf": [{"minProperties": 1, "not": {"required": ["label"]}}, {"minProperties": 2}],
    }
    return {
        "anyOf": [
            {"enum": list(REGIMES)},
            {"type": "string", "pattern": rf"^ *({names})( *\+ *({names}))* *$"},
            mapping,
        ]
    }


def _options_of_regimes() -> Schema:
    """Return what a grid may set in the parts of regimes."""
    options = {f"regimes.{name}.{key}": facts for name in REGIMES for key, facts in REGIMES[name].json_schema().items()}
    keys = "|".join(map(re.escape, options))
    return {
        "properties": {key: _one_or_several(facts) for key, facts in options.items()},
        "propertyNames": {"pattern": rf"^((?!regimes\.).*|({keys})(\..+)?)$"},
    }


def _named(registry: Registry) -> Schema:
    """Return a list of measures or scores, or a mapping of them, or of keys that name them, to options."""
    kind = registry.kind
    members = {name: {"$ref": f"#/$defs/{kind}.{name}"} for name in registry}
    of_other_name = {"required": [kind], "anyOf": list(members.values())}
    partial = {"type": ["object", "null"], "not": {"required": [kind]}}
    mapping = {
        "type": "object",
        "properties": {name: {"anyOf": [_NULL, member, of_other_name]} for name, member in members.items()},
        "additionalProperties": {"anyOf": [of_other_name, partial]},
    }
    return {"anyOf": [_NULL, {"type": "array", "items": {"enum": list(registry)}}, mapping]}


def _keys(registry: Registry) -> Schema:
    """Return a mapping in which each key that is no name of a member has one."""
    return {
        "properties": dict.fromkeys(registry, True),
        "additionalProperties": {"type": "object", "required": [registry.kind]},
    }


def _training() -> Schema:
    told = explained(Training, "Attributes")
    fields = {key: _untitled(facts) for key, facts in Training.model_json_schema()["properties"].items()}
    fields["schedule"] = {"enum": list(SCHEDULES), "default": "constant"}
    described = {key: {**facts, "description": one_line(told[key])} for key, facts in fields.items()}
    return {"type": "object", "properties": described, "additionalProperties": False}


def _grid() -> Schema:
    seeds = {"type": "array", "items": {"type": "integer"}, "minItems": 1, "uniqueItems": True}
    training = _training()["properties"]
    keys = "|".join(training)
    return {
        "type": "object",
        "properties": {
            "seed": {"anyOf": [{"type": "integer", "minimum": 1}, seeds]},
            **{f"training.{key}": _one_or_several(facts) for key, facts in training.items()},
        },
        "propertyNames": {"pattern": rf"^(seed|(data|model)\..+|regimes\.[^.]+\..+|training\.({keys})(\..+)?)$"},
        "additionalProperties": {"not": {"const": []}},
    }


def _compare() -> Schema:
    factor = {"type": "string", "description": "regime, or a key of the grid that takes several values."}
    reference = {"description": "The level that the others are compared with."}
    ordered = {"type": ["boolean", "null"], "description": "Whether the levels have an order."}
    parts = {"factor": factor, "reference": reference, "ordered": ordered}
    return {"anyOf": [factor, {"type": "object", "properties": parts, "additionalProperties": False}]}


def _watch(measures: Schema) -> Schema:
    told = explained(Watch, "Attributes")
    fields = {key: _untitled(facts) for key, facts in Watch.model_json_schema()["properties"].items()}
    described = {key: {**facts, "description": one_line(told[key])} for key, facts in fields.items()}
    described["measures"] = {**measures, "description": one_line(told["measures"])}
    return {
        "type": ["object", "null"],
        "properties": described,
        "required": ["measures"],
        "additionalProperties": False,
    }


def _one_or_several(facts: Schema) -> Schema:
    several = {"type": "array", "items": facts, "minItems": 1, "uniqueItems": True}
    return several if facts.get("type") == "array" else {"anyOf": [facts, several]}


def _untitled(facts: Schema) -> Schema:
    return {key: value for key, value in facts.items() if key != "title"}
