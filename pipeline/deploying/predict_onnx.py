"""Apply the exported model to images of 8 bits: python predict_onnx.py IMAGE... (NumPy, OpenCV, ONNX Runtime).

A model that takes metadata finds them in --table FILE.csv, beside a column `file` with the images as they are typed.
Its columns are called, and sex and age are written, as metadata.json has them; what is not known is said (stderr).
"""

import argparse
import csv
import io
import json
import math
import re
import sys
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime

Image = np.ndarray[Any, np.dtype[Any]]


def resized(image: Image, width: int, height: int) -> Image:
    """Average over what shrinks, then interpolate what grows."""
    small = min(image.shape[1], width), min(image.shape[0], height)
    if small != image.shape[1::-1]:
        image = np.asarray(cv2.resize(image, small, interpolation=cv2.INTER_AREA))
    if small == (width, height):
        return image
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR))


def equalised(image: Image, clip: float, tiles: int) -> Image:
    """Equalise grey levels, or the lightness of colours, of 8 bits or of 16."""
    if image.dtype == np.uint16:
        if image.ndim == 2:
            return equalised_deep(image, clip, tiles)
        lab = cv2.cvtColor(image.astype(np.float32) / 65535, cv2.COLOR_RGB2LAB)
        lightness = np.rint(np.clip(lab[..., 0], 0, 100) * 655.35).astype(np.uint16)
        lab[..., 0] = equalised_deep(lightness, clip, tiles) / np.float32(655.35)
        return np.rint(np.clip(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB), 0, 1) * 65535).astype(np.uint16)
    clahe = cv2.createCLAHE(clip, (tiles, tiles))
    if image.ndim == 2:
        return np.asarray(clahe.apply(image))
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)
    lab[..., 0] = clahe.apply(np.ascontiguousarray(lab[..., 0]))
    return np.asarray(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB))


