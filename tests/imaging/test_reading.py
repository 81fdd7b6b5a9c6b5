"""Bits of the data set, frames, bounds, 16 bits in the array, and what is recorded of all that."""

import io
import struct
import zlib
from functools import partial

import cv2
import numpy as np
import pytest
from PIL import Image

from pipeline.datasets import DatasetError, Sample
from pipeline.imaging.depth import to_8_bits
from pipeline.imaging.enhance import prepare
from pipeline.imaging.prepare import prepare_all
from pipeline.imaging.reading import Reader, Scale
from pipeline.imaging.settings import Clahe, Preprocess

PLAIN = Preprocess(size=16, threads=2, clahe=Clahe(enabled=False))


def settings(**changes):
    return Preprocess(**{**PLAIN.model_dump(), **changes})


def png(image):
    return cv2.imencode(".png", image)[1].tobytes()


def deep(seed, most):
    """A 16-bit picture whose highest value is `most`."""
    image = np.random.default_rng(seed).integers(0, most + 1, (20, 18)).astype(np.uint16)
    image[3, 4] = most
    return image


def shallow(seed):
    return np.random.default_rng(seed).integers(0, 256, (20, 18), np.uint8)


def tiff(*pages):
    file = io.BytesIO()
    first, *others = [Image.fromarray(page) for page in pages]
    first.save(file, "TIFF", save_all=True, append_images=others)
    return file.getvalue()


def samples(*contents, patient="p{}"):
    return [Sample(f"s{i}", patient.format(i), ("a",), partial(bytes, c)) for i, c in enumerate(contents)]


def run(items, where, chosen, path="images.npy"):
    result = prepare_all(items, ("a",), "multilabel", chosen, where / path)
    return result, np.load(where / path)


def on_scale(image, bits, chosen):
    """What a picture becomes where 2**bits - 1 is white."""
    full = np.rint(image.astype(np.float64) * 65535 / (2**bits - 1)).astype(np.uint16)
    return prepare(full, chosen)


