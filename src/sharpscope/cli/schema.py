"""``sharpscope schema``: what an editor must know of a study file."""

from __future__ import annotations


def schema() -> None:
    """Print the JSON schema of a study file, from which editors complete, explain and check it."""
    import json

    from sharpscope.analysis.section import SECTIONS
    from sharpscope.study.planning.schema import study_schema

    found = study_schema({name: entry.summary for name, entry in SECTIONS.items()})
    print(json.dumps(found, indent=2, ensure_ascii=False))