def equalised_deep(image: Image, clip: float, tiles: int) -> Image:
    """Equalise grey levels of 16 bits: by the curves that 256 bins give, joined by straight lines."""
    height, width = image.shape
    down, across = (0, 0) if height % tiles == width % tiles == 0 else (tiles - height % tiles, tiles - width % tiles)
    eight = cv2.convertScaleAbs(image, alpha=1 / 257)
    whole = np.asarray(cv2.copyMakeBorder(eight, 0, down, 0, across, cv2.BORDER_REFLECT_101))
    tall, wide = whole.shape[0] // tiles, whole.shape[1] // tiles
    pixels = tall * wide
    blocks = whole.reshape(tiles, tall, tiles, wide).swapaxes(1, 2).reshape(tiles * tiles, pixels)
    counts = np.stack([np.bincount(block, minlength=256) for block in blocks])
    most = max(int(clip * pixels / 256), 1)
    surplus = np.maximum(counts - most, 0).sum(axis=1)
    counts = np.minimum(counts, most) + (surplus // 256)[:, None]
    for tile, rest in enumerate((surplus % 256).tolist()):
        if rest:
            counts[tile, : rest * max(256 // rest, 1) : max(256 // rest, 1)] += 1
    curves = (counts.cumsum(axis=1) * (65535 / pixels)).astype(np.float32).reshape(tiles, tiles, 256)
    place = np.clip(np.arange(height) / tall - 0.5, 0, tiles - 1)
    above = np.floor(place).astype(np.intp)
    weight = (place - above).astype(np.float32)[:, None, None]
    column = np.clip((np.arange(width) / wide) - 0.5, 0, tiles - 1).astype(np.float32)
    result = np.empty_like(image)
    rows = max(1, min(2**20 // (tiles * 256), 2**14 // tiles))
    for start in range(0, height, rows):
        part = slice(start, min(start + rows, height))
        first, share = above[part], weight[part]
        table = curves[first] * (1 - share) + curves[np.minimum(first + 1, tiles - 1)] * share
        level = image[part].astype(np.float32) * np.float32(1 / 257)
        line = (np.arange(len(first), dtype=np.float32) * tiles)[:, None] + column
        found = cv2.remap(table.reshape(-1, 256), level, line, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        result[part] = np.rint(found)
    return result


def prepared(data: bytes, how: dict[str, Any]) -> Image:
    """Return a file as the network takes it, float32 [C, size, size] in [0, 1]; `how` is preprocess.json."""
    found = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_ANYDEPTH | cv2.IMREAD_COLOR)
    if found is None or found.dtype != np.uint8:
        raise ValueError("not an image of 8 bits that OpenCV reads")
    grey, size, white = how["channels"] == 1, how["size"], np.float32(np.iinfo(how["store"]).max)
    if how["store"] == "uint16":  # the means of the areas are then kept to 16 bits
        found = found.astype(np.uint16) * np.uint16(257)
    image = np.asarray(cv2.cvtColor(found, cv2.COLOR_BGR2GRAY if grey else cv2.COLOR_BGR2RGB))
    clip, tiles, order = how["clahe"]["clip"], how["clahe"]["tiles"], how["clahe"]["enabled"] and how["clahe"]["order"]
    if how["keep_aspect"] == "crop":
        side = min(image.shape[:2])
        top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
        image = image[top : top + side, left : left + side]
    image = equalised(image, clip, tiles) if order == "before_resize" else image
    height, width = size, size
    if how["keep_aspect"] == "pad":
        height, width = (max(1, round(n * size / max(image.shape[:2]))) for n in image.shape[:2])
    image = resized(image, width, height)
    image = equalised(image, clip, tiles) if order == "after_resize" else image
    square = np.zeros((size, size, *image.shape[2:]), how["store"])
    top, left = (size - height) // 2, (size - width) // 2
    square[top : top + height, left : left + width] = image
    return (square[None] if grey else square.transpose(2, 0, 1)).astype(np.float32) / white


def encoded(columns: list[dict[str, Any]], clip: float, known: Mapping[str, str]) -> Image:
    """Return what is known of an image as the network takes it, float32 [I]; `columns` are of metadata.json."""
    made: list[float] = []
    for column in columns:
        value = str(known.get(column["name"]) or "").strip()
        levels = column["levels"]
        alike = [level for level in levels if level == value] or [lv for lv in levels if spelt(lv) == spelt(value)]
        inputs = [float([level] == alike) for level in levels]
        if column["mean"] is not None:
            plain = re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?", value, re.IGNORECASE | re.ASCII)
            number = float(value) if plain else math.nan
            near = min(clip, max(-clip, (number - column["mean"]) / column["sd"]))
            inputs = [near] if math.isfinite(number) else []
        there = any(inputs) if levels else bool(inputs)
        made += [*(inputs or [0.0]), float(not there)]
    return np.array(made, np.float32)


def spelt(text: str) -> str:
    """Return a level without case, and with single spaces: one that no training image has so may be another's."""
    return " ".join(unicodedata.normalize("NFC", text).split()).casefold()


def unknown(columns: list[dict[str, Any]], clip: float, known: Mapping[str, str]) -> list[str]:
    """Say which columns the network does not know of an image, with what stands there."""
    said = []
    for column in {each["name"]: each for each in columns}.values():
        if encoded([column], clip, known)[-1]:
            said.append(f"{column['name']} '{known.get(column['name']) or ''}'")
    return said


def rows_of(path: Path, names: list[str]) -> dict[str, dict[str, str]]:
    """Read a table, {file: {name: value}}; of `names` in any case where that leaves one column."""
    text = path.read_text("utf-8-sig")
    divider = max(",;\t", key=text.partition("\n")[0].count)
    table = csv.DictReader(io.StringIO(text, newline=""), delimiter=divider)
    header = [name.strip() for name in table.fieldnames or []]
    table.fieldnames = header
    if header.count("file") != 1:
        raise SystemExit(f"--table {path}: no column 'file'; it has {', '.join(header)}")
    places = {
        name: [h for h in header if h == name] or [h for h in header if h.lower() == name.lower()] for name in names
    }
    if lacking := [name for name, found in places.items() if len(found) != 1]:
        print(
            f"--table {path}: unknown of every image: {', '.join(lacking)}; it has {', '.join(header)}", file=sys.stderr
        )
    made: dict[str, dict[str, str]] = {}
    for row in table:
        if row["file"] in made:
            raise SystemExit(f"--table {path}: '{row['file']}' stands in two rows; must stand in one")
        made[row["file"]] = {name: row[found[0]] or "" for name, found in places.items() if len(found) == 1}
    return made


def main() -> None:
    """Print one line per image: its name and the calibrated probability of each class."""
    parser = argparse.ArgumentParser(description="Apply the exported model to images of 8 bits.")
    parser.add_argument("images", nargs="+", metavar="IMAGE")
    parser.add_argument("--table", type=Path, help="CSV: file, and the columns that metadata.json names")
    options, folder = parser.parse_args(), Path(__file__).parent
    how, labels = (json.loads((folder / f"{name}.json").read_text("utf-8")) for name in ("preprocess", "labels"))
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    print("file", *labels["classes"], sep="\t")
    taken, known = folder / "metadata.json", {}
    about = json.loads(taken.read_text("utf-8")) if taken.exists() else {"columns": []}
    if options.table is not None:
        known = rows_of(options.table, list(dict.fromkeys(column["name"] for column in about["columns"])))
    for name in options.images:
        given = {"images": prepared(Path(name).read_bytes(), how)[None]}
        if about["columns"]:
            if name not in known:
                print(f"{name}: no row of a table names it: its metadata are unknown", file=sys.stderr)
            elif said := unknown(about["columns"], about["clip"], known[name]):
                print(f"{name}: taken as unknown: {', '.join(said)}", file=sys.stderr)
            given["metadata"] = encoded(about["columns"], about["clip"], known.get(name, {}))[None]
        print(name, *session.run(["probabilities"], given)[0][0], sep="\t")


if __name__ == "__main__":
    main()
