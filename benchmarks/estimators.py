"""SAM sharpness by expansion against 100 draws, exact traces against probes, and information geometric sharpness."""

from __future__ import annotations

from functools import partial

from benchmarks.checks import processor_seconds
from benchmarks.peers import by_probes, gauss_newton_trace, problems
from benchmarks.problems import batches, digits, trained
from benchmarks.timing import once, side_by_side, table
from sharpscope import Measurements, measure


def traces() -> list[list[str]]:
    """Return rows: a trace that is exact beside that of probes, where both are of a piecewise linear network."""
    rows = []
    for problem in problems():
        if not problem.linear_pieces:
            continue
        true = gauss_newton_trace(problem)
        for name in ("ggn_trace", "hessian_trace"):
            exact = partial(measure, problem.model, problem.data, [name])

            def probes(call: partial[Measurements] = exact) -> Measurements:
                with by_probes():
                    return call()

            seconds = processor_seconds({"exact": exact, "probes": probes}, 3)
            errors = [f"{abs(run()[name].value / true - 1):.1e}" for run in (exact, probes)]
            ratio = f"{seconds['exact'] / seconds['probes']:.2f}"
            rows.append(
                [problem.label, name, *errors, f"{seconds['exact']:.2f} s", f"{seconds['probes']:.2f} s", ratio]
            )
    return rows


def main() -> None:
    """Print the tables."""
    header = ["network and data", "measure", "error, exact", "error, probes", "exact", "probes", "ratio"]
    table("Exact traces, processor time", header, traces())
    rows = []
    for name, size, samples in (("resnet8", 8, 1000), ("resnet8", 28, 256)):
        data = digits(samples, size)
        model = trained(name, data, epochs=3)
        cut = batches(data, 256)
        found = measure(
            model,
            cut,
            {"draws": {"measure": "sam_sharpness"}, "expansion": {"measure": "sam_sharpness", "method": "expansion"}},
        )
        seconds = side_by_side(
            {
                "draws": lambda model=model, cut=cut: measure(model, cut, ["sam_sharpness"]),
                "expansion": lambda model=model, cut=cut: measure(
                    model, cut, {"sam_sharpness": {"method": "expansion"}}
                ),
            },
            rounds=3,
        )
        rows.append(
            [
                f"{name}, {samples} x {size}x{size}",
                str(found["draws"]),
                str(found["expansion"]),
                f"{seconds['draws']:.2f} s",
                f"{seconds['expansion']:.2f} s",
                f"{seconds['draws'] / seconds['expansion']:.1f}",
            ]
        )
    table("SAM sharpness", ["network and data", "100 draws", "expansion", "draws", "expansion", "ratio"], rows)

    data = digits(512, 28)
    model = trained("resnet20", data, epochs=2)
    seconds, found = once(lambda: measure(model, batches(data, 256), ["information_geometric_sharpness"]))  # type: ignore[assignment]
    value = found["information_geometric_sharpness"]
    details = value.details
    table(
        "Information geometric sharpness, resnet20 on 512 images of 28x28",
        ["value", "rank", "of at most", "loss form", "time"],
        [
            [
                str(value),
                str(details["rank"]),
                str(details["rank_cap"]),
                f"{details['loss_form']:.6g}",
                f"{seconds:.0f} s",
            ]
        ],
    )
