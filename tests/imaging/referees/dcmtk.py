"""What dcmtk shows of DICOM files, alone and behind imagecodecs."""

from __future__ import annotations

import io
import tempfile
import zlib
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pydicom.config
from pydicom.dataset import Dataset

from tests.imaging.made.dicom_file import EXPLICIT, stretched, written
from tests.imaging.referees.decoders import Shown, Unable, pnm, run, scaled


def uncompressed(file: Dataset, number: int) -> tuple[Dataset, str]:
    """Return a data set of one frame that dcmtk reads, for compressions that it does not know, and who decoded."""
    syntax = str(file.file_meta.TransferSyntaxUID)
    frames = list(
        pydicom.encaps.generate_frames(file.PixelData, number_of_frames=int(file.get("NumberOfFrames", 1) or 1))
    )
    frame = frames[number]
    if syntax == "1.2.840.10008.1.2.8.1":
        pixels: Any = zlib.decompressobj(-15).decompress(frame)
        who = "zlib"
    elif syntax in ("1.2.840.10008.1.2.4.110", "1.2.840.10008.1.2.4.111", "1.2.840.10008.1.2.4.112"):
        pixels, who = imagecodecs.jpegxl_decode(frame), f"imagecodecs {imagecodecs.__version__}"
    elif syntax.startswith(("1.2.840.10008.1.2.4.9", "1.2.840.10008.1.2.4.20")):
        pixels, who = imagecodecs.jpeg2k_decode(frame), f"imagecodecs {imagecodecs.__version__}"
    elif syntax in ("1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81"):
        pixels, who = imagecodecs.jpegls_decode(frame), f"imagecodecs {imagecodecs.__version__}"
    else:
        pixels, who = imagecodecs.jpeg8_decode(frame), f"imagecodecs {imagecodecs.__version__}"
    if not isinstance(pixels, bytes):
        if pixels.ndim == 3:
            # The transforms of JPEG 2000 (and JPEG XL) are undone by its decoder; libjpeg goes by the markers of the
            # stream (JFIF or Adobe), whatever the header says.
            by_stream = syntax.startswith("1.2.840.10008.1.2.4.5")
            if by_stream or file.PhotometricInterpretation in ("YBR_RCT", "YBR_ICT"):
                file.PhotometricInterpretation = "RGB"
            file.PlanarConfiguration = 0
        pixels = np.ascontiguousarray(pixels).tobytes()
    del file.PixelData
    file.NumberOfFrames = 1
    return pydicom.dcmread(io.BytesIO(written(file, pixels, EXPLICIT))), who


def first_of(value: Any) -> Any:
    """Return the first of several values, None for an empty one."""
    if value is None or value == "":
        return None
    return value[0] if isinstance(value, (list, pydicom.multival.MultiValue)) else value


def flattened(file: Dataset, number: int) -> None:
    """Copy window and rescale of a frame's functional groups to the top, where dcm2pnm of this version looks."""
    groups = []
    per_frame = file.get("PerFrameFunctionalGroupsSequence")
    if per_frame and len(per_frame) > number:
        groups.append(per_frame[number])
    groups += list(file.get("SharedFunctionalGroupsSequence") or [])
    wanted = {
        "FrameVOILUTSequence": ("WindowCenter", "WindowWidth", "VOILUTFunction"),
        "PixelValueTransformationSequence": ("RescaleSlope", "RescaleIntercept", "RescaleType"),
    }
    for sequence, names in wanted.items():
        for group in groups:
            if group.get(sequence):
                for name in names:
                    if name in group.get(sequence)[0]:
                        setattr(file, name, group.get(sequence)[0].get(name))
                break


def by_dcmtk(name: str, data: bytes, options: dict[str, Any]) -> Shown:
    """dcm2pnm, dcmj2pnm and dcml2pnm of dcmtk."""
    shown, _ = dcmtk(name, data, options)
    return shown


