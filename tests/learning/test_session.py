"""What holds while a stage uses torch."""

import hashlib
import platform
import resource

import pytest
import torch

from pipeline.learning import session
from pipeline.study import memory
from tests.learning.tiny_training import changed, run


@pytest.fixture(autouse=True)
def as_before():
    threads, mode = torch.get_num_threads(), torch.get_deterministic_debug_mode()
    filled = torch.utils.deterministic.fill_uninitialized_memory
    yield
    torch.set_num_threads(threads)
    torch.set_deterministic_debug_mode(mode)
    torch.utils.deterministic.fill_uninitialized_memory = filled


def digest(state):
    return hashlib.sha256(b"".join(tensor.numpy().tobytes() for tensor in state.values())).hexdigest()


def test_algorithms_are_deterministic_and_memory_is_not_filled():
    session.begin(1, tf32=False, device="cpu")
    assert torch.get_deterministic_debug_mode() == 1
    assert not torch.utils.deterministic.fill_uninitialized_memory


def test_filling_memory_changes_no_bit(tmp_path):
    found = []
    for filled in (True, False):
        session.begin(1, tf32=False, device="cpu")
        torch.utils.deterministic.fill_uninitialized_memory = filled
        found.append(digest(run(tmp_path / str(filled), changed(epochs=2)).state))
    assert found[0] == found[1]


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_freed_memory_is_taken_again_without_the_kernel():
    assert memory.keep_memory()

    def faults():
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(10):
            torch.zeros(12_000_000)  # 48 MB: more than glibc keeps of itself
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    faults()
    assert faults() < 100  # 11,719 pages each time, or 23 large ones


def test_another_c_library_is_left_alone(monkeypatch):
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: 1 / 0)
    assert not memory.keep_memory()
