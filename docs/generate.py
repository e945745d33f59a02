"""Fill in the parts of the documentation that the code knows: ``python docs/generate.py``.

A page asks for a part by a pair of comments, ``<!-- begin NAME ARGUMENT -->`` and ``<!-- end -->``; what stands between
them is written anew. A test sees that all pages are up to date.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

import sharpscope.study.planning.listing as kinds
from sharpscope import cli
from sharpscope.analysis.section import SECTIONS
from sharpscope.condition import KINDS
from sharpscope.curvature.measure import INVARIANCES
from sharpscope.docstrings import explained, one_line, parts
from sharpscope.registry import Registration, Registry, imported
from sharpscope.study.planning import explaining
from sharpscope.study.source.presets import foundations, presets

DOCS = Path(__file__).parent
PART = re.compile(r"(<!-- begin (\S+)(?: (\S+))? -->\n).*?(<!-- end -->)", re.DOTALL)


@dataclass(frozen=True)
class Docstring:
    """A docstring in parts, as Markdown.

    Attributes:
        summary: The first line.
        text: What follows it, before the sections.
        sections: The sections by their titles, as written.
        thing: What it is the docstring of.
    """

    summary: str
    text: str
    sections: dict[str, str]
    thing: Any

    @classmethod
    def of(cls, thing: Any) -> Docstring:
        """Take the docstring of a function or class apart."""
        text, sections = parts(thing)
        summary, _, more = text.partition("\n\n")
        return cls(markdown(summary), markdown(more), sections, thing)

    def items(self, title: str) -> dict[str, str]:
        """Return a section that explains names: each name with its explanation."""
        return {name: one_line(markdown(text)) for name, text in explained(self.thing, title).items()}


def markdown(text: str) -> str:
    """Return the markup of docstrings as Markdown."""
    text = re.sub(r"^\.\. math:: (.*?)(?=\n\n|\Z)", _display, text.strip(), flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r":math:`([^`]*)`", lambda found: f"$`{one_line(found[1])}`$", text)
    return re.sub(r"(?<!`)``([^`]+)``(?!`)", r"`\1`", text)


def _display(found: re.Match[str]) -> str:
    lines = "\n".join(line.strip() for line in found[1].split("\n"))
    return f"```math\n{lines}\n```"


def table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a Markdown table."""
    lines = [list(header), *(list(row) for row in rows)]
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def options(entry: Registration) -> list[str]:
    """Return the options of a registered function, a line each."""
    told = Docstring.of(entry.function).items("Args")
    lines = []
    for option, parameter in inspect.signature(entry.function).parameters.items():
        if parameter.kind is not parameter.KEYWORD_ONLY:
            continue
        default = "required" if parameter.default is parameter.empty else f"default `{parameter.default!r}`"
        lines.append(f"- `{option}` ({default}): {told.get(option, '')}".rstrip(": "))
    return lines


def member(name: str, entry: Registration, facts: Iterable[str] = ()) -> str:
    """Return a section on one registered function."""
    doc = Docstring.of(entry.function)
    parts = [f"### `{name}`", doc.summary, doc.text, "\n".join(facts)]
    if listed := options(entry):
        parts += ["Options:", "\n".join(listed)]
    reference = getattr(entry.facts, "reference", "") or one_line(markdown(doc.sections.get("Reference", "")))
    parts += [f"Reference: {reference.rstrip('.')}." if reference else ""]
    return "\n\n".join(part for part in parts if part)


def members(registry: Registry, facts: Callable[[Registration], Iterable[str]] = lambda entry: ()) -> str:
    """Return a table of a registry and a section on each member."""
    entries = {**registry, **registry.families}
    overview = table(["name", "what it is"], [[f"`{n}`", Docstring.of(e.function).summary] for n, e in entries.items()])
    return "\n\n".join([overview, *(member(name, entry, facts(entry)) for name, entry in entries.items())])


