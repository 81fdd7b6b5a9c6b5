"""Stored values of a DICOM frame to display values: modality, then values of interest, then polarity and background."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pipeline.imaging.decoding.luts import Table, look_up, read_table

_PERCENTILES: Final = (0.5, 99.5)
_GROUPS: Final = ("PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence")


def grey(pixels: NDArray[Any], header: Any, index: int, bits: int) -> tuple[NDArray[np.float64], str]:
    """Return display values of a monochrome frame, 0 (black) to 1 (white), and where the window came from.

    1. Stored values become those of the modality: Modality LUT Sequence, or RescaleSlope and RescaleIntercept.
    2. These become grey levels by the first window (WindowCenter, WindowWidth, VOILUTFunction), else the first VOI LUT,
       else linearly from their 0.5th to their 99.5th percentile, padding apart. One-bit images keep their two values.
    3. Presentation LUT Shape INVERSE is inverted, and MONOCHROME1 in files that name no shape, so that air is black.
       Where the two contradict each other the shape counts, the last step of the standard's chain, as in DCMTK.
    4. Padding (PixelPaddingValue, to PixelPaddingRangeLimit) is background: black.

    Each is taken from the functional groups of the frame, then from those of all frames, then from the file.

    Parameters
    ----------
    pixels : integers or floating point [H, W]
        Stored values, unused bits cut.
    header : pydicom.Dataset
        Of the file.
    index : int
        Frame, from 0.
    bits : int
        BitsStored; 0 for floating point.

    Returns
    -------
    values : float64 [H, W]
        0 to 1.
    window : str
        "header", "LUT", "percentiles" or "none".

    References
    ----------
    DICOM PS3.3 (2024), C.7.6.16.2, C.11.1 and C.11.2, https://dicom.nema.org/medical/dicom/current/output/chtml/part03/
    """
    padding = _padding(pixels, header)
    values = _of_modality(pixels, header, index)
    if bits == 0:
        unknown = ~np.isfinite(values)
        padding = unknown if padding is None else padding | unknown
    shown, window = _of_interest(values, header, index, bits, padding)
    shown = np.clip(shown, 0, 1)
    shape = str(_first_of(header, index, "PresentationLUTShape") or "")
    if shape == "INVERSE" or (shape != "IDENTITY" and header.PhotometricInterpretation == "MONOCHROME1"):
        shown = 1 - shown
    if padding is not None:
        shown[padding] = 0
    return shown, window


def _sources(header: Any, index: int) -> Iterator[Any]:
    """Yield the data sets in which an attribute of a frame may stand, the most specific first."""
    for name in _GROUPS:
        groups = header.get(name)
        if not groups:
            continue
        place = index if name.startswith("Per") else 0
        if place < len(groups):
            for element in groups[place]:
                if element.VR == "SQ" and element.value:
                    yield element.value[0]
    yield header


def _first_of(header: Any, index: int, *names: str) -> Any:
    """Return the first of `names` of the most specific data set that holds all of them, None if none does."""
    for source in _sources(header, index):
        values = [source.get(name) for name in names]
        if all(_filled(value) for value in values):
            return values[0] if len(names) == 1 else values
    return None


def _filled(value: Any) -> bool:
    return value is not None and value != "" and (not hasattr(value, "__len__") or len(value) > 0)


def _padding(pixels: NDArray[Any], header: Any) -> NDArray[np.bool_] | None:
    """Return where the frame shows nothing, None if the header names no such value."""
    if pixels.dtype.kind == "f":
        low, high = header.get("FloatPixelPaddingValue"), header.get("FloatPixelPaddingRangeLimit")
        if low is None:
            low, high = header.get("DoubleFloatPixelPaddingValue"), header.get("DoubleFloatPixelPaddingRangeLimit")
    else:
        low, high = header.get("PixelPaddingValue"), header.get("PixelPaddingRangeLimit")
    if low is None or low == "":
        return None
    ends = [float(end) for end in (low, low if high is None or high == "" else high)]
    if pixels.dtype.kind != "f":
        # Written as unsigned where pixels are signed, and the other way round, by files with a wrong VR.
        container = 1 << int(header.BitsAllocated)
        signed = int(header.get("PixelRepresentation", 0) or 0) == 1
        ends = [
            end - container if signed and end >= container // 2 else end + container if not signed and end < 0 else end
            for end in ends
        ]
    return np.asarray((pixels >= min(ends)) & (pixels <= max(ends)))


def _of_modality(pixels: NDArray[Any], header: Any, index: int) -> NDArray[np.float64]:
    """Return the values of the modality, as Hounsfield units."""
    in_groups = _first_of_groups(header, index, "RescaleSlope")
    if in_groups is None and (sequence := header.get("ModalityLUTSequence")):
        return look_up(pixels, read_table(sequence[0], _little(header))).astype(np.float64)
    slope = _number(_first_of(header, index, "RescaleSlope"))
    intercept = _number(_first_of(header, index, "RescaleIntercept"))
    return np.asarray(pixels * (slope or 1.0) + (intercept or 0.0), np.float64)


def _first_of_groups(header: Any, index: int, name: str) -> Any:
    for source in _sources(header, index):
        if source is not header and _filled(source.get(name)):
            return source.get(name)
    return None


def _of_interest(
    values: NDArray[np.float64], header: Any, index: int, bits: int, padding: NDArray[np.bool_] | None
) -> tuple[NDArray[np.float64], str]:
    for source in _sources(header, index):
        centre, width = _number(source.get("WindowCenter")), _number(source.get("WindowWidth"))
        if centre is not None and width is not None and width > 0:
            function = str(source.get("VOILUTFunction") or header.get("VOILUTFunction") or "LINEAR")
            return _windowed(values, centre, width, function), "header"
        if sequence := source.get("VOILUTSequence"):
            table: Table = read_table(sequence[0], _little(header), negative=bool(values.min() < 0))
            return look_up(np.rint(values), table) / table.white, "LUT"
    if bits == 1:
        return values, "none"
    anatomy = values if padding is None else values[~padding]
    low, high = np.percentile(anatomy, _PERCENTILES) if anatomy.size else (0.0, 0.0)
    if not high > low:
        return np.zeros_like(values), "percentiles"
    with np.errstate(invalid="ignore"):  # padding may be infinite
        return (values - low) / (high - low), "percentiles"


def _windowed(values: NDArray[np.float64], centre: float, width: float, function: str) -> NDArray[np.float64]:
    """Map through a window (PS3.3, C.11.2.1.2 and C.11.2.1.3)."""
    if function == "SIGMOID":
        return np.asarray(1 / (1 + np.exp(np.clip(-4 * (values - centre) / width, -50, 50))))
    # A linear width is at least 1; images of treatment machines have less, in small units, and mean the exact one.
    if function == "LINEAR_EXACT" or width < 1:
        return np.asarray((values - centre) / width + 0.5)
    if width > 1:
        return np.asarray((values - (centre - 0.5)) / (width - 1) + 0.5)
    return np.asarray(values > centre - 0.5, np.float64)  # a threshold


def _little(header: Any) -> bool:
    return bool(header.original_encoding[1] is not False)


def _number(value: Any) -> float | None:
    """Return the first of a possibly multi-valued element, None where nothing stands."""
    values = value if isinstance(value, (list, tuple)) or hasattr(value, "insert") else [value]
    return float(values[0]) if len(values) and values[0] is not None and values[0] != "" else None
