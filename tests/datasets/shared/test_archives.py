"""Archives as strangers make them: members that escape, that are larger than they say, files that end early."""

import gzip
import io
import os
import stat
import struct
import tarfile
import tracemalloc
import zipfile
import zlib

import pytest

from pipeline.datasets import DatasetError
from pipeline.datasets.shared import archives
from pipeline.datasets.shared.archives import extract, iter_tar_members, iter_zip_members, zip_sizes

FILES = {"images/b.png": b"b" * 3000, "images/a.png": os.urandom(70_000), "empty": b""}
BOUNDS = {"max_member_bytes": 100_000, "max_total_bytes": 200_000}


def make_zip(path, files=FILES, infos=()):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images/", b"")
        for name, content in files.items():
            archive.writestr(name, content)
        for info, content in infos:
            archive.writestr(info, content)
    return path


def make_tar(path, files=FILES, infos=(), mode="w:gz"):
    with tarfile.open(path, mode) as archive:
        folder = tarfile.TarInfo("images")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for info, content in infos:
            archive.addfile(info, io.BytesIO(content))
    return path


def unpacked(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def nothing_left(tmp_path, archive):
    return {p.name for p in tmp_path.iterdir()} == {archive.name}


MAKERS = {
    "zip": make_zip,
    "tar.gz": make_tar,
    "tar": lambda path, **more: make_tar(path, mode="w", **more),
}
kinds = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "archive"


@kinds
def test_extract(path, tmp_path, make):
    make(path)
    folder = tmp_path / "out"
    assert extract(path, folder, **BOUNDS) == folder
    assert unpacked(folder) == FILES
    assert {p.name for p in tmp_path.iterdir()} == {"archive", "out"}


@kinds
def test_extract_replaces_an_empty_folder_and_an_interrupted_try_and_nothing_else(path, tmp_path, make):
    make(path)
    folder = tmp_path / "out"
    folder.mkdir()
    (tmp_path / "out.partial").mkdir()
    (tmp_path / "out.partial" / "left.png").write_bytes(b"left")
    extract(path, folder, **BOUNDS)
    assert unpacked(folder) == FILES
    with pytest.raises(DatasetError, match="out: exists already; move it away"):
        extract(path, folder, **BOUNDS)
    assert unpacked(folder) == FILES


def test_members_are_streamed_in_the_archives_order(path):
    read = {"zip": iter_zip_members, "tar": iter_tar_members, "tar.gz": iter_tar_members}
    for kind, make in MAKERS.items():
        assert list(read[kind](make(path))) == list(FILES.items())


def test_chosen_members(path):
    make_tar(path)
    assert list(iter_tar_members(path, wanted=lambda name: name.endswith("a.png"))) == [
        ("images/a.png", FILES["images/a.png"])
    ]
    make_zip(path)
    names = ["empty", "images/a.png"]
    assert list(iter_zip_members(path, names=names)) == [(n, FILES[n]) for n in names]
    assert zip_sizes(path) == {name: len(content) for name, content in FILES.items()}
    with pytest.raises(DatasetError, match="no member 'absent'"):
        next(iter_zip_members(path, names=["empty", "absent"]))


def test_a_leading_dot_is_no_folder(path, tmp_path):
    make_tar(path, {"./images/a.png": b"a", ".//b.png": b"b"})
    assert [name for name, _ in iter_tar_members(path)] == ["images/a.png", "b.png"]
    assert unpacked(extract(path, tmp_path / "out", **BOUNDS)) == {"images/a.png": b"a", "b.png": b"b"}


ESCAPES = ["/etc/passwd", "../out.png", "images/../../out.png", "C:/out.png", "c:out.png", "..\\out.png", "\\out.png"]


@kinds
@pytest.mark.parametrize("name", ESCAPES)
def test_members_that_escape(path, tmp_path, make, name):
    make(path, files=FILES | {name: b"evil"})
    with pytest.raises(DatasetError) as error:
        extract(path, tmp_path / "out", **BOUNDS)
    assert f"{path}: member '{name}' would lie outside its folder" in str(error.value)
    assert nothing_left(tmp_path, path)
    read = iter_zip_members if make is make_zip else iter_tar_members
    with pytest.raises(DatasetError, match="would lie outside"):
        list(read(path))


def tar_special(kind, name="special", target="images/a.png"):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info, b""


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (tarfile.SYMTYPE, "a symbolic link"),
        (tarfile.LNKTYPE, "a hard link"),
        (tarfile.CHRTYPE, "a device"),
        (tarfile.BLKTYPE, "a device"),
        (tarfile.FIFOTYPE, "a device or pipe"),
        (tarfile.GNUTYPE_SPARSE, "a sparse file"),
        (b"Z", "of the unknown kind b'Z'"),
    ],
)
def test_tar_members_that_are_no_files(path, tmp_path, kind, said):
    make_tar(path, infos=[tar_special(kind)])
    with pytest.raises(DatasetError, match=f"member 'special' is {said}"):
        extract(path, tmp_path / "out", **BOUNDS)
    assert nothing_left(tmp_path, path)
    with pytest.raises(DatasetError, match="special"):
        list(iter_tar_members(path, wanted=lambda _: False))


