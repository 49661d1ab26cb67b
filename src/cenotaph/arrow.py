"""What pyarrow does not say, or says wrongly, about its own arrays, and what it does not check.

An IPC file's offsets, sizes and dictionary indices are taken as they stand: a damaged one makes the first
computation read outside its memory and ends the process (Arrow's security page, "Advice for Users").
`UnionArray.type_codes` and `.offsets` of a slice begin at the start of the whole array (pyarrow 26):
read through them, the last rows of a batch take the types and values of its first rows.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa


def union_places(
    array: pa.Array,
) -> Iterator[tuple[pa.Array, npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """For each child of a union: the child, the rows that it holds, and where in it they are."""
    start, end = array.offset, array.offset + len(array)
    buffers = array.buffers()
    codes = np.frombuffer(buffers[1] or b"", np.int8)[start:end]
    if array.type.mode == "dense":
        places = np.frombuffer(buffers[2] or b"", np.int32)[start:end].astype(np.int64)
    else:
        places = np.arange(len(array), dtype=np.int64)
    for i, code in enumerate(array.type.type_codes):
        rows = np.flatnonzero(codes == code)
        yield array.field(i), rows, places[rows]


def sound(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch, once every offset, index and text in it has been looked at.

    Needed for all that is read from an IPC file or stream, before anything is computed. Raises
    `pyarrow.ArrowInvalid`.
    """
    batch.validate(full=True)
    return batch
