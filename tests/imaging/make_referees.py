"""Ask other decoders what each file shows, and write the table: ``python -m tests.imaging.make_referees [part]``.

Needs dcmtk and ImageMagick of Debian (``apt-get install dcmtk imagemagick``) and, of PyPI, ``pyvips`` and
``pyvips-binary`` beside the project's requirements. Without an argument the table is written; with a part of
a name, what the decoders say about those files is printed.
"""

from __future__ import annotations

import contextlib
import io
import re
import subprocess
import sys
import tempfile
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import imagecodecs
import numpy as np
import pydicom
import pydicom.config
import tifffile
from PIL import Image, ImageOps
from pydicom.dataset import Dataset

from tests.imaging import drawn, referees
from tests.imaging.drawn import Made
from tests.imaging.made_dicom import EXPLICIT, stretched, written
from tests.imaging.made_tiff import from_ycbcr
from tests.imaging.rulings import ruling

TOLERANCE = 2
"""Grey levels: the roundings of two decoders, and of the colour conversion between them."""
LOSSY = 3
"""Mean grey levels by which a lossy file may differ from what was drawn: more is another colour, scale or place."""

Shown = np.ndarray
Referee = Callable[[str, bytes, dict[str, Any]], Shown]


class Unable(Exception):
    """This decoder does not read the file."""


def run(*command: str, content: bytes | None = None) -> bytes:
    """Return the standard output of a command that must succeed."""
    result = subprocess.run(command, input=content, capture_output=True, timeout=60, check=False)
    if result.returncode:
        raise Unable(result.stderr.decode(errors="replace").strip()[-200:])
    return result.stdout


def version(*command: str) -> str:
    """Return the first version number that a command prints."""
    out = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(r"v?(\d+(\.\d+)+(-\d+)?)", out.stdout + out.stderr)
    return found[1] if found else "?"


def scaled(values: np.ndarray, options: dict[str, Any]) -> np.ndarray:
    """Return integers of their whole range, or of the bits that the data set uses, with 8 bits."""
    if values.dtype == np.uint8:
        return values
    if values.dtype == bool:
        return values.astype(np.uint8) * 255
    if values.dtype.kind != "u":
        low, high = float(values.real.min()), float(values.real.max())
        return np.rint((values.real.astype(float) - low) / (high - low) * 255).astype(np.uint8)
    return drawn.to_8_bits(values, options.get("bits", values.dtype.itemsize * 8))


def pnm(data: bytes) -> np.ndarray:
    """Return the samples of a PGM or PPM file with 8 or 16 bits, written as text or bytes."""
    kind = data[:2]
    words = []
    place = 2
    while len(words) < 3:
        match = re.match(rb"(\s|#[^\n]*\n)*(\d+)", data[place:])
        assert match
        words.append(int(match[2]))
        place += match.end()
    width, height, top = words
    samples = 3 if kind in (b"P3", b"P6") else 1
    if kind in (b"P2", b"P3"):
        values = np.array(data[place:].split(), np.uint16)
    else:
        values = np.frombuffer(data[place + 1 :], np.uint8 if top < 256 else ">u2").astype(np.uint16)
    values = values[: width * height * samples].reshape((height, width, samples) if samples == 3 else (height, width))
    return values.astype(np.uint8) if top < 256 else values


# --- formats other than DICOM


