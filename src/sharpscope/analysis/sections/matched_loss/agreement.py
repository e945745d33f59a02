"""How many differences in sharpness are at a matched train loss as they are at the end, in sentences."""

from __future__ import annotations

import pandas as pd

from sharpscope.analysis.results import StudyResults
from sharpscope.analysis.tested import REPEATED
from sharpscope.analysis.wording import counted


def at_matched_loss(results: StudyResults, contrasts: pd.DataFrame) -> tuple[str, ...]:
    """Return, for each matched train loss, how many differences in sharpness are there as they are at the end."""
    columns = [name for name, quantity in results.quantities.items() if quantity.kind == "sharpness"]
    counts = contrasts["quantity"].isin(columns) & (contrasts["n"] > 0) & (contrasts["family"] != REPEATED)
    tested = contrasts[counts]
    tested = tested.assign(
        base=tested["quantity"].map(lambda name: results.quantities[name].base),
        loss=tested["quantity"].map(lambda name: results.quantities[name].matched_loss),
    )
    at_end, cells = tested[tested["loss"] == ""], [results.factor.name, "base"]
    sentences = []
    for loss in results.losses:
        both = at_end.merge(tested[tested["loss"] == loss], on=cells, suffixes=("", "_there"))
        if not both.empty:
            same = both["verdict"] == both["verdict_there"]
            sentences.append(_kept(loss, results.factor.told(results.reference), both.assign(same=same)))
    return tuple(sentences)


def _kept(loss: str, reference: str, both: pd.DataFrame) -> str:
    alike = f"{int(both['same'].sum())} of {counted(len(both), 'difference')} in sharpness to {reference}"
    sentence = f"At train loss {loss}, {alike} have the direction that they have at the end of training"
    real = both[both["significant"]]
    if real.empty:
        return f"{sentence}; none is significant at the end."
    there = real[real["significant_there"]]
    kept, turned = int(there["same"].sum()), int((~there["same"]).sum())
    opposite = f" and {turned} in the opposite one" if turned else ""
    return (
        f"{sentence}; of the {len(real)} that are significant at the end, {kept or 'none'} "
        f"{'is' if kept == 1 else 'are'} so there too in the same direction{opposite}."
    )
