#!/bin/sh
# pydicom 3.0.2: apply_color_lut reads the palette of an Explicit VR Big Endian data set as little-endian 16-bit values.
# The same palette in little endian gives the right colours. PS3.5 7.3: OW values have the byte order of the data set.
# Valid input: a 1 x 4 PALETTE COLOR image, palette of 16-bit entries 0x1200, 0x3400, 0x5600, 0x7800.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check pydicom==3.0.2 numpy==2.4.6
cat > "$work/try.py" <<'P'
import io
import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels import apply_color_lut
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, SecondaryCaptureImageStorage

ENTRIES = [0x1200, 0x3400, 0x5600, 0x7800]


def shown(syntax, order):
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = syntax
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = SecondaryCaptureImageStorage
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = "1.2.3.4"
    ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PixelRepresentation = 1, 4, 1, 0
    ds.PhotometricInterpretation = "PALETTE COLOR"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 8, 8, 7
    for colour in ("Red", "Green", "Blue"):
        setattr(ds, f"{colour}PaletteColorLookupTableDescriptor", [4, 0, 16])
        setattr(ds, f"{colour}PaletteColorLookupTableData", np.array(ENTRIES, order + "u2").tobytes())
        ds[f"{colour}PaletteColorLookupTableData"].VR = "OW"
    ds.PixelData = bytes([0, 1, 2, 3])
    ds["PixelData"].VR = "OW" if syntax == ExplicitVRBigEndian else "OB"
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, ds, enforce_file_format=True)
    buffer.seek(0)
    read = pydicom.dcmread(buffer)
    return apply_color_lut(np.array([[0, 1, 2, 3]], np.uint8), read)[0, :, 0].tolist()


little, big = shown(ExplicitVRLittleEndian, "<"), shown(ExplicitVRBigEndian, ">")
print("pydicom", pydicom.__version__, "little endian", [hex(v) for v in little], "big endian", [hex(v) for v in big])
assert little == ENTRIES, "CHANGED: little endian"
assert big == [0x0012, 0x0034, 0x0056, 0x0078], "CHANGED: big endian"
print("as described: the entries of the big-endian palette have their bytes swapped")
P
"$work/venv/bin/python" "$work/try.py"