def by_pillow(name: str, data: bytes, options: dict[str, Any]) -> Shown:
    """Pillow: alpha dropped, EXIF orientation applied."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(io.BytesIO(data)) as file:
            file.load()
            image = ImageOps.exif_transpose(file)
            mode = image.mode
            if file.format == "TIFF" and "bits" not in options:
                options = {**options, "bits": max(8, file.tag_v2.get(258, (16,))[0])}  # type: ignore[attr-defined]
            if mode in ("I;16", "I;16B", "I;16L", "I;16N"):
                return scaled(np.asarray(image).astype(np.uint16), options)
            if mode == "I":
                values = np.asarray(image)
                if values.min() < 0 or values.max() > 65535:
                    return scaled(values, options)
                return scaled(values.astype(np.uint16), options)
            if mode == "F":
                return scaled(np.asarray(image), options)
            if mode in ("1", "L", "LA", "La"):
                return np.asarray(image.convert("L") if mode == "1" else image.getchannel(0))
            if mode == "P":
                return np.asarray(image.convert("RGBA"))[..., :3]
            if mode in ("RGBA", "RGBa", "RGBX"):
                return np.asarray(image)[..., :3]
            return np.asarray(image.convert("RGB"))


def by_magick(name: str, data: bytes, options: dict[str, Any]) -> Shown:
    """ImageMagick: first image, upright, without alpha, as 16 bits."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"x{Path(name).suffix}"
        path.write_bytes(data)
        out = run(
            "/usr/bin/convert-im6.q16", f"{path}[0]", "-auto-orient", "-alpha", "off", "-colorspace", "sRGB",
            "-type", "TrueColor", "-depth", "16", "ppm:-",
        )  # fmt: skip
    values = pnm(out)
    if values.dtype == np.uint8:
        return values
    bits = options.get("bits", 16)
    # Narrower samples were widened to 16 bits; those of a data set that uses fewer stand as they are.
    return np.rint(np.minimum(values * 255.0 / (2**bits - 1), 255)).astype(np.uint8)


def by_vips(name: str, data: bytes, options: dict[str, Any]) -> Shown:
    """libvips: upright, alpha dropped, colour spaces other than grey and RGB converted by it."""
    import pyvips

    try:
        image = pyvips.Image.new_from_buffer(data, "").autorot()
        bands = image.numpy()
        kind = image.interpretation
        if kind not in ("b-w", "grey16", "multiband", "srgb", "rgb", "rgb16"):
            image = image.colourspace("srgb")
            kind = "srgb"
            bands = image.numpy()
    except pyvips.Error as error:
        raise Unable(str(error).strip()) from None
    if bands.ndim == 3:
        bands = bands[..., :3] if bands.shape[2] >= 3 else bands[..., 0]
    return scaled(bands, options)


def by_tifffile(name: str, data: bytes, options: dict[str, Any]) -> Shown:
    """tifffile and imagecodecs give the samples; what they mean is done here, by TIFF 6.0."""
    if not name.endswith(".tif"):
        raise Unable("no TIFF")
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.pages[0]
        values = page.asarray()
        tags = {tag.code: tag.value for tag in page.tags}
        photometric, bits = int(page.photometric), int(page.bitspersample)
        if page.planarconfig == 2 and values.ndim == 3:
            values = np.moveaxis(values, 0, -1)
        compression = int(page.compression)
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[..., 0]
    options = options if "bits" in options else {**options, "bits": bits}
    if photometric == 3:
        table = np.asarray(tags[320]).reshape(3, -1).T
        shown = drawn.to_8_bits(table[values], 16)
    elif photometric == 5:
        shares = values / (2**bits - 1)
        shown = np.rint((1 - shares[..., :3]) * (1 - shares[..., 3:4]) * 255).astype(np.uint8)
    elif photometric == 6 and compression == 1:
        shown = from_ycbcr(values)
    elif photometric == 8:
        raise Unable("colour space left to the caller")
    else:
        if values.ndim == 3:
            values = values[..., :3] if photometric in (2, 6) else values[..., 0]
        if bits < 8:
            values = drawn.to_8_bits(values, bits)
        elif values.dtype == np.uint8 and bits == 8:
            pass
        shown = scaled(values, options)
        if photometric == 0:
            shown = 255 - shown
    return drawn.turned(shown, int(tags.get(274, 1)))


