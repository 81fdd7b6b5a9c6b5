import gc
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage

from pipeline.launching import workers
from pipeline.learning.images import loader
from pipeline.learning.images.loader import (
    ResidentImages,
    augmented_copy,
    choose_residency,
    epoch_order,
    even,
    free_host_memory,
    prefetched,
)
from pipeline.learning.networks.inference import predict
from pipeline.study import memory
from pipeline.study.errors import UserError

CPU = torch.device("cpu")


@pytest.mark.parametrize("shape", [(9, 6, 6), (9, 6, 6, 3)])
def test_batches_are_the_chosen_rows_in_order(shape):
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    rows = np.array([7, 2, 4])
    targets = np.array([[1, 0], [0, 1], [1, 1]], np.uint8)
    data = ResidentImages(images, rows, targets, CPU)
    got = list(data.batches(torch.tensor([2, 0, 1]), 2))
    assert [len(x) for x, _ in got] == [2, 1]
    everything = torch.cat([x for x, _ in got])
    expected = images[rows][[2, 0, 1]].reshape(3, 6, 6, -1).transpose(0, 3, 1, 2) / np.float32(255)
    np.testing.assert_allclose(everything.numpy(), expected, rtol=1e-6)
    assert everything.dtype == torch.float32
    assert torch.cat([t for _, t in got]).tolist() == [[1, 1], [1, 0], [0, 1]]


def test_an_epoch_draws_each_row_as_often_as_asked():
    draws = np.array([1, 3, 0, 2])
    order = epoch_order(draws, torch.Generator().manual_seed(0))
    assert np.bincount(order.numpy(), minlength=4).tolist() == draws.tolist()
    assert torch.equal(order, epoch_order(draws, torch.Generator().manual_seed(0)))
    orders = {tuple(epoch_order(draws, torch.Generator().manual_seed(s)).tolist()) for s in range(20)}
    assert len(orders) > 5


@pytest.mark.parametrize("shape", [(24, 24), (24, 24, 3), (16, 24)])
def test_an_augmented_copy_is_another_picture_of_the_same_thing(shape):
    image = np.random.default_rng(0).integers(60, 200, shape, dtype=np.uint8)
    before = image.copy()
    copies = [augmented_copy(image, 5, number) for number in range(1, 41)]
    assert np.array_equal(image, before)
    assert all(c.dtype == np.uint8 and c.shape == shape for c in copies)
    assert len({c.tobytes() for c in (image, *copies)}) == 41
    assert np.array_equal(copies[2], augmented_copy(image, 5, 3))
    assert not np.array_equal(copies[2], augmented_copy(image, 6, 3))


def test_augmented_copies_stay_within_their_ranges():
    """Two patches: where one lies beside the other says how they were turned and flipped, the rest how shifted."""
    size = 65
    image = np.full((size, size), 100, np.uint8)
    image[30:35, 36:48] = 250  # a large one 9.5 px right of the centre
    image[20:24, 31:34] = 250  # and a small one 10.5 px above it
    angles, shifts, mirrored, upside_down, greys = [], [], 0, 0, []
    for number in range(1, 201):
        copy = augmented_copy(image, 0, number).astype(float)
        greys.append(np.median(copy))
        patches, count = ndimage.label(copy > (np.median(copy) + copy.max()) / 2)
        assert count == 2
        places = np.array(ndimage.center_of_mass(copy, patches, [1, 2]))[:, ::-1] - size // 2
        small, large = places[np.argsort(np.bincount(patches.ravel())[1:])]
        across, down = np.sign(large - small)
        mirrored += across < 0
        upside_down += down < 0
        angle = np.arctan2(*np.abs(large - small)[::-1]) - np.arctan2(10.5, 9.5)
        angles.append(np.degrees(angle))
        shifts.append(large - 9.5 * np.array([across * np.cos(angle), down * np.sin(angle)]))
    assert 70 <= mirrored <= 130
    assert 70 <= upside_down <= 130
    assert 18 < np.abs(angles).max() < 21
    assert abs(np.mean(angles)) < 3
    assert (np.abs(shifts).max(0) > 12).all()
    assert (np.abs(shifts).max(0) < 13.3).all()
    # The background is near the mean, so contrast moves it little.
    assert 90 - 2 < min(greys) < 92
    assert 108 < max(greys) < 110 + 2


