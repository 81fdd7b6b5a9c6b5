"""DICOM files: header, compression, bits; grey levels are made in `pipeline.imaging.decoding.display`."""

from __future__ import annotations

import io
import logging
import re
import warnings
import zlib
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pipeline.imaging.decoding import display, jpeg
from pipeline.imaging.decoding.errors import UnreadableImage
from pipeline.imaging.decoding.facts import Facts, Opened, Stored
from pipeline.imaging.decoding.luts import look_up, read_palette

# What pydicom says on each of thousands of files helps none; what matters is a reason in excluded.csv.
warnings.filterwarnings("ignore", category=UserWarning, module="pydicom")

_EXPLICIT: Final = "1.2.840.10008.1.2.1"
_IMPLICIT: Final = "1.2.840.10008.1.2"
_BIG: Final = "1.2.840.10008.1.2.2"
_GE_BIG: Final = "1.2.840.113619.5.2"
"""Little-endian but for its pixels, of older scanners by GE."""
_DEFLATED_FRAMES: Final = "1.2.840.10008.1.2.8.1"
_JPEG_BASELINE: Final = "1.2.840.10008.1.2.4.50"
_JPEG: Final = (_JPEG_BASELINE, *(f"1.2.840.10008.1.2.4.{number}" for number in (51, 57, 70, 80, 81)))
"""Baseline, extended, lossless, JPEG-LS."""
_ALL_COEFFICIENTS: Final = (0, 63)
"""What a sequential scan must say that it holds (ITU-T T.81, table B.3)."""
_JPEG_XL: Final = ("1.2.840.10008.1.2.4.110", "1.2.840.10008.1.2.4.111", "1.2.840.10008.1.2.4.112")
_CODECS: Final = {
    **dict.fromkeys(_JPEG[1:4], "jpeg"),
    **dict.fromkeys(_JPEG[4:], "jpegls"),
    "1.2.840.10008.1.2.4.90": "jpeg2k",
    "1.2.840.10008.1.2.4.91": "jpeg2k",
    **dict.fromkeys(_JPEG_XL, "jpegxl"),
}
"""What imagecodecs decodes: JPEG XL, and the rest where pydicom's plugins are not installed."""
_NEW: Final = {
    _DEFLATED_FRAMES: "Deflated Image Frame Compression",
    _JPEG_XL[0]: "JPEG XL Lossless",
    _JPEG_XL[1]: "JPEG XL JPEG Recompression",
    _JPEG_XL[2]: "JPEG XL",
}
"""Names that pydicom does not know yet (PS3.6, 2024)."""
_LINKS: Final = ("1.2.840.10008.1.2.4.94", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.204")
"""JPIP: the file holds an address in place of pixels."""
_VIDEO: Final = "1.2.840.10008.1.2.4.10"
"""Beginning of the names of MPEG-2, MPEG-4 and HEVC."""
_PIXELS: Final = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
_NEEDED: Final = ("Rows", "Columns", "BitsAllocated", "PhotometricInterpretation")
_GREY: Final = ("MONOCHROME1", "MONOCHROME2")
_YBR: Final = ("YBR_FULL", "YBR_FULL_422")
_COLOURS: Final = ("RGB", "PALETTE COLOR", *_YBR, "YBR_ICT", "YBR_RCT", "YBR_PARTIAL_420", "YBR_PARTIAL_422", "XYB")
_SUBSAMPLED: Final = {"YBR_FULL_422": 2.0, "YBR_PARTIAL_422": 2.0, "YBR_PARTIAL_420": 1.5}
"""Samples a pixel, uncompressed."""
_FIRST_GROUPS: Final = (b"\x02\x00", b"\x08\x00", b"\x00\x08")
_VR: Final = re.compile(rb"A[EST]|CS|D[AST]|IS|L[OT]|O[BW]|PN|S[HQT]|TM|U[CILNRST]")
_LONGEST_NAME: Final = 64


def has_no_preamble(data: bytes) -> bool:
    """Tell a data set without the 128 bytes and "DICM" before it by its first element, of group 0002 or 0008.

    Parameters
    ----------
    data : bytes
        A whole file.
    """
    if len(data) < 64 or data[:2] not in _FIRST_GROUPS:
        return False
    big = data[:2] == b"\x00\x08"
    if int.from_bytes(data[2:4], "big" if big else "little") > 0x0070:
        return False
    return bool(_VR.match(data, 4)) or (not big and int.from_bytes(data[4:8], "little") <= 256)


def open_dicom(data: bytes) -> Opened:
    """Read the header of a DICOM file.

    Parameters
    ----------
    data : bytes
        The whole file.

    Raises
    ------
    UnreadableImage
        "damaged", "truncated", "no pixels", "no decoder", "unsupported pixel type", "unsupported colours".
    """
    header = _header(data)
    if not any(name in header for name in _PIXELS):
        raise UnreadableImage("no pixels", f"DICOM {_text(header.get('Modality'))}".rstrip())
    missing = [name for name in _NEEDED if header.get(name) in (None, "")]
    if len(missing) == len(_NEEDED):
        raise UnreadableImage("no pixels", "DICOM without the elements of an image")
    if missing:
        raise UnreadableImage("damaged", f"DICOM header without {missing[0]}")
    if header.BitsAllocated not in (1, 8, 16, 32, 64) or (header.BitsAllocated == 64 and "PixelData" in header):
        raise UnreadableImage("unsupported pixel type", f"DICOM of {header.BitsAllocated} bits allocated")
    syntax = _syntax(header)
    if not re.fullmatch(r"[0-9.]{1,64}", syntax):
        raise UnreadableImage("damaged", "transfer syntax of DICOM")
    kind = _text(header.get("PhotometricInterpretation"))
    is_float = "PixelData" not in header
    samples = int(header.get("SamplesPerPixel", 1) or 1)
    facts = Facts(
        f"DICOM {_text(header.get('Modality'))}".rstrip(),
        compression="none" if syntax in (_EXPLICIT, _IMPLICIT, _BIG, _GE_BIG) else _name(syntax),
        bits=0 if is_float else int(header.get("BitsStored") or header.BitsAllocated),
        photometric=kind,
        frames=_frames(header),
        width=int(header.get("Columns") or 0),
        height=int(header.get("Rows") or 0),
        maker=_text(header.get("Manufacturer")),
        reader=_reader(syntax),
    )
    if not (kind in _GREY and samples == 1) and not (kind in _COLOURS and samples == (1 if "PAL" in kind else 3)):
        raise UnreadableImage(
            "unsupported colours", f"DICOM with {kind or 'no photometric interpretation'} x {samples}"
        )
    if not is_float and not 1 <= facts.bits <= int(header.BitsAllocated):
        raise UnreadableImage("damaged", f"DICOM with {facts.bits} of {header.BitsAllocated} bits")
    return Opened(facts, lambda index: _read(header, syntax, facts, index))


def _header(data: bytes) -> Any:
    """Parse the file, without what pydicom has to say on personal data that break the rules."""
    try:
        import pydicom
    except ModuleNotFoundError:
        raise UnreadableImage("no decoder", "DICOM; pip install pydicom") from None
    # What a header says about the patient need not be valid to decode the pixels, and thousands of warnings help none.
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)  # its import sets another level
    try:
        header = pydicom.dcmread(io.BytesIO(data), force=data[128:132] != b"DICM")
    except EOFError:
        raise UnreadableImage("truncated") from None
    if "file_meta" not in header.__dict__ or header.file_meta is None:
        header.file_meta = pydicom.dataset.FileMetaDataset()
    if "Rows" not in header and "SOPClassUID" not in header and "MediaStorageSOPClassUID" not in header.file_meta:
        if data[128:132] != b"DICM":
            raise UnreadableImage("not an image")
        raise UnreadableImage("no pixels" if len(header) else "damaged", "DICOM without the elements of an image")
    return header


