"""``sharpscope measure``: the measures of a checkpoint."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from sharpscope.cli import options


def measure(
    model: Annotated[str, typer.Option(metavar="PKG.MODULE:FACTORY", help="A function that returns the model.")],
    weights: Annotated[Path, typer.Option(metavar="FILE", help="A safetensors file, or a state dict of torch.save.")],
    data: Annotated[str, typer.Option(metavar="NAME", help="See `sharpscope list datasets`.")],
    measures: Annotated[
        str | None, typer.Option(metavar="A,B", help="Names of measures; the cheap exact ones by default.")
    ] = None,
    data_dir: options.DataDir = None,
    device: options.Device = "cpu",
    json: options.Json = False,
) -> None:
    """Measure a checkpoint of your own on the clean training data of a dataset."""
    from sharpscope.study.run.checkpoint import measure_checkpoint
    from sharpscope.study.work.devices import resolve_device

    names = [name.strip() for name in measures.split(",")] if measures else None
    found = measure_checkpoint(model, weights, data, names, data_dir, resolve_device(device))
    if json:
        print(found.to_json())
    elif sys.stdout.isatty():
        from rich.console import Console

        Console().print(found)
    else:
        print(found)