def by_imagecodecs(name: str, data: bytes, options: dict[str, Any]) -> Shown:
    """imagecodecs, for formats of which it reads the stream itself."""
    reader = {
        ".j2k": imagecodecs.jpeg2k_decode,
        ".jp2": imagecodecs.jpeg2k_decode,
        ".jph": imagecodecs.jpeg2k_decode,
        ".jls": imagecodecs.jpegls_decode,
        ".jxl": imagecodecs.jpegxl_decode,
        ".jxr": imagecodecs.jpegxr_decode,
        ".jpg": imagecodecs.jpeg8_decode,
        ".avif": imagecodecs.avif_decode,
        ".qoi": imagecodecs.qoi_decode,
    }.get(Path(name).suffix)
    if reader is None:
        raise Unable("no stream of its own")
    values = reader(data)
    if b"Exif\0\0" in data or (values.ndim == 3 and values.shape[2] == 4 and name.endswith(".jpg")):
        raise Unable("orientation and inks are left to the caller")
    if values.ndim == 3:
        values = values[..., :3] if values.shape[2] >= 3 else values[..., 0]
    if Path(name).suffix in (".j2k", ".jp2") and values.dtype == np.uint16:
        options = {**options, "bits": data[data.index(b"\xff\x51") + 40] + 1}
    if Path(name).suffix == ".jpg" and values.dtype == np.uint16:
        frame = next(data.index(bytes([0xFF, m])) for m in (0xC0, 0xC1, 0xC3) if bytes([0xFF, m]) in data)
        options = {**options, "bits": data[frame + 4]}
    return scaled(values, options)


def by_opencv(name: str, data: bytes, options: dict[str, Any]) -> Shown:
    """OpenCV, as a further voice; it never decides alone, because the product uses it."""
    values = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_ANYDEPTH | cv2.IMREAD_ANYCOLOR)
    if values is None:
        raise Unable("OpenCV")
    return scaled(values[..., ::-1] if values.ndim == 3 else values, options)


# --- DICOM


def _bits_of_jpeg2000(frame: bytes) -> int:
    return (frame[frame.index(b"\xff\x51") + 40] & 0x7F) + 1


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


DICOM: dict[str, Referee] = {"dcmtk": by_dcmtk, "imagecodecs + dcmtk": by_dcmtk_after_imagecodecs}
OTHERS: dict[str, Referee] = {
    "tifffile": by_tifffile,
    "Pillow": by_pillow,
    "ImageMagick": by_magick,
    "libvips": by_vips,
    "imagecodecs": by_imagecodecs,
    "OpenCV": by_opencv,
}


def versions() -> dict[str, str]:
    """Return the name of each referee with its version."""
    import PIL
    import pyvips

    codecs = f"imagecodecs {imagecodecs.__version__}"
    vips = ".".join(str(pyvips.version(i)) for i in range(3))
    dcm = version("dcm2pnm", "--version")
    return {
        "dcmtk": f"dcmtk {dcm}",
        "imagecodecs + dcmtk": f"{codecs} + dcmtk {dcm}",
        "tifffile": f"tifffile {tifffile.__version__} + {codecs}",
        "Pillow": f"Pillow {PIL.__version__}",
        "ImageMagick": f"ImageMagick {version('/usr/bin/convert-im6.q16', '-version')}",
        "libvips": f"libvips {vips}",
        "imagecodecs": codecs,
        "OpenCV": f"OpenCV {cv2.__version__}",
        "drawn": "drawn",
    }


def opinions(name: str, data: bytes, options: dict[str, Any]) -> tuple[dict[str, Shown], dict[str, str]]:
    """Return what each decoder shows, and why the others do not."""
    shown: dict[str, Shown] = {}
    unable: dict[str, str] = {}
    is_dicom = name.startswith("pydicom/") or name.endswith(".dcm")
    for who, referee in (DICOM if is_dicom else OTHERS).items():
        try:
            with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                shown[who] = np.ascontiguousarray(referee(name, data, options))
        except Exception as error:  # each decoder raises what it likes
            unable[who] = f"{type(error).__name__}: {error}"
    return shown, unable


