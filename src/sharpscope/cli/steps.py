"""What several commands do."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sharpscope.errors import SharpscopeError


def planned(
    study: str,
    out: Path | None,
    overrides: Sequence[str] | None,
    data_dir: Path | None,
    device: str,
    *,
    to_run: bool = True,
) -> tuple[Any, Any]:
    """Return the plan of a study and its store; nothing is written."""
    from sharpscope.study.source.study import load_source

    source = load_source(study, overrides or ())

    from sharpscope.store.folder import Store
    from sharpscope.study.planning.plan import make_plan

    plan = make_plan(source, data_dir, to_run=to_run, device=device)
    if plan.study.sections is not None:
        from sharpscope.analysis.section import check_sections

        with source.located():
            check_sections(plan.study.sections)
    directory = out or Path("sharpscope-runs") / plan.study.name
    check_folder(directory)
    return plan, Store(directory)


def check_folder(out: Path) -> None:
    """See that results can go to a place.

    Raises:
        SharpscopeError: If it is a file.
    """
    if out.exists() and not out.is_dir():
        raise SharpscopeError(f"--out must be a folder, and {out} is a file")


def write_all(
    directory: Path,
    place: Path | None = None,
    beside: Path | None = None,
    columns: Mapping[str, Sequence[str]] | None = None,
) -> Any:
    """Write the ledger and the report from the store, into it or to another place; return what they were made of.

    Args:
        directory: The folder of the study.
        place: Where to write; the folder itself when None.
        beside: The folder of another study that the report sets this one beside.
        columns: The columns that LaTeX tables are to have, by table.
    """
    from sharpscope.analysis.ledger import load_results, results_of, write_ledger
    from sharpscope.analysis.report import write_report
    from sharpscope.analysis.sections.two_arms import set_beside
    from sharpscope.analysis.thrift import thrifty
    from sharpscope.store.folder import Store
    from sharpscope.store.pairs import compute_pairs, write_pairs
    from sharpscope.store.reading import Reading

    store = Store.existing(directory)
    # Of many runs it takes as long as that one might think it hangs.
    print("Writing the ledger and the report", file=sys.stderr, flush=True)
    with Store(place or directory).reporting(), thrifty():
        reading = Reading.of(store)
        pairs = compute_pairs(reading)
        # What is written elsewhere needs no right to write here.
        if place is None:
            store.tidy()
            write_pairs(store, pairs)
        results = results_of(reading, pairs)
        if beside is not None:
            results = set_beside(results, load_results(beside))
        write_ledger(results.ledger, place or directory)
        path = write_report(results, place or directory, columns)
    print(f"Report: {path}")
    return results
