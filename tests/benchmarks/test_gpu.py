"""The measurement of a card, in toy sizes on the CPU, and how it goes on from call to call."""

import json

import numpy as np
import pytest
import torch

from benchmarks import gpu
from pipeline.learning.settings import Augment

CPU = torch.device("cpu")
TOY = gpu.Work(CPU, size=64, images=64, batch=8, steps=2, rounds=1, precision="float32", files=8, workers=1, loaded=3)
ABOUT = {"card": "a card", "torch": "2", "code": "c"}


@pytest.fixture(autouse=True)
def as_it_was():
    yield
    torch.set_deterministic_debug_mode("default")


def test_speed_and_arithmetic_of_a_network_in_toy_sizes(tmp_path):
    found = gpu.speed("resnet10t", TOY, Augment(rotation=5.0), tmp_path)
    assert set(found["inputs"]) == {"device", "memmap"}
    assert all(of["rate"] > 0 and of["share"] > 0 and of["memory"] is None for of in found["inputs"].values())
    assert min(found["loop"], found["loader"]) > 0
    rates = gpu.arithmetic("resnet10t", TOY)["rates"]
    assert len(rates) == 4
    assert min(rates.values()) > 0
    content = {"about": ABOUT, "date": "today", "done": {"speed of resnet10t": found}}
    text = "\n".join(gpu.lines(content))
    assert "| | images in place: memmap |" in text
    assert "limits 95%" in text


@pytest.mark.parametrize(
    ("arch", "images", "share", "expected"),
    [
        ("densenet121", 3500, 0.95, True),
        ("densenet121", 3499, 0.99, False),
        ("densenet121", 9000, 0.949, False),
        ("resnet50", 10, 0.95, True),
    ],
)
def test_the_limits(arch, images, share, expected):
    assert gpu.held(arch, images, share) == expected


def test_a_small_training_repeats_itself_and_another_is_told_apart():
    once = gpu.small_run(CPU, epochs=1)
    assert gpu.small_run(CPU, epochs=1) == once
    assert gpu.small_run(CPU, epochs=2) != once


def test_arithmetic_that_is_not_float32_is_found(monkeypatch):
    monkeypatch.setattr(gpu, "EXACT", ("resnet18",))
    found = gpu.right(CPU)
    assert found["ok"]
    exact, rough = (found["apart"][f"resnet18, {name}"] for name in ("float32", "bfloat16"))
    assert exact["logits"] < 1e-5 < 1e-3 < rough["logits"]
    whole = gpu.one_step

    def rounded(network, images, targets, precision):
        """Have weights of half the digits, as a card would that takes TF32 for float32."""
        if images.dtype == torch.float32:
            with torch.no_grad():
                for values in network.parameters():
                    values.copy_(values.half().float())
        return whole(network, images, targets, precision)

    monkeypatch.setattr(gpu, "one_step", rounded)
    assert not gpu.right(CPU)["ok"]


def test_what_was_measured_is_kept_and_the_rest_is_left_for_the_next_call(tmp_path, capsys):
    calls, kept = [], tmp_path / "tmp/gpu.json"

    def measured(name, ok=True):
        def measure():
            calls.append(name)
            if name == "breaks":
                raise RuntimeError("CUDA error: an illegal memory access was encountered\nCUDA kernel errors might")
            return {"ok": ok, "rates": {name: 1.0}}

        return measure

    named = {
        "quick": gpu.Check(1, measured("quick")),
        "long": gpu.Check(3000, measured("long")),
        "breaks": gpu.Check(1, measured("breaks")),
        "wrong": gpu.Check(1, measured("wrong", ok=False)),
    }
    first = gpu.run(named, ABOUT, 1, kept)
    assert calls == ["quick", "breaks", "wrong"]
    assert first["left"] == ["long"]
    assert "long: left for the next call, it takes about 3000 s" in capsys.readouterr().err
    assert first["done"]["breaks"]["error"] == "RuntimeError: CUDA error: an illegal memory access was encountered"
    second = gpu.run(named, ABOUT, 60, kept)
    assert calls == ["quick", "breaks", "wrong", "long"]
    assert json.loads(kept.read_text()) == second
    text = "\n".join(gpu.lines(second))
    assert "| quick | ok | quick 1 images/s |" in text
    assert "| wrong | **not held** |" in text
    assert "breaks: FAILED: RuntimeError: CUDA error" in text
    gpu.run(named, ABOUT | {"card": "another"}, 1, kept)
    assert calls[4:] == ["quick", "breaks", "wrong"], "figures of one card would stand among those of another"


def test_without_a_card_it_says_so_and_prints_what_is_kept(tmp_path, monkeypatch, capsys):
    kept = tmp_path / "gpu.json"
    monkeypatch.setattr("sys.argv", ["gpu", "--kept", str(kept)])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match="finds no CUDA card"):
        gpu.main()
    content = {"about": ABOUT, "date": "2026-11-30", "done": {"repeats": {"ok": True, "same": {"float32": True}}}}
    kept.write_text(json.dumps(content))
    gpu.main()
    assert "| repeats | ok | float32: the same bits twice |" in capsys.readouterr().out
    content["done"]["repeats"] = {"ok": False, "same": {"float32": False}}
    kept.write_text(json.dumps(content))
    with pytest.raises(SystemExit) as ended:
        gpu.main()
    assert ended.value.code == 1
    assert "| repeats | **not held** | float32: OTHER BITS |" in capsys.readouterr().out


@pytest.mark.slow
def test_processes_beside_each_other_and_what_may_be_forked():
    assert gpu.launcher(CPU)["forks"] == {"libraries imported": "True", "card opened": "False"}
    both = gpu.two_runs("resnet10t", TOY)
    assert len(both["two"]) == 2
    assert both["gain"] == pytest.approx(np.sum(both["two"]) / both["one"])


def test_every_check_has_a_name_and_a_time(tmp_path):
    named = gpu.checks(TOY, ["densenet121", "resnet50"], Augment(), tmp_path)
    assert [*named][:3] == ["right", "repeats", "launcher"]
    assert sum(check.seconds for check in named.values()) < 15 * 60
    assert max(check.seconds for check in named.values()) < 3 * 60