# --- bits of the data set -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("most", "bits"), [(4095, 12), (2300, 12), (4096, 13), (16000, 14), (65535, 16), (70, 8)])
def test_the_highest_value_of_the_set_decides_for_all(tmp_path, most, bits):
    images = [deep(0, most // 5), deep(1, most), deep(2, most // 2)]
    result, array = run(samples(png(images[0]), png(shallow(5)), *map(png, images[1:])), tmp_path, PLAIN)
    assert result.scale.bits == bits
    assert result.scale.chosen == "maximum"
    assert result.scale.brightest == most
    assert result.excluded.empty
    for row, image in zip((0, 2, 3), images, strict=True):
        assert np.abs(array[row].astype(int) - on_scale(image, bits, PLAIN)).max() <= 1
    np.testing.assert_array_equal(array[1], prepare(shallow(5), PLAIN))
    assert {kind["full_scale"] for kind in result.kinds.table()} == {255, 2**bits - 1}


def test_a_set_of_8_bits_is_read_once(tmp_path):
    reads = []
    data = [png(shallow(i)) for i in range(6)]

    def stream():
        for i, content in enumerate(data):
            yield Sample(f"s{i}", f"p{i}", ("a",), lambda content=content: reads.append(1) or content)

    result, _ = run(stream(), tmp_path, PLAIN)
    assert len(reads) == 6
    assert result.scale == Scale(None, "header")


def test_what_can_be_read_once_only_needs_the_bits_declared(tmp_path):
    with pytest.raises(DatasetError, match=r"set preprocess\.bits"):
        run(iter(samples(png(deep(0, 3000)))), tmp_path, PLAIN)
    assert not list(tmp_path.iterdir())
    result, array = run(iter(samples(png(deep(0, 3000)))), tmp_path, settings(bits=12))
    assert result.scale == Scale(12, "setting")
    assert np.abs(array[0].astype(int) - on_scale(deep(0, 3000), 12, PLAIN)).max() <= 1


def test_an_image_brighter_than_declared_is_excluded_by_name(tmp_path):
    result, array = run(samples(png(deep(0, 1023)), png(deep(1, 1024))), tmp_path, settings(bits=10))
    assert result.excluded.to_numpy().tolist() == [
        ["s1", "brighter than preprocess.bits: 1024, and 10 bits end at 1023"]
    ]
    assert len(array) == 1


def test_the_search_ends_at_the_first_value_that_needs_16_bits():
    read = []

    def again():
        for i in range(500):
            yield Sample(f"s{i}", "p", ("a",), lambda i=i: read.append(i) or png(deep(0, 40000)))

    reader = Reader(PLAIN, again)
    assert not isinstance(next(reader.frames(partial(bytes, png(deep(0, 100))))).image, str)
    assert reader.scale.bits == 16
    assert len(read) <= 4 * PLAIN.threads + 1


def test_broken_files_do_not_disturb_the_search(tmp_path):
    def missing():
        raise FileNotFoundError

    items = [*samples(b"", png(deep(0, 900))[:-30], png(deep(1, 3000)))]
    items.insert(0, Sample("gone", "p", ("a",), missing))
    result, _ = run(items, tmp_path, PLAIN)
    assert result.scale == Scale(12, "maximum", 1, 3000)
    assert len(result.excluded) == 3


def test_threads_change_neither_the_scale_nor_a_byte(tmp_path):
    contents = [png(deep(i, 900 + 100 * i)) for i in range(9)] + [png(shallow(i)) for i in range(9)]
    contents += [tiff(shallow(40), shallow(41), shallow(42))]
    found = []
    for threads in (1, 2, 7):
        result, _ = run(samples(*contents), tmp_path, settings(threads=threads, frame="all"), f"{threads}.npy")
        result.kinds.write_pictures(tmp_path / f"{threads}.npz")
        files = [(tmp_path / f"{threads}{suffix}").read_bytes() for suffix in (".npy", ".npz")]
        found.append((result.samples.to_csv(), result.kinds.table(), result.scale, *files))
    assert found[0] == found[1] == found[2]


# --- frames ---------------------------------------------------------------------------------------------------------

PAGES = [shallow(i) for i in range(5)]


def test_a_file_of_several_frames_is_excluded_with_their_number(tmp_path):
    result, _ = run(samples(png(shallow(9)), tiff(*PAGES)), tmp_path, PLAIN)
    assert result.excluded.to_numpy().tolist() == [["s1", "several frames: 5; choose with preprocess.frame"]]


@pytest.mark.parametrize(("frame", "number"), [("first", 0), ("middle", 2)])
def test_one_frame_of_several(tmp_path, frame, number):
    result, array = run(samples(tiff(*PAGES)), tmp_path, settings(frame=frame))
    assert result.samples["sample_id"].tolist() == ["s0"]
    np.testing.assert_array_equal(array[0], prepare(PAGES[number], PLAIN))


def test_all_frames_are_images_of_one_patient_and_group(tmp_path):
    items = samples(png(shallow(9)), tiff(*PAGES), tiff(shallow(11)), patient="p")
    result, array = run(items, tmp_path, settings(frame="all"))
    rows = result.samples
    assert rows["sample_id"].tolist() == ["s0", "s1#1", "s1#2", "s1#3", "s1#4", "s1#5", "s2"]
    assert rows["patient_id"].nunique() == rows["group_id"].nunique() == 1
    for row, image in enumerate([shallow(9), *PAGES, shallow(11)]):
        np.testing.assert_array_equal(array[row], prepare(image, PLAIN))


def test_frames_of_a_file_without_a_patient_share_its_group(tmp_path):
    result, _ = run(samples(tiff(*PAGES), tiff(shallow(20), shallow(21))), tmp_path, settings(frame="all"))
    assert result.samples.groupby("group_id")["sample_id"].apply(len).tolist() == [5, 2]


def test_a_frame_that_is_named_like_a_sample_is_an_error(tmp_path):
    items = samples(tiff(*PAGES), png(shallow(9)))
    clash = Sample("s0#2", "p", ("a",), items[1].read)
    for order in ([items[0], clash], [clash, items[0]]):
        with pytest.raises(DatasetError, match="'s0#2' occurs more than once"):
            run(order, tmp_path, settings(frame="all"))


# --- bounds ---------------------------------------------------------------------------------------------------------


def huge(width, height):
    """A PNG whose header promises more pixels than there are."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def test_a_size_beyond_the_bound_is_refused_by_the_header(tmp_path, monkeypatch):
    decoded = []
    monkeypatch.setattr("pipeline.imaging.reading.decode", lambda *_, **__: decoded.append(1))
    frames = list(Reader(PLAIN, list).frames(partial(bytes, huge(20000, 20000))))
    assert [f.image for f in frames] == ["larger than preprocess.max_pixels: 20000 x 20000 pixels"]
    pixels = list(Reader(settings(max_pixels=300), list).frames(lambda: shallow(0)))
    assert [f.image for f in pixels] == ["larger than preprocess.max_pixels: 18 x 20 pixels"]
    assert not decoded


@pytest.mark.parametrize(
    ("content", "options", "each"),
    [
        (lambda: png(shallow(0)), {}, 1),
        (lambda: png(deep(0, 100)), {}, 2),
        (lambda: png(np.dstack([shallow(0)] * 3)), {}, 3),
        (lambda: png(np.dstack([deep(0, 100)] * 3)), {}, 6),
        (lambda: png(shallow(0)), {"channels": 3}, 3),
        (lambda: png(shallow(0)), {"store": "uint16"}, 2),
        (lambda: png(np.dstack([shallow(0)] * 4)), {}, 4),
        (lambda: np.dstack([shallow(0)] * 3), {}, 3),
    ],
)
def test_the_bound_in_bytes_counts_colours_and_depth(content, options, each):
    """360 pixels are within 360 times their bytes, and one byte less is too few."""
    for bound, fits in ((360 * each, True), (360 * each - 1, False)):
        [frame] = Reader(settings(max_bytes=bound, bits=12, **options), list).frames(content)
        said = f"larger than preprocess.max_bytes: 18 x 20 pixels of {each} bytes"
        assert (frame.image == said) is not fits


def test_frames_are_decoded_one_at_a_time(monkeypatch):
    pages = tiff(*map(shallow, range(5)))
    decoded = []
    monkeypatch.setattr("pipeline.imaging.reading.decode", lambda *_, frame, **__: decoded.append(frame))
    frames = Reader(settings(frame="all", store="uint16"), list).frames(lambda: pages)
    for number in range(3):
        assert decoded == list(range(number))
        next(frames)


def test_the_bound_itself_is_allowed(tmp_path):
    _, array = run(samples(png(shallow(0))), tmp_path, settings(max_pixels=360))
    assert len(array) == 1


# --- 16 bits in the array -------------------------------------------------------------------------------------------


def test_an_array_of_16_bits(tmp_path):
    wide = settings(store="uint16")
    result, array = run(samples(png(deep(0, 60000)), png(shallow(1))), tmp_path, wide)
    assert array.dtype == np.uint16
    np.testing.assert_array_equal(array[0], prepare(deep(0, 60000), wide))
    np.testing.assert_array_equal(array[1], prepare(shallow(1), wide))
    narrow, eight = run(samples(png(deep(0, 60000)), png(shallow(1))), tmp_path, PLAIN, "8.npy")
    np.testing.assert_array_equal(eight[0], to_8_bits(array[0]))
    assert narrow.samples.equals(result.samples)


def test_rows_of_16_bits_move_whole_when_others_are_taken_out(tmp_path):
    items = samples(*(png(deep(i, 60000)) for i in (0, 1, 2, 1, 3)))
    items[3] = Sample("other", "p", ("b",), items[3].read)
    result = prepare_all(items, ("a", "b"), "multilabel", settings(store="uint16"), tmp_path / "i.npy")
    array = np.load(tmp_path / "i.npy")
    assert result.samples["sample_id"].tolist() == ["s0", "s2", "s4"]
    for row, seed in enumerate((0, 2, 3)):
        np.testing.assert_array_equal(array[row], prepare(deep(seed, 60000), settings(store="uint16")))


def test_one_picture_in_8_and_in_16_bits_is_one(tmp_path):
    image = shallow(0)
    result, array = run(samples(png(image), png(image.astype(np.uint16) * 257)), tmp_path, PLAIN)
    assert result.samples["duplicate_of"].tolist() == ["", "s0"]
    np.testing.assert_array_equal(array[0], array[1])


# --- what is recorded -----------------------------------------------------------------------------------------------


def test_kinds_are_counted_with_the_first_image_of_each(tmp_path):
    colour = np.random.default_rng(7).integers(0, 256, (20, 18, 3), np.uint8)
    items = samples(png(shallow(0)), b"", png(deep(1, 60000)), png(colour), png(shallow(4)))
    chosen = settings(clahe={"tiles": 2})
    result, array = run(items, tmp_path, chosen)
    table = result.kinds.table()
    assert [(k["format"], k["bits"], k["photometric"], k["images"]) for k in table] == [
        ("PNG", 8, "grey", 2),
        ("PNG", 16, "grey", 1),
        ("PNG", 8, "RGB", 1),
    ]
    assert all(k["reader"] and k["compression"] == "deflate" for k in table)
    result.kinds.write_pictures(tmp_path / "kinds.npz")
    with np.load(tmp_path / "kinds.npz") as file:
        assert file["kinds"].tolist() == [0, 1, 2]
        np.testing.assert_array_equal(file["after"], array[:3])
        np.testing.assert_array_equal(file["before"][0], prepare(shallow(0), PLAIN))