@pytest.mark.parametrize("residency", ["device", "memmap"])
@pytest.mark.parametrize("shape", [(9, 8, 8), (9, 8, 8, 3)])
def test_augmented_copies_are_shown_and_the_others_left_alone(shape, residency):
    images = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    rows, augmented = np.array([4, 4, 4, 7]), np.array([0, 1, 2, 0])
    data = ResidentImages(images, rows, np.eye(4, dtype=np.uint8), CPU, augmented, residency)
    shown = data.pixels(torch.arange(4))
    for got, row, number in zip(shown.permute(0, 2, 3, 1).numpy().reshape(4, *shape[1:]), rows, augmented):
        assert np.array_equal(got, augmented_copy(images[row], row, number) if number else images[row])
    part = ResidentImages(images, rows[2:], np.eye(2, dtype=np.uint8), CPU, augmented[2:], residency)
    assert torch.equal(part.pixels(torch.arange(2)), shown[2:])  # whoever else is in the part


def test_an_augmented_copy_does_not_depend_on_the_threads():
    """Evaluation may run with another number than training did, or in the thread that reads ahead."""
    image = np.random.default_rng(2).integers(0, 256, (400, 400, 3), dtype=np.uint8)
    before = torch.get_num_threads()
    try:
        copies = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            copies.append([augmented_copy(image, 1, number) for number in range(1, 6)])
    finally:
        torch.set_num_threads(before)
    assert np.array_equal(copies[0], copies[1])
    assert np.array_equal(copies[0], copies[2])


@pytest.fixture(params=[(40, 12, 10), (40, 12, 10, 3)], ids=["grey", "colour"])
def stored(request, tmp_path) -> np.memmap:
    """The images of a study, as its stages open them."""
    images = np.random.default_rng(3).integers(0, 256, request.param, dtype=np.uint8)
    np.save(tmp_path / "images.npy", images)
    return np.load(tmp_path / "images.npy", mmap_mode="r")


def part(images: np.ndarray, residency: str) -> ResidentImages:
    """25 images in no order, some of them augmented copies, one twice."""
    rng = np.random.default_rng(4)
    rows = np.append(rng.permutation(40)[:24], 7)
    augmented = np.where(rng.random(25) < 0.3, rng.integers(1, 4, 25), 0)
    targets = rng.integers(0, 2, (25, 3), dtype=np.uint8)
    return ResidentImages(images, rows, targets, CPU, augmented, residency)


def host_part(images: np.ndarray, monkeypatch) -> ResidentImages:
    """The placement that only CUDA has, with its thread, on a CPU."""
    monkeypatch.setattr(loader, "choose_residency", lambda *_: "host")
    data = part(images, "host")
    monkeypatch.undo()
    return data


def test_every_placement_gives_the_same_bits(stored, monkeypatch):
    parts = [part(stored, "device"), host_part(stored, monkeypatch), part(stored, "memmap")]
    assert [p.residency for p in parts] == ["device", "host", "memmap"]
    assert {p.shape for p in parts} == {(25, 1 if stored.ndim == 3 else 3, 12, 10)}
    assert all(len(p) == 25 and p.channels == p.shape[1] for p in parts)
    order = torch.from_numpy(np.random.default_rng(5).integers(0, 25, 61))  # with repeats
    for size in (8, 61, 100):
        first, *others = (list(p.batches(order, size)) for p in parts)
        assert [len(x) for x, _ in first] == [min(size, 61 - a) for a in range(0, 61, size)]
        for other in others:
            assert len(other) == len(first)
            for (x, t), (y, u) in zip(first, other):
                assert torch.equal(x, y)
                assert x.stride() == y.stride()
                assert torch.equal(t, u)
    for p in parts:
        x, t = p.take(order[:9])
        assert torch.equal(x, torch.cat([x for x, _ in parts[0].batches(order[:9], 4)]))
        assert torch.equal(t, parts[0].targets[order[:9]].float())
        assert x.is_contiguous(memory_format=torch.channels_last)
        assert torch.equal((x * 255).round().to(torch.uint8), p.pixels(order[:9]))
        assert list(p.batches(order[:0], 4)) == []
        with pytest.raises(IndexError):
            p.take(torch.tensor([3, 25]))
        with pytest.raises(IndexError):
            p.pixels(torch.tensor([-1]))