@pytest.mark.parametrize(
    ("mode", "said"),
    [(stat.S_IFLNK, "a symbolic link"), (stat.S_IFCHR, "a device"), (stat.S_IFIFO, "a device or pipe")],
)
def test_zip_members_that_are_no_files(path, tmp_path, mode, said):
    info = zipfile.ZipInfo("special")
    info.external_attr = (mode | 0o777) << 16
    make_zip(path, infos=[(info, b"/etc/passwd")])
    with pytest.raises(DatasetError, match=f"member 'special' is {said}"):
        extract(path, tmp_path / "out", **BOUNDS)
    assert nothing_left(tmp_path, path)
    with pytest.raises(DatasetError, match="special"):
        zip_sizes(path)


def test_encrypted_zip(path):
    make_zip(path, {"a": b"a"})
    data = bytearray(path.read_bytes())
    data[data.rindex(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    with pytest.raises(DatasetError, match="member 'a' is encrypted"):
        list(iter_zip_members(path))


@kinds
def test_a_member_twice(path, tmp_path, make):
    infos = [(tarfile.TarInfo("empty"), b"")]
    if make is make_zip:
        with pytest.warns(UserWarning, match="Duplicate name"):
            make_zip(path, infos=[("empty", b"again")])
    else:
        make(path, infos=infos)
    with pytest.raises(DatasetError, match=r"'empty' (occurs twice|takes the place of another one)"):
        extract(path, tmp_path / "out", **BOUNDS)
    assert nothing_left(tmp_path, path)


@kinds
def test_a_file_where_a_folder_is(path, tmp_path, make):
    make(path, files={"x": b"file", "x/y": b"in it"})
    with pytest.raises(DatasetError, match="'x/y' takes the place of another one"):
        extract(path, tmp_path / "out", **BOUNDS)
    assert nothing_left(tmp_path, path)


@kinds
def test_an_oversize_member(path, tmp_path, make):
    make(path)
    with pytest.raises(DatasetError, match=r"'images/a\.png' has 70,000 bytes or more; it must have at most 69,999"):
        extract(path, tmp_path / "out", 69_999, 200_000)
    assert nothing_left(tmp_path, path)
    read = iter_zip_members if make is make_zip else iter_tar_members
    with pytest.raises(DatasetError, match="it must have at most 69,999"):
        list(read(path, 69_999))
    assert len(list(read(path, 70_000))) == 3


@kinds
def test_an_oversize_total(path, tmp_path, make):
    make(path)
    with pytest.raises(DatasetError, match=r"unpacks to more than 72,999 bytes \(reached in 'images/a.png'\)"):
        extract(path, tmp_path / "out", 70_000, 72_999)
    assert nothing_left(tmp_path, path)
    extract(path, tmp_path / "out", 70_000, 73_000)


def test_a_zip_member_that_is_larger_than_it_says(path, tmp_path):
    bomb = bytes(50 << 20)
    make_zip(path, {"bomb": bomb})
    data = bytearray(path.read_bytes())
    entry = data.rindex(b"PK\x01\x02")
    # The directory claims 1,000 bytes and their CRC; the deflated stream holds 50 MiB.
    struct.pack_into("<I", data, entry + 16, zlib.crc32(bomb[:1000]))
    struct.pack_into("<I", data, entry + 24, 1000)
    path.write_bytes(data)
    tracemalloc.start()
    try:
        members = list(iter_zip_members(path, 100_000))
        # What the claim says is all that is read: nothing larger can come out of a zip.
        assert members == [("bomb", bomb[:1000])]
        assert tracemalloc.get_traced_memory()[1] < 5 << 20
    finally:
        tracemalloc.stop()


def test_content_is_counted_whatever_was_declared(path):
    pieces = archives._pieces(path, "x", io.BytesIO(bytes(11)), 10)
    with pytest.raises(DatasetError, match=r"member 'x' has 11 bytes or more; it must have at most 10"):
        list(pieces)
    assert b"".join(archives._pieces(path, "x", io.BytesIO(bytes(10)), 10)) == bytes(10)


def test_a_zip_bomb_is_refused_by_its_claim_and_by_count(path, tmp_path):
    make_zip(path, {f"{k}": bytes(1 << 20) for k in range(50)})
    assert path.stat().st_size < 100_000
    with pytest.raises(DatasetError, match="unpacks to more than 2,000,000 bytes"):
        extract(path, tmp_path / "out", 1 << 20, 2_000_000)
    assert nothing_left(tmp_path, path)


def test_a_tar_header_that_claims_gigabytes_is_not_believed(path):
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 4 << 30
    path.write_bytes(gzip.compress(info.tobuf(tarfile.GNU_FORMAT) + bytes(10_240)))
    with pytest.raises(DatasetError, match=r"a header claims 4,294,967,296 bytes"):
        list(iter_tar_members(path))


@pytest.mark.parametrize("name", ["n" * 300, "images/" + "é" * 150 + ".png"])
@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_are_read(path, name, form):
    with tarfile.open(path, "w:gz", format=form) as archive:
        info = tarfile.TarInfo(name)
        info.size = 3
        archive.addfile(info, io.BytesIO(b"abc"))
    assert list(iter_tar_members(path)) == [(name, b"abc")]


@kinds
@pytest.mark.parametrize("share", [0.02, 0.5, 0.9])
def test_a_truncated_archive(path, tmp_path, make, share):
    make(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(DatasetError, match=r"archive: (damaged or cut off|damaged after)"):
        extract(path, tmp_path / "out", **BOUNDS)
    assert nothing_left(tmp_path, path)
    read = iter_zip_members if make is make_zip else iter_tar_members
    with pytest.raises(DatasetError, match="archive: damaged"):
        list(read(path))


def test_a_truncation_after_the_last_member_is_seen(path):
    make_tar(path, {"a": b"a"})
    data = path.read_bytes()
    path.write_bytes(data[:-1])
    with pytest.raises(DatasetError, match="it ends early"):
        list(iter_tar_members(path))
    with tarfile.open(path, "w") as archive:
        archive.addfile(tarfile.TarInfo("a"))
        archive.addfile(tarfile.TarInfo("b"))
    path.write_bytes(path.read_bytes()[:512])
    with pytest.raises(DatasetError, match="it ends early"):
        list(iter_tar_members(path))


def test_a_damaged_header_in_the_middle_is_no_end(path):
    make_tar(path, mode="w")
    data = bytearray(path.read_bytes())
    where = data.index(b"images/a.png")
    data[where] ^= 1
    for content in (bytes(data), gzip.compress(data)):
        path.write_bytes(content)
        with pytest.raises(DatasetError, match="damaged after its last readable member"):
            list(iter_tar_members(path))


@pytest.mark.parametrize("make", [make_zip, make_tar], ids=["zip", "tar.gz"])
def test_a_flipped_bit(path, make):
    make(path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)
    with pytest.raises(DatasetError, match=r"archive: (damaged|cannot be read)"):
        list((iter_zip_members if make is make_zip else iter_tar_members)(path))


@pytest.mark.parametrize("content", [b"", b"\x1f\x8b", b"PK", b"no archive at all" * 100])
def test_what_is_no_archive(path, tmp_path, content):
    path.write_bytes(content)
    with pytest.raises(DatasetError, match="archive: damaged or cut off"):
        extract(path, tmp_path / "out", **BOUNDS)
    with pytest.raises(DatasetError, match="archive"):
        list(iter_tar_members(path))
    with pytest.raises(DatasetError, match="archive"):
        zip_sizes(path)


def test_a_missing_archive(path, tmp_path):
    for read in (iter_tar_members, iter_zip_members, lambda p: extract(p, tmp_path / "out", **BOUNDS), zip_sizes):
        with pytest.raises(DatasetError, match="archive: no such file; run stage download"):
            list(read(path))


def test_a_streamed_archive_is_not_held_in_memory(path):
    make_tar(path, {f"{k:04d}": bytes(1 << 20) for k in range(40)})
    tracemalloc.start()
    try:
        assert sum(len(content) for _, content in iter_tar_members(path)) == 40 << 20
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_headers_of_members_are_not_held_in_memory(path):
    make_tar(path, dict.fromkeys(map(str, range(10_000)), b""))
    tracemalloc.start()
    try:
        assert sum(1 for _ in iter_tar_members(path)) == 10_000
        assert tracemalloc.get_traced_memory()[1] < 6 << 20  # held, they take more than 10 MiB
    finally:
        tracemalloc.stop()