def difference(one: Shown, other: Shown, exact: bool = True) -> float:
    """Return the largest (of lossy files the mean) difference in grey levels; infinite for other shapes."""
    if one.ndim != other.ndim:
        one, other = (a if a.ndim == 3 else np.dstack([a] * 3) for a in (one, other))
    if one.shape != other.shape:
        return float("inf")
    apart = np.abs(one.astype(int) - other.astype(int))
    return float(apart.max() if exact else apart.mean())


def judged(name: str, data: bytes, made: Made | None, names: dict[str, str]) -> tuple[referees.Row, str]:
    """Return the row of one file, and a complaint if decoders differ and no ruling says who is right."""
    shown, _ = opinions(name, data, made.options if made else {"frame": "first"})
    rule = ruling(name)
    if made:
        limit = TOLERANCE if made.exact else LOSSY
        right = [who for who, image in shown.items() if difference(image, made.truth, made.exact) <= limit]
    else:
        right = list(shown)[:1]
    chosen = rule.right if rule and rule.right else next((who for who in right if who != "OpenCV"), "")
    if not chosen and not made:
        return referees.Row(name, referees.digest(data), "", "", "", "", "", ""), ""
    complaint = ""
    if chosen.startswith("twin "):
        # A star stands for what the name has behind the part that both share.
        other = chosen.removeprefix("twin ").replace("*", "_1frame" if "_1frame" in name else "")
        twin = referees.pydicom_files()[other].read_bytes()
        chosen = "dcmtk"
        image = opinions(name, twin, {"frame": "first"})[0][chosen]
    elif made and chosen in ("", "drawn"):
        complaint = "" if rule else "nobody shows what was drawn"
        image, chosen = made.truth, "drawn"
    else:
        image = shown[chosen]
    if image.ndim == 3 and (image == image[..., :1]).all() and made and made.truth.ndim == 2:
        image = np.ascontiguousarray(image[..., 0])
    elif image.ndim == 2 and made and made.truth.ndim == 3:
        image = np.dstack([image] * 3)
    exact = made is None or made.exact
    apart = {who: difference(image, other) for who, other in shown.items() if who != chosen}
    agree = [who for who in apart if difference(image, shown[who], exact) <= (TOLERANCE if exact else LOSSY)]
    against = {who: far for who, far in apart.items() if who not in agree}
    if against and not rule:
        complaint = "decoders differ"
    row = referees.Row(
        name,
        referees.digest(data) if made is None or made.stable else referees.VARIES,
        "x".join(map(str, image.shape)),
        names[chosen],
        ", ".join(agree),
        ", ".join(f"{who}: {'shape' if far == float('inf') else f'{far:.0f}'}" for who, far in against.items()),
        rule.why if rule and (against or rule.right) else "",
        referees.to_text(referees.reduced(image)),
    )
    return row, complaint


def main(arguments: list[str]) -> int:
    """Write the table, or print what the decoders say about some files."""
    part = arguments[0] if arguments else ""
    names = versions()
    rows, complaints = [], []
    everything = {name: (None, make) for name, make in referees.makers().items()}
    everything |= {name: (path, None) for name, path in referees.pydicom_files().items()}  # type: ignore[dict-item]
    for name, (path, make) in everything.items():
        if part not in name:
            continue
        made = make() if make else None
        data = made.data if made else path.read_bytes()
        if part:
            shown, unable = opinions(name, data, made.options if made else {"frame": "first"})
            truth = made.truth if made else next(iter(shown.values()), np.zeros((1, 1), np.uint8))
            print(name, {who: difference(image, truth) for who, image in shown.items()}, unable)
        row, complaint = judged(name, data, made, names)
        rows.append(row)
        if complaint:
            complaints.append(f"{name}: {complaint}; against: {row.against}")
    print(f"{len(rows)} files, {sum(bool(row.shape) for row in rows)} with a picture", file=sys.stderr)
    print("\n".join(complaints), file=sys.stderr)
    if not part:
        referees.write(rows)
    return int(bool(complaints))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