def measures_table() -> str:
    """Return one row a measure, and one for each set of options under which other invariances hold."""
    rows = []
    for name, entry in kinds.REGISTRIES["measures"]().items():
        facts = entry.facts
        link = f"[`{name}`](#{name})"
        default = "yes" if facts.default else ""
        exact = "exact" if facts.exact else "estimate"
        rows.append([link, *_crosses(facts.invariances), f"{exact}", default, facts.cost])
        for given, invariances in facts.variants:
            label = ", ".join(f"`{option}={value!r}`" for option, value in given.items())
            rows.append([f"… with {label}", *_crosses(invariances), "", "", ""])
    return table(["measure", *INVARIANCES, "value", "by default", "cost"], rows)


def _crosses(invariances: Iterable[str]) -> list[str]:
    return ["✓" if key in invariances else "–" for key in INVARIANCES]


def measures() -> str:
    """Return a section on each measure."""
    return "\n\n".join(
        member(name, entry, _measure_facts(entry)) for name, entry in kinds.REGISTRIES["measures"]().items()
    )


def _measure_facts(entry: Registration) -> list[str]:
    facts = entry.facts
    lines = [
        f"- {facts.kind.capitalize()}: {explaining.direction(facts)}; unit: {facts.unit or 'none'}.",
        f"- Compared by {facts.scale}.",
        f"- {'Exact' if facts.exact else 'An estimate with its standard error'}; cost: {facts.cost}.",
    ]
    return lines + [f"- {caveat}" for caveat in facts.caveats]


def _score_facts(entry: Registration) -> list[str]:
    facts = entry.facts
    low, high = facts.bounds
    lines = [f"- {facts.direction.capitalize()}; unit: {facts.unit or 'none'}; from {low:g} to {high:g}."]
    lines += [f"- Reads {explaining.reads(facts)}; of {' and '.join(facts.tasks)}; compared by {facts.scale}."]
    lines += [f"- NaN {facts.undefined}."] if facts.undefined else []
    lines += [] if facts.default else ["- Computed where a study asks for it by name."]
    if facts.of_pairs:
        lines += ["- Compares two runs that differ in their seed only; a run's value is its mean over the others."]
    return lines


def _condition_facts(entry: Registration) -> list[str]:
    facts = entry.facts
    family = f"; family: {facts.family}" if facts.family else ""
    lines = [f"- Alters {KINDS[facts.kind]}{family}; severities: {', '.join(map(str, facts.severities))}."]
    lines += ["- For colored images alone."] if facts.colored else []
    lines += [f"- {caveat}" for caveat in facts.caveats]
    return lines + ([f"- Differs from the reference: {facts.differs}."] if facts.differs else [])


def _regime_facts(entry: Registration) -> list[str]:
    like = entry.facts.like if entry.facts is not None else ()
    names = ", ".join(f"`{name}`" for name in like)
    return [f"- Trains on the like of the [corruptions](conditions.md) {names}."] if like else []


def api(path: str) -> str:
    """Return a section on a function or class, given as ``module:name``, with its public methods."""
    thing, name = imported(path, "object"), path.partition(":")[2]
    if not inspect.isclass(thing):
        return _callable(name, thing)
    parts = [_callable(name, thing)]
    for attribute, value in vars(thing).items():
        if attribute.startswith("_"):
            continue
        if isinstance(value, property):
            parts.append(f"**`{name}.{attribute}`**: {Docstring.of(value).summary}")
        elif inspect.isfunction(value):
            parts.append(f"**`{name}.{attribute}{_signature(value)}`**: {Docstring.of(value).summary}")
    return "\n\n".join(parts)


def _signature(function: Any) -> str:
    signature = inspect.signature(function)
    kept = [p.replace(annotation=p.empty) for p in signature.parameters.values() if p.name not in {"self", "cls"}]
    return str(signature.replace(parameters=kept, return_annotation=signature.empty))


def _callable(name: str, thing: Any) -> str:
    doc = Docstring.of(thing)
    parts = [f"### `{name}`", f"```text\n{name}{_signature(thing)}\n```", doc.summary, doc.text]
    items = {**doc.items("Args"), **doc.items("Attributes")}
    parts.append("\n".join(f"- `{item}`: {text}" for item, text in items.items()))
    told = [title for title in ("Returns", "Raises") if title in doc.sections]
    parts += [f"{title}: {one_line(markdown(doc.sections[title]))}" for title in told]
    return "\n\n".join(part for part in parts if part)