def dcmtk(name: str, data: bytes, options: dict[str, Any], decode_first: bool = False) -> tuple[Shown, str]:
    """Return what dcmtk shows of a file, and who helped."""
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    pydicom.config.settings.writing_validation_mode = pydicom.config.IGNORE
    who = ""
    try:
        file = pydicom.dcmread(io.BytesIO(data), force=True)
        if "PixelData" not in file:
            raise Unable("no Pixel Data")
        syntax = str(file.file_meta.get("TransferSyntaxUID", "1.2.840.10008.1.2")) if hasattr(file, "file_meta") else ""
        count = int(file.get("NumberOfFrames", 1) or 1)
        number = {"first": 0, "middle": (count - 1) // 2, "error": 0}.get(
            options.get("frame", "first"), options.get("frame")
        )
        # dcmtk has no JPEG 2000, JPEG XL and deflated frames.
        unknown = syntax.startswith(("1.2.840.10008.1.2.4.9", "1.2.840.10008.1.2.4.20", "1.2.840.10008.1.2.4.11"))
        changed = False
        if unknown or syntax == "1.2.840.10008.1.2.8.1" or decode_first:
            file, who = uncompressed(file, number)
            syntax, changed, place = EXPLICIT, True, 0
        else:
            place = number
        if "SharedFunctionalGroupsSequence" in file:
            flattened(file, number)
            changed = True
    except Unable:
        raise
    except Exception as error:
        raise Unable(f"{type(error).__name__}: {error}"[:200]) from None
    if changed:
        out = io.BytesIO()
        pydicom.dcmwrite(out, file, enforce_file_format=True)
        data = out.getvalue()
    grey = file.PhotometricInterpretation in ("MONOCHROME1", "MONOCHROME2")
    window = all(first_of(file.get(k)) is not None for k in ("WindowCenter", "WindowWidth"))
    window = window and float(first_of(file.WindowWidth)) > 0
    tool = "dcm2pnm"
    if syntax in ("1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81"):
        tool = "dcml2pnm"
    elif syntax.startswith("1.2.840.10008.1.2.4"):
        tool = "dcmj2pnm"
    look = ["-O", "+op"]
    stretch = False
    if grey and window:
        look += ["+Wi", "1"]
    elif grey and file.get("VOILUTSequence"):
        look += ["+Wl", "1"]
    elif grey:
        look, stretch = ["-O", "+opw", "+Wm"], True
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "x.dcm", Path(folder) / "x.pnm"
        source.write_bytes(data)
        run(tool, "-q", "+F", str(place + 1), *look, str(source), str(target))
        values = pnm(target.read_bytes())
    if stretch:
        # The window from the lowest to the highest value, with 16 bits: percentiles of it are those of the values.
        padding = file.get("PixelPaddingValue")
        anatomy = None
        if padding is not None and syntax in (EXPLICIT, "1.2.840.10008.1.2"):
            stored = file.pixel_array
            stored = stored[place] if count > 1 and not changed else stored
            last = file.get("PixelPaddingRangeLimit", padding)
            border = (stored >= min(padding, last)) & (stored <= max(padding, last))
            anatomy = values[~border]
        inverse = file.PhotometricInterpretation == "MONOCHROME1"
        values = values.astype(np.uint16)
        if values.max() == values.min():
            return np.zeros(values.shape, np.uint8), who
        if file.BitsAllocated == 1:
            return scaled(values, {}), who
        if inverse:
            shown = 255 - stretched(65535 - values, None if anatomy is None else 65535 - anatomy)
        else:
            shown = stretched(values, anatomy)
        return shown, who
    return scaled(values, {}), who


def by_dcmtk_after_imagecodecs(name: str, data: bytes, options: dict[str, Any]) -> Shown:
    """The frame decoded by imagecodecs, shown by dcm2pnm: for compressions that both know."""
    file = pydicom.dcmread(io.BytesIO(data), force=True)
    syntax = str(file.file_meta.TransferSyntaxUID) if hasattr(file, "file_meta") else ""
    if not syntax.startswith("1.2.840.10008.1.2.4"):
        raise Unable("not compressed")
    try:
        return dcmtk(name, data, options, decode_first=True)[0]
    except Exception as error:
        raise Unable(str(error)) from None
