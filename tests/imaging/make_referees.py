"""Ask other decoders what each file shows, and write the table: ``python -m tests.imaging.make_referees [part]``.

Needs dcmtk and ImageMagick of Debian (``apt-get install dcmtk imagemagick``) and, of PyPI, ``pyvips`` and
``pyvips-binary`` beside the project's requirements. Without an argument the table is written; with a part of
a name, what the decoders say about those files is printed.
"""

from __future__ import annotations

import contextlib
import io
import sys
import warnings
from typing import Any

import cv2
import imagecodecs
import numpy as np
import tifffile

from tests.imaging.made.drawn import Made
from tests.imaging.referees import table
from tests.imaging.referees.dcmtk import by_dcmtk, by_dcmtk_after_imagecodecs
from tests.imaging.referees.decoders import (
    Referee,
    Shown,
    by_imagecodecs,
    by_magick,
    by_opencv,
    by_pillow,
    by_tifffile,
    by_vips,
    version,
)
from tests.imaging.referees.rulings import ruling

TOLERANCE = 2
"""Grey levels: the roundings of two decoders, and of the colour conversion between them."""
LOSSY = 3
"""Mean grey levels by which a lossy file may differ from what was drawn: more is another colour, scale or place."""

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


def judged(name: str, data: bytes, made: Made | None, names: dict[str, str]) -> tuple[table.Row, str]:
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
        return table.Row(name, table.digest(data), "", "", "", "", "", ""), ""
    complaint = ""
    if chosen.startswith("twin "):
        # A star stands for what the name has behind the part that both share.
        other = chosen.removeprefix("twin ").replace("*", "_1frame" if "_1frame" in name else "")
        twin = table.pydicom_files()[other].read_bytes()
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
    row = table.Row(
        name,
        table.digest(data) if made is None or made.stable else table.VARIES,
        "x".join(map(str, image.shape)),
        names[chosen],
        ", ".join(agree),
        ", ".join(f"{who}: {'shape' if far == float('inf') else f'{far:.0f}'}" for who, far in against.items()),
        rule.why if rule and (against or rule.right) else "",
        table.to_text(table.reduced(image)),
    )
    return row, complaint


def main(arguments: list[str]) -> int:
    """Write the table, or print what the decoders say about some files."""
    part = arguments[0] if arguments else ""
    names = versions()
    rows, complaints = [], []
    everything = {name: (None, make) for name, make in table.makers().items()}
    everything |= {name: (path, None) for name, path in table.pydicom_files().items()}  # type: ignore[dict-item]
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
        table.write(rows)
    return int(bool(complaints))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
