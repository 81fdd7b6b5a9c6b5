"""DICOM files element by element, and how their values are shown by the standard."""

from __future__ import annotations

import io
from typing import Any

import imagecodecs
import numpy as np
import pydicom
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import UID

from tests.imaging.made import drawn

IMPLICIT, EXPLICIT, DEFLATED, BIG = (f"1.2.840.10008.1.2{end}" for end in ("", ".1", ".1.99", ".2"))
RLE = "1.2.840.10008.1.2.5"
DEFLATED_FRAMES = "1.2.840.10008.1.2.8.1"


def jpeg_syntax(number: int) -> str:
    """Return the transfer syntax 1.2.840.10008.1.2.4.<number>."""
    return f"1.2.840.10008.1.2.4.{number}"


def header(pixels: np.ndarray, photometric: str = "MONOCHROME2", **elements: Any) -> Dataset:
    """Return a data set that describes `pixels` [H, W], [H, W, 3] or, with NumberOfFrames, [N, H, W(, 3)].

    It holds no pixels yet. `elements` replace what follows from the pixels; None leaves an element out.
    """
    file = Dataset()
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID("1.2.840.10008.5.1.4.1.1.7")
    meta.MediaStorageSOPInstanceUID = UID("1.2.3.4")
    meta.ImplementationClassUID = UID("1.2.3.9")
    meta.TransferSyntaxUID = UID(EXPLICIT)
    file.file_meta = meta
    file.SOPClassUID, file.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    file.Modality, file.Manufacturer = "OT", "Drawn"
    shape = pixels.shape[1:] if "NumberOfFrames" in elements else pixels.shape
    file.Rows, file.Columns = shape[:2]
    file.SamplesPerPixel = 1 if len(shape) == 2 else shape[2]
    if file.SamplesPerPixel > 1:
        file.PlanarConfiguration = 0
    file.PhotometricInterpretation = photometric
    file.BitsAllocated = pixels.dtype.itemsize * 8
    file.BitsStored = elements.get("BitsStored", file.BitsAllocated)
    file.HighBit = file.BitsStored - 1
    file.PixelRepresentation = int(pixels.dtype.kind == "i")
    for name, value in elements.items():
        if value is None:
            del file[name]
        else:
            setattr(file, name, value)
    return file


def written(file: Dataset, raw: bytes | list[bytes], syntax: str = EXPLICIT, **options: Any) -> bytes:
    """Return the file with these pixels: plain bytes, or encoded frames."""
    known = {DEFLATED_FRAMES: jpeg_syntax(90), jpeg_syntax(110): jpeg_syntax(201)}.get(syntax, syntax)
    file.file_meta.TransferSyntaxUID = UID(known)
    if isinstance(raw, list):
        file.PixelData = encapsulate(raw, **options)
        file["PixelData"].VR = "OB"
    else:
        file.PixelData = raw + bytes(len(raw) % 2)
        file["PixelData"].VR = "OW" if file.BitsAllocated > 8 or syntax == IMPLICIT else "OB"
    out = io.BytesIO()
    kwargs: dict[str, Any] = {}
    if syntax in (IMPLICIT, BIG):
        kwargs = {"implicit_vr": syntax == IMPLICIT, "little_endian": syntax != BIG}
    pydicom.dcmwrite(out, file, enforce_file_format=True, **kwargs)
    # pydicom writes no syntax that it does not know: one of the same length stands in.
    return out.getvalue().replace(_even(known), _even(syntax)) if known != syntax else out.getvalue()


def _even(uid: str) -> bytes:
    return uid.encode() + b"\0" * (len(uid) % 2)


def windowed(values: np.ndarray, centre: float, width: float, function: str = "LINEAR") -> np.ndarray:
    """Return 0..255 by PS3.3 C.11.2.1.2 and C.11.2.1.3."""
    x = values.astype(float)
    if function == "SIGMOID":
        shown = 1 / (1 + np.exp(-4 * (x - centre) / width))
    elif function == "LINEAR_EXACT":
        shown = (x - centre) / width + 0.5
    elif width == 1:
        shown = (x > centre - 0.5).astype(float)
    else:
        shown = (x - (centre - 0.5)) / (width - 1) + 0.5
    return np.rint(np.clip(shown, 0, 1) * 255).astype(np.uint8)


def stretched(values: np.ndarray, anatomy: np.ndarray | None = None) -> np.ndarray:
    """Return 0..255 from the 0.5th to the 99.5th percentile of `anatomy` (all values if None)."""
    low, high = np.percentile(values if anatomy is None else anatomy, [0.5, 99.5])
    return np.rint(np.clip((values.astype(float) - low) / (high - low), 0, 1) * 255).astype(np.uint8)


def full(bits: int, signed: bool = False) -> dict[str, Any]:
    """Return a window that spans all values of `bits`, so that nothing depends on percentiles."""
    return {"WindowCenter": str(0 if signed else 2 ** (bits - 1)), "WindowWidth": str(2**bits)}


def lut(values: np.ndarray, first: int, bits: int) -> Dataset:
    """Return an item of a Modality or VOI LUT Sequence."""
    item = Dataset()
    item.add_new("LUTDescriptor", "SS" if first < 0 else "US", [len(values) % 65536, first, bits])
    item.add_new("LUTData", "OW", values.astype("<u2").tobytes())
    return item


def looked_up(values: np.ndarray, table: np.ndarray, first: int) -> np.ndarray:
    """Return what a table gives; values outside take its ends (PS3.3 C.11.1.1.1)."""
    return table[np.clip(values.astype(np.int64) - first, 0, len(table) - 1)]


def jpeg_baseline(rgb: np.ndarray) -> bytes:
    """Return a JPEG stream, of colours with half the chroma."""
    out = io.BytesIO()
    Image.fromarray(rgb).save(out, "JPEG", quality=97, subsampling="4:2:2" if rgb.ndim == 3 else -1)
    return out.getvalue()


def rle_frame(pixels: np.ndarray) -> bytes:
    """Return byte planes, the highest first, each row packed by itself (PS3.5, annex G)."""
    samples = pixels[..., None] if pixels.ndim == 2 else pixels
    segments = []
    for c in range(samples.shape[2]):
        plane = samples[..., c]
        raw = np.ascontiguousarray(plane.astype(plane.dtype.newbyteorder(">"))).view(np.uint8)
        for byte in range(plane.dtype.itemsize):
            rows = raw.reshape(*plane.shape, -1)[..., byte]
            packed = b"".join(imagecodecs.packbits_encode(np.ascontiguousarray(row).tobytes()) for row in rows)
            segments.append(packed + bytes(len(packed) % 2))
    places = [64 + sum(len(s) for s in segments[:i]) for i in range(len(segments))]
    head = np.array([len(segments), *places, *[0] * (15 - len(segments))], "<u4").tobytes()
    return head + b"".join(segments)


def frames3() -> np.ndarray:
    """Return three frames that differ, uint16 of 12 bits [3, HEIGHT, WIDTH]."""
    one = drawn.grey(12)
    return np.stack([one, one[::-1], 4095 - one])


def group(centre: float, width: float, slope: float, intercept: float) -> Dataset:
    """Return functional groups with a window and a rescale."""
    item, window, values = Dataset(), Dataset(), Dataset()
    window.WindowCenter, window.WindowWidth = str(centre), str(width)
    values.RescaleSlope, values.RescaleIntercept, values.RescaleType = str(slope), str(intercept), "HU"
    item.FrameVOILUTSequence = Sequence([window])
    item.PixelValueTransformationSequence = Sequence([values])
    return item