def attributes(path: str) -> str:
    """Return a table of the fields of a model, given as ``module:name``, with their defaults."""
    kind = imported(path, "object")
    told = Docstring.of(kind).items("Attributes")
    rows = [
        [f"`{name}`", f"`{known.get_default(call_default_factory=True)!r}`", told.get(name, "")]
        for name, known in kind.model_fields.items()
    ]
    return table(["key", "default", "meaning"], rows)


def errors() -> str:
    """Return a table of the package's errors."""
    import sharpscope.errors as module

    found = [e for e in vars(module).values() if inspect.isclass(e) and issubclass(e, module.SharpscopeError)]
    rows = [[f"`{e.__name__}`", f"`{e.__bases__[0].__name__}`", Docstring.of(e).summary] for e in found]
    return table(["error", "is a", "when"], rows)


def commands() -> str:
    """Return a section on each command with its options."""
    parts = []
    for name, command in sorted(typer.main.get_command(cli.app).commands.items()):  # type: ignore[attr-defined]
        usage = " ".join(
            ["sharpscope", name, *(_written(p) for p in command.params if p.param_type_name == "argument")]
        )
        rows = [[f"`{_written(p)}`", p.help or ""] for p in command.params]
        text = one_line(command.help.partition("\n\n")[0])
        parts += [f"### `{usage}`", text, table(["argument", "meaning"], rows)]
    return "\n\n".join(parts)


def _written(parameter: Any) -> str:
    """Return an argument or option of a command as a user writes it."""
    if parameter.param_type_name == "argument":
        return str(parameter.metavar)
    return " ".join([parameter.opts[0], *([parameter.metavar] if parameter.metavar else [])])


def schedules() -> str:
    """Return a table of the schedules of the learning rate."""
    from sharpscope.training import SCHEDULES

    return table(
        ["schedule", "factor on the learning rate"], [[f"`{n}`", e.summary + "."] for n, e in SCHEDULES.items()]
    )


def sections() -> str:
    """Return a table of the sections of a report in the order of their places."""
    entries = sorted(SECTIONS.values(), key=lambda entry: entry.facts.place)
    rows = [
        [f"`{e.name}`", e.facts.title, Docstring.of(e.function).summary, "yes" if e.facts.usual else ""]
        for e in entries
    ]
    return table(["section", "heading", "what it shows", "usual"], rows)


def studies(found: Callable[[], dict[str, str]]) -> str:
    """Return a table of presets."""
    return table(["preset", "what it is"], [[f"`{name}`", f"{text}."] for name, text in found().items()])


PARTS: dict[str, Callable[..., str]] = {
    "measures-table": measures_table,
    "measures": measures,
    "scores": lambda: members(kinds.REGISTRIES["scores"](), _score_facts),
    "conditions": lambda: members(kinds.REGISTRIES["conditions"](), _condition_facts),
    "regimes": lambda: members(kinds.REGISTRIES["regimes"](), _regime_facts),
    "members": lambda kind: members(kinds.REGISTRIES[kind]()),
    "api": api,
    "attributes": attributes,
    "errors": errors,
    "commands": commands,
    "schedules": schedules,
    "sections": sections,
    "studies": lambda: studies(presets),
    "foundations": lambda: studies(foundations),
}


def filled(text: str) -> str:
    """Return a page with its parts written anew."""

    def part(found: re.Match[str]) -> str:
        opening, name, argument, closing = found.groups()
        content = PARTS[name](*([argument] if argument else []))
        return f"{opening}\n{content}\n\n{closing}"

    return PART.sub(part, text)


def main() -> None:
    """Write all pages that have parts."""
    for page in sorted(DOCS.rglob("*.md")):
        text = page.read_text(encoding="utf-8")
        if (new := filled(text)) != text:
            page.write_text(new, encoding="utf-8")
            sys.stdout.write(f"{page.relative_to(DOCS)} is written anew\n")


if __name__ == "__main__":
    main()