def test_a_part_is_loaded_whole_piece_by_piece(stored, monkeypatch):
    monkeypatch.setattr(loader, "PIECE", 3 * stored[0].nbytes)
    data = part(stored, "device")
    assert torch.equal(data.pixels(torch.arange(25)), part(stored, "memmap").pixels(torch.arange(25)))


@pytest.mark.parametrize("residency", ["device", "memmap"])
def test_a_model_sees_the_same_whichever_the_placement(stored, residency):
    data = part(stored, residency)
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(120 * data.channels, 4), torch.nn.Dropout()).train()
    logits = predict(model, data, 8, "float32")
    assert not model.training
    expected = data.pixels(torch.arange(25)).flatten(1).double() / 255 @ model[1].weight.double().T + model[1].bias
    torch.testing.assert_close(logits.double(), expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(logits, predict(model, part(stored, "device"), 8, "float32"))


def prefetching() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name.startswith("prefetch")]


def test_reading_ahead_keeps_the_order_and_stays_within_bounds():
    asked, read = [], []

    def load(piece: int) -> int:
        assert threading.current_thread() is not threading.main_thread()
        read.append(piece)
        return piece**2

    for result in prefetched(load, range(20), ahead=3):
        asked.append(result)
        assert len(read) <= len(asked) + 3
    assert asked == [n**2 for n in range(20)]
    assert not prefetching()


def test_what_goes_wrong_while_reading_ahead_is_raised_in_the_caller(stored, monkeypatch):
    data = part(stored, "memmap")
    healthy = augmented_copy

    def broken(image: np.ndarray, row: int, number: int) -> np.ndarray:
        if row == bad:
            raise OSError("disk gone")
        return healthy(image, row, number)

    copies = np.flatnonzero(data._augmented)
    bad = int(data.rows[copies[-1]])
    monkeypatch.setattr(loader, "augmented_copy", broken)
    got = []
    with pytest.raises(OSError, match="disk gone"):
        got.extend(data.batches(torch.arange(25), 2))
    assert len(got) == np.flatnonzero((data.rows == bad) & (data._augmented > 0))[0] // 2
    assert not prefetching()


@pytest.mark.parametrize("after", [0, 1, 3])
def test_stopping_early_leaves_no_thread(stored, after):
    batches = part(stored, "memmap").batches(torch.arange(25), 2)
    for _ in range(after):
        next(batches)
    assert len(prefetching()) == (after > 0)
    batches.close()
    assert not prefetching()
    for _ in part(stored, "memmap").batches(torch.arange(25), 2):
        break
    del _
    gc.collect()
    assert not prefetching()


GB = 10**9
CARD = torch.device("cuda", 0)


@pytest.mark.parametrize(
    ("size", "device", "wish", "free", "free_on_host", "expected"),
    [
        (6 * GB, CARD, "auto", 6 * GB, 64 * GB, "device"),
        (6 * GB + 1, CARD, "auto", 6 * GB, 64 * GB, "host"),
        (30 * GB, CARD, "auto", 20 * GB, 60 * GB, "host"),
        (30 * GB + 1, CARD, "auto", 20 * GB, 60 * GB, "memmap"),
        (5 * GB, CPU, "auto", 10 * GB, 10 * GB, "device"),
        (5 * GB + 1, CPU, "auto", 10 * GB, 10 * GB, "memmap"),
        (50 * GB, CARD, "device", 10 * GB, 10 * GB, "device"),
        (50 * GB, CARD, "host", 10 * GB, 10 * GB, "host"),
        (1, CARD, "memmap", 10 * GB, 10 * GB, "memmap"),
        (50 * GB, CPU, "device", 10 * GB, 10 * GB, "device"),
        (50 * GB, CPU, "host", 10 * GB, 10 * GB, "device"),
        (1, CPU, "memmap", 10 * GB, 10 * GB, "memmap"),
    ],
)
def test_a_part_lives_where_it_fits(size, device, wish, free, free_on_host, expected):
    assert choose_residency(size, device, wish, free, free_on_host) == expected