def _syntax(header: Any) -> str:
    """Return the transfer syntax; a file without one is in the encoding that its elements turned out to have."""
    stated = header.file_meta.get("TransferSyntaxUID")
    if stated:
        return str(stated)
    implicit, little = header.original_encoding
    return _IMPLICIT if implicit else _EXPLICIT if little else _BIG


def _name(syntax: str) -> str:
    from pydicom.uid import UID

    return _NEW.get(syntax) or str(UID(syntax).name)


def _frames(header: Any) -> int:
    stated = _text(header.get("NumberOfFrames")) or "1"
    if not re.fullmatch(r"\+?[0-9]+", stated):
        raise UnreadableImage("damaged", f"NumberOfFrames '{stated}'")
    return max(1, int(stated))


def _reader(syntax: str) -> str:
    """Choose who decodes a transfer syntax, or say why nobody does."""
    from pydicom.pixels import get_decoder

    if syntax in _LINKS:
        raise UnreadableImage("no pixels", f"DICOM with an address in their place ({_name(syntax)})")
    if syntax in (_DEFLATED_FRAMES, _GE_BIG):
        return "pydicom"
    if syntax in _JPEG_XL:
        return "imagecodecs"
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        what = "a video; convert its frames" if syntax.startswith(_VIDEO) else "convert the files, as with gdcmconv"
        raise UnreadableImage("no decoder", f"DICOM with transfer syntax {_name(syntax)}; {what}") from None
    if not decoder.is_available and syntax in _CODECS:
        return "imagecodecs"
    if not decoder.is_available:
        needed = ", ".join(line.split(" - ")[0].strip() for line in decoder.missing_dependencies)
        raise UnreadableImage("no decoder", f"DICOM with transfer syntax {_name(syntax)}; pip install {needed}")
    return "pydicom" if decoder.is_native else _with(_plugins(decoder)[0])


