"""Tables as Parquet files, with a seal of their own where nothing else holds one."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sharpscope.store.files import Damaged
from sharpscope.store.seals import KEY, UNSEALED, sealed

if TYPE_CHECKING:
    import numpy as np


def to_parquet(columns: Mapping[str, Any], *, seal: bool = False) -> bytes:
    """Return a table of plain columns as the bytes of a Parquet file.

    Args:
        columns: Their names and values.
        seal: Whether the file is to hold its own seal.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    table = pa.table(dict(columns))
    if not seal:
        pq.write_table(table, buffer)
        return buffer.getvalue()
    pq.write_table(table.replace_schema_metadata({"sharpscope": f'{{"{KEY}": "{UNSEALED}"}}'}), buffer)
    return sealed(buffer.getvalue())


def from_parquet(data: bytes) -> dict[str, np.ndarray]:
    """Return the columns of the bytes of a Parquet file.

    Raises:
        Damaged: If they are none.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(pa.BufferReader(data))
    except (pa.ArrowException, OSError) as error:
        raise Damaged(f"a table is damaged: {error}") from None
    return {name: table[name].to_numpy() for name in table.column_names}