@pytest.mark.parametrize(
    ("free", "own", "jobs", "expected"),
    [
        (100, 0, 1, 60),  # an empty card: 40 are left for the network
        (70, 30, 1, 30),  # what this process holds already counts
        (70, 0, 1, 30),  # and what others hold
        (30, 0, 1, 0),
        (100, 0, 4, 15),  # of four that were started together
        (85, 15, 4, 0),
    ],
)
def test_images_leave_room_on_a_card_however_many_parts_and_processes_there_are(monkeypatch, free, own, jobs, expected):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free * GB, 100 * GB))
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: own * GB)
    given = workers.environment("launcher", 0, jobs=jobs, gpus=["0"], memory=GB)
    assert (memory.ON_A_CARD in given) == (jobs > 1)
    if jobs > 1:
        monkeypatch.setenv(memory.ON_A_CARD, given[memory.ON_A_CARD])
    assert loader.room_on(CARD) == pytest.approx(expected * GB, abs=1)


def test_images_that_find_no_memory_name_the_setting(stored, monkeypatch):
    def full(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(torch, "empty", full)
    said = r"^out of memory on cpu for 0\.0 GB of images \(CUDA out of memory.*\); set train\.residency: memmap$"
    with pytest.raises(UserError, match=said):
        part(stored, "device")


def test_an_unknown_placement_is_refused():
    with pytest.raises(ValueError, match=r"disk.*use one of: auto, device, host, memmap"):
        choose_residency(1, CPU, "disk", 2, 2)


def test_a_part_that_does_not_fit_stays_on_disk(stored, monkeypatch):
    monkeypatch.setattr(loader, "free_host_memory", lambda: 2 * 25 * stored[0].nbytes)
    assert part(stored, "auto").residency == "device"
    monkeypatch.setattr(loader, "free_host_memory", lambda: 2 * 25 * stored[0].nbytes - 1)
    data = part(stored, "auto")
    assert data.residency == "memmap"
    assert data._held is None
    assert np.shares_memory(data._stored, stored)
    assert part(stored, "device").residency == "device"


def test_free_memory_is_what_the_system_says(monkeypatch):
    fields = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    total = int(fields["MemTotal"].split()[0]) * 1024
    assert 0 < free_host_memory() <= total
    monkeypatch.setitem(sys.modules, "psutil", None)
    assert 0 < free_host_memory() <= total
    monkeypatch.setenv(memory.SHARE, "23456")
    assert free_host_memory() == 23456
    monkeypatch.setattr(memory, "_left_in_cgroup", lambda *_: 12345)
    assert free_host_memory() == 12345


def test_runs_that_start_together_count_on_their_share_alone(stored, monkeypatch):
    """Each sees all of the memory free; together they take half of it at most, and the rest stays on disk."""
    one = 25 * stored[0].nbytes
    for free, residency in ((8 * one, "device"), (8 * one - 4, "memmap")):
        given = workers.environment("launcher", 1, jobs=4, gpus=None, memory=free)
        monkeypatch.setenv(memory.SHARE, given[memory.SHARE])
        assert part(stored, "auto").residency == residency
    monkeypatch.delenv(memory.SHARE)
    assert memory.SHARE not in workers.environment("launcher", 0, jobs=1, gpus=None, memory=free)


def test_the_tightest_limit_of_the_control_groups_counts(tmp_path):
    own = tmp_path / "cgroup"
    own.write_text("0::/job/step\n")
    for name, limit, current in (("", None, 0), ("job", 1000, 700), ("job/step", "max", 600)):
        folder = tmp_path / "root" / name
        folder.mkdir(parents=True, exist_ok=True)
        if limit is not None:
            (folder / "memory.max").write_text(f"{limit}\n")
            (folder / "memory.current").write_text(f"{current}\n")
            (folder / "memory.stat").write_text("anon 5\ninactive_file 250\n")
    assert memory._left_in_cgroup(own, tmp_path / "root") == 1000 - (700 - 250)
    (tmp_path / "root/job/step/memory.max").write_text("400\n")
    assert memory._left_in_cgroup(own, tmp_path / "root") == 400 - (600 - 250)
    (tmp_path / "root/job/step/memory.max").write_text("300\n")
    assert memory._left_in_cgroup(own, tmp_path / "root") == 0
    own.write_text("4:memory:/elsewhere\n")
    assert memory._left_in_cgroup(own, tmp_path / "root") == float("inf")
    assert memory._left_in_cgroup(tmp_path / "none", tmp_path / "root") == float("inf")


@pytest.mark.parametrize(
    ("residency", "line"),
    [
        ("device", "train: 1,200 images, 0.1 MB, resident on cpu"),
        ("host", "train: 1,200 images, 0.1 MB, resident in host memory"),
        ("memmap", "train: 1,200 images, 0.1 MB, memory-mapped"),
    ],
)
def test_a_part_describes_itself(monkeypatch, residency, line):
    monkeypatch.setattr(loader, "choose_residency", lambda *_: residency)
    images = np.zeros((1200, 10, 8), np.uint8)
    assert ResidentImages(images, np.arange(1200), np.zeros((1200, 1), np.uint8), CPU).describe("train") == line


@pytest.mark.parametrize("residency", ["device", "memmap"])
@pytest.mark.parametrize("shape", [(9, 6, 6), (9, 6, 6, 3)])
def test_batches_of_16_bits_are_the_same_numbers(shape, residency):
    """x * 257 / 65535 is x / 255, and both are rounded once."""
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    rows, targets, augmented = np.array([7, 2, 4]), np.eye(3, dtype=np.uint8), np.array([0, 0, 2])
    order = torch.tensor([2, 0, 1, 2])
    narrow = ResidentImages(images, rows[:2], targets[:2], CPU, residency=residency)
    wide = ResidentImages(images.astype(np.uint16) * 257, rows[:2], targets[:2], CPU, residency=residency)
    assert wide.nbytes == 2 * narrow.nbytes
    assert torch.equal(wide.take(torch.tensor([1, 0, 1]))[0], narrow.take(torch.tensor([1, 0, 1]))[0])
    assert wide.pixels(torch.tensor([1])).numpy().dtype == np.uint16
    fine = np.random.default_rng(1).integers(0, 65536, shape).astype(np.uint16)
    data = ResidentImages(fine, rows, targets, CPU, augmented, residency)
    got = torch.cat([batch for batch, _ in data.batches(order, 3)]).numpy().transpose(0, 2, 3, 1)
    whole = np.stack([fine[7], fine[2], augmented_copy(fine[4], 4, 2)])[[2, 0, 1, 2]]
    np.testing.assert_array_equal(got, whole.reshape(got.shape).astype(np.float32) / np.float32(65535))


def test_an_augmented_copy_of_16_bits_is_that_of_8_but_finer():
    image = np.random.default_rng(0).integers(60, 200, (24, 24), dtype=np.uint8)
    fine = augmented_copy(image.astype(np.uint16) * 257, 5, 3)
    assert fine.dtype == np.uint16
    assert np.abs(fine / 257 - augmented_copy(image, 5, 3)).max() <= 0.5 + 1e-3
    assert len(np.unique(fine)) > len(np.unique(augmented_copy(image, 5, 3)))


@pytest.mark.parametrize("most", [2, 3, 8, 16, 64])
def test_entries_are_divided_into_batches_that_are_as_equal_as_can_be(most):
    for entries in range(2, 200):
        sizes = even(entries, most)
        # NumPy's division of an array, and the fewest batches that are short enough.
        assert sizes == [len(each) for each in np.array_split(np.arange(entries), len(sizes))]
        assert min(sizes) >= 2
        if most > 2 or entries % 2 == 0:
            assert max(sizes) <= most
            assert len(sizes) == 1 or -(-entries // (len(sizes) - 1)) > most
        else:
            assert max(sizes) == 3
            assert sorted(sizes)[:-1] == [2] * (len(sizes) - 1)


def test_batches_of_given_sizes_are_consecutive(stored):
    order, sizes = torch.randperm(25, generator=torch.Generator().manual_seed(2)), [9, 8, 8]
    for where in ("device", "memmap"):
        got = list(part(stored, where).batches(order, sizes))
        assert [len(images) for images, _ in got] == sizes
        whole = part(stored, where).take(order)
        for i in range(2):
            assert torch.equal(torch.cat([batch[i] for batch in got]), whole[i])