def _plugins(decoder: Any) -> list[str]:
    """Return the plugins of a decoder that are installed, the best first.

    For JPEG of 8 bits that is Pillow; for JPEG 2000 Pillow's decoder refuses files that OpenJPEG's own reads.
    """
    plugins = list(decoder.available_plugins)
    return plugins if decoder.UID == _JPEG_BASELINE else sorted(plugins, key=lambda name: name != "pylibjpeg")


def _with(plugin: str) -> str:
    return "pydicom" if plugin == "pydicom" else f"pydicom with {plugin}"


def _read(header: Any, syntax: str, facts: Facts, index: int) -> Stored:
    pixels, kind, used = _pixels(header, syntax, facts, index)
    if facts.bits and kind not in _YBR and pixels.dtype.kind in "iu":
        pixels = _used_bits(pixels, header, syntax, facts, index)
    if kind in _GREY:
        if pixels.ndim != 2:
            raise UnreadableImage("damaged", "colours in a code stream whose DICOM header says grey")
        shown, window = display.grey(pixels, header, index, facts.bits)
        return Stored(shown, window=window, reader=used)
    if kind == "PALETTE COLOR":
        return _palette(pixels, header)._replace(reader=used)
    if kind != "RGB" or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise UnreadableImage("unsupported colours", f"DICOM with {kind} of {facts.bits} bits")
    white = (1 << facts.bits) - 1
    if pixels.min() < 0 or pixels.max() > white:
        raise UnreadableImage("damaged", "DICOM colours beyond BitsStored")
    return Stored(
        pixels.astype(np.uint8 if white < 256 else np.uint16 if white < 65536 else np.uint32), white, reader=used
    )


