"""Image files that tests make: DICOM as an acquisition writes it, and TIFF of any layout."""

import io
import struct

import numpy as np
import pydicom
import tifffile
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit


def item(**elements):
    """A data set, of a sequence or of a file."""
    dataset = pydicom.Dataset()
    for name, value in elements.items():
        setattr(dataset, name, value)
    return dataset


def lut(entries, first=0, bits=16):
    """An item of a Modality or VOI LUT Sequence."""
    entries = np.asarray(entries)
    made = item(LUTDescriptor=[len(entries) % 65536, first, bits])
    made.add_new("LUTData", "OW", entries.astype("<u2").tobytes())
    return Sequence([made])


def dicom_dataset(pixels, photometric="MONOCHROME2", frames=None, **elements):
    """An uncompressed data set with its file meta; `pixels` are [H, W], [H, W, 3] or with `frames` before."""
    meta = pydicom.dataset.FileMetaDataset()
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file = item(SOPClassUID=meta.MediaStorageSOPClassUID, SOPInstanceUID="1.2.3", Modality="DX")
    file.file_meta = meta
    frame = pixels if frames is None else pixels[0]
    file.Rows, file.Columns = frame.shape[:2]
    file.SamplesPerPixel = 1 if frame.ndim == 2 else 3
    if frame.ndim == 3:
        file.PlanarConfiguration = 0
    if frames is not None:
        file.NumberOfFrames = frames
    file.PhotometricInterpretation = photometric
    if pixels.dtype.kind == "f":
        file.BitsAllocated = pixels.dtype.itemsize * 8
        name = "FloatPixelData" if pixels.dtype.itemsize == 4 else "DoubleFloatPixelData"
        setattr(file, name, pixels.tobytes())
    else:
        file.BitsAllocated = file.BitsStored = pixels.dtype.itemsize * 8
        file.HighBit = file.BitsStored - 1
        file.PixelRepresentation = int(pixels.dtype.kind == "i")
        data = pixels.tobytes()
        file.PixelData = data + b"\0" * (len(data) % 2)
        file["PixelData"].VR = "OW"
    for name, value in elements.items():
        setattr(file, name, value)
    return file


def dicom(pixels, photometric="MONOCHROME2", frames=None, syntax=None, stream=None, **elements):
    """A DICOM file; with `syntax` and `stream` (one code stream or several) an encapsulated one."""
    file = dicom_dataset(pixels, photometric, frames, **elements)
    if "BitsStored" in elements and "HighBit" not in elements:
        file.HighBit = file.BitsStored - 1
    if stream is not None:
        file.PixelData = encapsulate([stream] if isinstance(stream, bytes) else stream)
        file["PixelData"].VR = "OB"
        file["PixelData"].is_undefined_length = True
        file.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    data = saved(file)
    return with_syntax(data, syntax) if syntax else data


def with_syntax(data, syntax):
    """The same file with another transfer syntax, which pydicom need not know, in its meta information."""
    start = data.index(b"\x02\x00\x10\x00UI")
    length = int.from_bytes(data[start + 6 : start + 8], "little")
    value = syntax.encode() + b"\0" * (len(syntax) % 2)
    group = int.from_bytes(data[140:144], "little") + len(value) - length
    changed = data[:start] + b"\x02\x00\x10\x00UI" + struct.pack("<H", len(value)) + value + data[start + 8 + length :]
    return changed[:140] + struct.pack("<I", group) + changed[144:]


def saved(file, **options):
    """The bytes of a data set."""
    out = io.BytesIO()
    pydicom.dcmwrite(out, file, **({"enforce_file_format": True} | options))
    return out.getvalue()


def tiff(pixels, **options):
    """A TIFF file by tifffile, without its own description."""
    out = io.BytesIO()
    tifffile.imwrite(out, pixels, metadata=None, **options)
    return out.getvalue()
