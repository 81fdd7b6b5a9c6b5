"""Look-up tables of DICOM (PS3.3, C.11.1.1 and C.11.2.1.1)."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.imaging.decoding.errors import UnreadableImage


class Table(NamedTuple):
    """A look-up table.

    Parameters
    ----------
    entries : uint8 or uint16 [N]
        Output values.
    first : int
        Input value of the first entry; below it the first entry stands, above the last one the last.
    white : int
        Highest output value that the table's bits allow.
    """

    entries: NDArray[Any]
    first: int
    white: int


def read_table(item: Any, negative: bool = False) -> Table:
    """Read an item of a Modality or VOI LUT Sequence.

    Parameters
    ----------
    item : pydicom.Dataset
        With LUTDescriptor and LUTData.
    negative : bool
        Whether input values may be negative; the descriptor may be read as unsigned all the same.

    Raises
    ------
    UnreadableImage
        "damaged".
    """
    count, first, bits = (int(number) for number in item.LUTDescriptor)
    count &= 0xFFFF
    count = count or 65536  # 0 stands for that
    if negative and first > 32767:
        first -= 65536
    entries = _entries(item.LUTData, count, bits)
    if entries.size < count or not 1 <= bits <= 16:
        raise UnreadableImage("damaged", "look-up table of DICOM")
    entries = entries[:count]
    # Some tables use more bits than they admit.
    return Table(entries, first, (1 << max(bits, int(entries.max()).bit_length())) - 1)


def _entries(data: Any, count: int, bits: int) -> NDArray[Any]:
    if isinstance(data, bytes):
        narrow = bits <= 8 and len(data) < 2 * count
        return np.frombuffer(data[: len(data) // 2 * 2] if not narrow else data, np.uint8 if narrow else "<u2")
    words = np.atleast_1d(np.asarray(data, np.int64) & 0xFFFF).astype("<u2")
    # Entries of 8 bits may stand two in a word.
    return words.view(np.uint8) if bits <= 8 and words.size < count <= 2 * words.size else words


def look_up(values: NDArray[Any], table: Table) -> NDArray[Any]:
    """Return the entries of whole-numbered `values`, shape kept."""
    place = np.clip(np.nan_to_num(values).astype(np.int64) - table.first, 0, table.entries.size - 1)
    return np.asarray(table.entries[place])