def _pixels(header: Any, transfer: str, facts: Facts, index: int) -> tuple[NDArray[Any], str, str]:
    """Return a frame, its photometric interpretation once decoded, and who decoded it."""
    from pydicom.pixels import get_decoder
    from pydicom.pixels.utils import as_pixel_options
    from pydicom.uid import UID

    syntax: Any = UID(transfer)
    if syntax == _DEFLATED_FRAMES:
        header, syntax, index = _inflated(header, index), UID(_EXPLICIT), 0
    if syntax == _GE_BIG:
        header, syntax = _swapped(header), UID(_EXPLICIT)
    if facts.reader == "imagecodecs":
        if syntax in _JPEG:
            jpeg.segments(_frame_bytes(header, index))
        pixels = _by_imagecodecs(header, _CODECS[syntax], index)
        return pixels, "RGB" if pixels.ndim == 3 and facts.photometric in _COLOURS else facts.photometric, ""
    _check_length(header, syntax)
    decoder = get_decoder(syntax)
    header.NumberOfFrames = 1 if transfer == _DEFLATED_FRAMES else facts.frames
    options = as_pixel_options(header)
    # The bits above BitsStored are cut by `_used_bits`, which knows HighBit.
    options["correct_unused_bits"] = False
    options["raw"] = facts.bits > 8
    plugins = [""] if decoder.is_native else _plugins(decoder)
    if syntax in _JPEG and (by_turbo := _of_jpeg(header, index, facts)) is not None:
        return by_turbo, facts.photometric, "imagecodecs"
    partial = facts.photometric == "YBR_PARTIAL_422"
    if partial:  # laid out as the full one, for which pydicom has code
        options.update(photometric_interpretation="YBR_FULL_422", raw=True)
    used = ""
    try:
        pixels, about = decoder.as_array(header, index=index, decoding_plugin=plugins[0], **options)
    except (RuntimeError, ValueError, OSError):
        if syntax != _JPEG_BASELINE or len(plugins) < 2:
            raise
        # Pillow's plugin refuses some sound streams; of damaged ones libjpeg fills what is lacking without a word.
        _by_imagecodecs(header, "jpeg8", index)
        pixels, about = decoder.as_array(header, index=index, decoding_plugin=plugins[1], **options)
        used = _with(plugins[1])
    kind = str(about["photometric_interpretation"])
    if partial or (kind in _YBR and facts.bits > 8):
        return _from_ybr(pixels, facts.bits, partial), "RGB", used
    return pixels, kind, used


def _of_jpeg(header: Any, index: int, facts: Facts) -> NDArray[Any] | None:
    """Raise if a JPEG stream is cut short; decode those grey ones whose scan breaks a rule that libjpeg insists on."""
    found = jpeg.segments(_frame_bytes(header, index))
    sequential = found.process in ("JPEG", "JPEG extended")
    if not sequential or found.spectral == _ALL_COEFFICIENTS or facts.photometric not in _GREY:
        return None
    return _by_imagecodecs(header, "jpeg", index)


def _check_length(header: Any, syntax: str) -> None:
    """Raise if uncompressed pixels are fewer than the header promises."""
    if syntax not in (_IMPLICIT, _EXPLICIT, _BIG) or "PixelData" not in header:
        return
    samples = _SUBSAMPLED.get(str(header.PhotometricInterpretation), float(header.get("SamplesPerPixel", 1) or 1))
    bits = header.Rows * header.Columns * _frames(header) * header.BitsAllocated * samples
    if len(header.PixelData or b"") < bits // 8:
        raise UnreadableImage("truncated", "DICOM with fewer pixels than its header says")


def _frame_bytes(header: Any, index: int) -> bytes:
    from pydicom.encaps import get_frame

    return bytes(get_frame(header.PixelData, index, number_of_frames=_frames(header)))


def _inflated(header: Any, index: int) -> Any:
    """Return a header with one frame of Deflated Image Frame Compression inflated (PS3.5, A.4.13)."""
    needed = header.Rows * header.Columns * int(header.get("SamplesPerPixel", 1)) * header.BitsAllocated // 8
    pixels = zlib.decompressobj(-zlib.MAX_WBITS).decompress(_frame_bytes(header, index), needed + 2)
    return _with_pixels(header, pixels, 1)


