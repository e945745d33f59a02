"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

StudyArgument = Annotated[str, typer.Argument(metavar="STUDY", help="A YAML file, or the name of a preset.")]
Directory = Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a study.")]
Out = Annotated[
    Path | None, typer.Option("--out", metavar="DIR", help="Folder of the study; sharpscope-runs/NAME by default.")
]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a key of the study; values are YAML.")
]
DataDir = Annotated[Path | None, typer.Option("--data-dir", metavar="DIR", help="Folder of datasets, searched first.")]
Device = Annotated[
    str, typer.Option("--device", metavar="NAME", help="cpu, cuda, cuda:1 or mps; auto for an accelerator if any.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
