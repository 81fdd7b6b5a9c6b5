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


def read_table(item: Any, little: bool, negative: bool = False) -> Table:
    """Read an item of a Modality or VOI LUT Sequence.

    Parameters
    ----------
    item : pydicom.Dataset
        With LUTDescriptor and LUTData.
    little : bool
        Whether the file is little-endian.
    negative : bool
        Whether input values may be negative; the descriptor may be read as unsigned all the same.

    Raises
    ------
    UnreadableImage
        "damaged".
    """
    return _table(item.LUTDescriptor, item.LUTData, little, negative)


def read_palette(header: Any, little: bool) -> list[Table]:
    """Read the three tables of a PALETTE COLOR image (PS3.3, C.7.6.3.1.5 and C.7.9).

    pydicom's own look-up takes tables for little-endian and wraps indices above 255 into tables of 8 bits; its
    expansion of segmented tables is right.

    Parameters
    ----------
    header : pydicom.Dataset
        Of the file.
    little : bool
        Whether it is little-endian.

    Raises
    ------
    UnreadableImage
        "damaged".
    """
    from pydicom.pixels import apply_color_lut

    colours = ("Red", "Green", "Blue")
    descriptors = [header.get(f"{colour}PaletteColorLookupTableDescriptor") for colour in colours]
    tables = [header.get(f"{colour}PaletteColorLookupTableData") for colour in colours]
    if all(tables):
        signed = int(header.get("PixelRepresentation", 0) or 0) == 1
        return [_table(about, data, little, signed) for about, data in zip(descriptors, tables)]
    count, first, bits = (int(number) for number in descriptors[0])
    count = (count & 0xFFFF) or 65536
    entries = apply_color_lut(np.arange(first, first + count, dtype=np.int32), header)
    return [Table(entries[:, channel], first, (1 << bits) - 1) for channel in range(3)]


def _table(descriptor: Any, data: Any, little: bool, negative: bool) -> Table:
    count, first, bits = (int(number) for number in descriptor)
    count = (count & 0xFFFF) or 65536  # 0 stands for that
    if negative and first > 32767:
        first -= 65536
    entries = _entries(data, count, bits, little)
    if entries.size < count or not 1 <= bits <= 16:
        raise UnreadableImage("damaged", "look-up table of DICOM")
    entries = entries[:count]
    # Some tables use more bits than they admit.
    return Table(entries, first, (1 << max(bits, int(entries.max()).bit_length())) - 1)


def _entries(data: Any, count: int, bits: int, little: bool) -> NDArray[Any]:
    if isinstance(data, bytes):
        if bits <= 8 and len(data) < 2 * count:
            # Entries of 8 bits stand two in a word, and words may be swapped.
            narrow = np.frombuffer(data, np.uint8)
            return narrow if little else narrow[: narrow.size // 2 * 2].reshape(-1, 2)[:, ::-1].ravel()
        return np.frombuffer(data[: len(data) // 2 * 2], "<u2" if little else ">u2").astype(np.uint16)
    words = np.atleast_1d(np.asarray(data, np.int64) & 0xFFFF).astype("<u2")
    return words.view(np.uint8) if bits <= 8 and words.size < count <= 2 * words.size else words


def look_up(values: NDArray[Any], table: Table) -> NDArray[Any]:
    """Return the entries of whole-numbered `values`, shape kept."""
    place = np.clip(np.nan_to_num(values).astype(np.int64) - table.first, 0, table.entries.size - 1)
    return np.asarray(table.entries[place])