def _swapped(header: Any) -> Any:
    """Return a header whose pixels are little-endian."""
    size = max(1, header.BitsAllocated // 8)
    whole = len(header.PixelData) // size * size
    pixels = np.frombuffer(header.PixelData[:whole], f">u{size}").astype(f"<u{size}").tobytes()
    return _with_pixels(header, pixels, _frames(header))


def _with_pixels(header: Any, pixels: bytes, frames: int) -> Any:
    """Return what a header says of its pixels, with other ones, uncompressed and little-endian."""
    import pydicom

    changed = pydicom.Dataset()
    for element in header.group_dataset(0x0028):
        changed.add(element)
    changed.file_meta = pydicom.dataset.FileMetaDataset()
    changed.file_meta.TransferSyntaxUID = pydicom.uid.UID(_EXPLICIT)
    changed.NumberOfFrames = frames
    changed.add_new("PixelData", "OW", pixels + b"\0" * (len(pixels) % 2))
    return changed


def _by_imagecodecs(header: Any, codec: str, index: int) -> NDArray[Any]:
    import imagecodecs

    pixels = np.asarray(getattr(imagecodecs, f"{codec}_decode")(_frame_bytes(header, index)))
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[..., 0]
    if pixels.shape[:2] != (header.Rows, header.Columns):
        raise UnreadableImage("damaged", "code stream of another size than the DICOM header says")
    return pixels


def _used_bits(pixels: NDArray[Any], header: Any, syntax: str, facts: Facts, index: int) -> NDArray[Any]:
    """Cut what lies above HighBit and below the lowest of BitsStored bits, and extend the sign.

    Older scanners store 12 bits at the top of 16 (HighBit 15); others put overlays or rubbish into unused bits.
    """
    container = pixels.dtype.itemsize * 8
    stored, signed = facts.bits, int(header.get("PixelRepresentation", 0) or 0) == 1
    high = int(header.get("HighBit", stored - 1))
    unusual = high != stored - 1
    if high + 1 < stored or high + 1 > container or (unusual and _precision(header, syntax, index) == stored):
        high = stored - 1
    pixels = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
    pixels = pixels.view(f"{'i' if signed else 'u'}{pixels.dtype.itemsize}")
    if container <= stored:
        return pixels
    return (pixels << (container - 1 - high)) >> (container - stored)


def _precision(header: Any, syntax: str, index: int) -> int:
    """Return the bits a sample of a code stream, which HighBit need not concern; 0 where there is none."""
    if not syntax.startswith("1.2.840.10008.1.2.4."):
        return 0
    stream = _frame_bytes(header, index)
    if syntax in _JPEG:
        return jpeg.segments(stream).frame[0]
    start = stream.find(b"\xff\x4f\xff\x51")  # SIZ, the first segment of JPEG 2000
    return (stream[start + 42] & 0x7F) + 1 if start >= 0 else 0


def _palette(pixels: NDArray[Any], header: Any) -> Stored:
    """Look colours up; their tables say how many bits they have."""
    tables = read_palette(header, header.original_encoding[1] is not False)
    colours = np.stack([look_up(pixels, table) for table in tables], -1)
    return Stored(colours, max(table.white for table in tables))


def _from_ybr(pixels: NDArray[Any], bits: int, partial: bool) -> NDArray[np.uint16]:
    """Convert YBR_FULL of more than 8 bits, or YBR_PARTIAL, whose Y is 16 to 235 (PS3.3, C.7.6.3.1.2)."""
    y, blue, red = (pixels[..., c].astype(float) for c in range(3))
    blue, red = blue - 2.0 ** (bits - 1), red - 2.0 ** (bits - 1)
    if partial:
        unit = 2.0 ** (bits - 8)
        y, blue, red = (y - 16 * unit) * (255 / 219), blue * (255 / 224), red * (255 / 224)
    rgb = np.stack([y + 1.402 * red, y - 0.344136 * blue - 0.714136 * red, y + 1.772 * blue], -1)
    return np.asarray(np.clip(np.rint(rgb), 0, (1 << bits) - 1), np.uint16)


def _text(value: Any) -> str:
    """Return an element as one short line, empty where there is none."""
    if value is None:
        return ""
    words = "".join(letter if letter.isprintable() else " " for letter in str(value)).split()
    return " ".join(words)[:_LONGEST_NAME]
