"""Claims by name or file: those of the package under ``claims/``, and those that users write themselves."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from sharpscope.errors import SharpscopeError, SpecError, suggest
from sharpscope.spec import Claim, Loc, kind_of, validated
from sharpscope.study.source.document import parse, read_text

_SUFFIXES = (".yaml", ".yml")


def is_claim_file(name: Any) -> bool:
    """Return whether a study means a file of the user's own by the name of a claim."""
    return isinstance(name, str) and name.endswith(_SUFFIXES)


def known_claims() -> dict[str, Claim]:
    """Return the claims that come with the package, by name."""
    with resources.as_file(resources.files("sharpscope") / "claims") as folder:
        texts = {
            path.relative_to(folder).with_suffix("").as_posix(): path.read_text("utf-8")
            for path in sorted(folder.rglob("*.yaml"))
        }
    return {name: parse_claim(text, name) for name, text in texts.items()}


def parse_claim(text: str, name: str) -> Claim:
    """Return a claim from its YAML.

    Args:
        text: The YAML.
        name: What the claim, and messages about it, are called.

    Raises:
        SpecError: If it is no claim; the message has the place in the text.
    """
    document = parse(text, name)
    tree = document.tree
    if not isinstance(tree, dict):
        raise SpecError(f"{name}: a claim is a mapping with title, statement, source and predictions")
    try:
        written = tree.get("predictions")
        # Each by itself, so that a mistake is told of the kind that is meant, and at its line.
        made = [_prediction(one, index) for index, one in enumerate(written)] if isinstance(written, list) else written
        claim: Claim = validated(
            Claim, {**tree, "name": name, **({"predictions": made} if "predictions" in tree else {})}
        )
    except SpecError as error:
        raise SpecError(f"{document.place(error.loc)}: {error.message}") from None
    return claim


def _prediction(written: Any, index: int) -> Any:
    if not isinstance(written, dict):
        return written
    try:
        return validated(kind_of(written), written)
    except SpecError as error:
        raise SpecError(error.message, ("predictions", index, *error.loc)) from None


def resolve_claims(named: Sequence[str], folder: Path) -> tuple[Claim, ...]:
    """Return the claims that a study names.

    Args:
        named: Names of claims of the package, or paths of YAML files.
        folder: What relative paths start from.

    Raises:
        SpecError: If one is unknown, named twice, or no claim.
    """
    known = known_claims() if any(not is_claim_file(name) for name in named) else {}
    claims: list[Claim] = []
    for index, name in enumerate(named):
        loc = ("claims", index)
        if name in named[:index]:
            raise SpecError(f"the claim '{name}' is listed twice", loc)
        claim = _from_file(folder / Path(name).expanduser(), loc) if is_claim_file(name) else known.get(name)
        if claim is None:
            raise SpecError(f"unknown claim '{name}'{suggest(name, known)}", loc)
        claims.append(claim)
    return tuple(claims)


def judged_by(
    claims: Iterable[Claim], measured: Collection[str], factor: str
) -> tuple[tuple[Claim, ...], tuple[str, ...]]:
    """Return claims as far as a study can judge them, and of those that it cannot judge at all, why.

    They are no mistake: a study that extends another one, or is changed on the command line, has the claims of that.

    Args:
        claims: The claims.
        measured: The columns of the study at the end of training.
        factor: What the study compares.
    """
    kept, notes = [], []
    for claim in claims:
        judged = claim.of_columns(set(measured))
        if claim.of_levels and claim.factor != factor:
            why = f"it is about levels of {claim.factor}, and the study compares {factor}"
        elif judged is None:
            why = f"it is about {_some(claim.quantities)}, which the study does not measure"
        else:
            kept.append(judged)
            continue
        notes.append(f"the claim '{claim.name}' is not judged: {why}")
    return tuple(kept), tuple(notes)


def _from_file(path: Path, loc: Loc) -> Claim:
    try:
        return parse_claim(read_text(path, "claim", str(path)), str(path.resolve()))
    except SharpscopeError as error:
        raise SpecError(str(error), loc) from None


def _some(names: Sequence[str], most: int = 4) -> str:
    return ", ".join(names[:most]) + (" and others" if len(names) > most else "")
