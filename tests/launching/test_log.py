import io

import pytest

from pipeline.launching.log import Progress, Tail, reason
from pipeline.learning.training import progress as training


def of(*lines):
    progress = Progress()
    for line in lines:
        progress.read(line)
    return progress


def test_the_lines_of_a_training_are_understood():
    """Written by what writes them in a training."""
    stream = io.StringIO()
    row = {"train_loss": 0.4, "val_loss": 0.5, "images_per_second": 812.3}
    with training.EpochLines("cnn-bce seed 3", 12, stream=stream) as shown:
        shown({**row, "epoch": 1, "val_auroc": 0.71239, "seconds": 400.0})
        shown({**row, "epoch": 2, "val_auroc": 0.81234, "seconds": 400.0})
    progress = of(*stream.getvalue().splitlines())
    assert (progress.epoch, progress.metric, progress.left) == ("2/12", "AUROC 0.8123", "1:06:40")


def test_the_first_metric_is_shown_and_an_undefined_one_does_not_stop_anything():
    stream = io.StringIO()
    row = {"train_loss": 0.4, "val_loss": 0.5, "images_per_second": 812.3, "seconds": 1.0, "epoch": 3}
    with training.EpochLines("m-l seed 1", 3, stream=stream) as shown:
        shown({**row, "val_auroc": float("nan"), "val_macro_f1": 0.5})
    assert of(*stream.getvalue().splitlines()).metric == "AUROC nan"


@pytest.mark.parametrize(
    ("line", "field"),
    [
        ("Running stage 'train@cnn-bce-42':", "running"),
        ("Stage 'train@cnn-bce-42' is cached - skipping run, checking out outputs", "restored"),
        ("Stage 'train@cnn-bce-42' didn't change, skipping", "unchanged"),
        ("cnn-bce seed 42: best epoch 3, COLLAPSED: constant", "collapsed"),
    ],
)
def test_what_dvc_and_the_end_of_a_training_say(line, field):
    said = of(line)
    assert [name for name in ("running", "restored", "unchanged", "collapsed") if getattr(said, name)] == [field]


def test_a_collapse_is_no_word_anywhere_in_a_line():
    assert not of("note: a loss that COLLAPSED", "x seed 1: best epoch 3").collapsed


def test_a_tail_gives_whole_lines_once(tmp_path):
    file = tmp_path / "log"
    file.write_text("before\n")
    tail = Tail(file)
    assert tail.lines() == []
    with file.open("a") as log:
        log.write("one\ntw")
    assert tail.lines() == ["one"]
    with file.open("ab") as log:
        log.write(b"o\xff\r\n")
    assert tail.lines() == ["two\ufffd"]
    assert tail.lines() == []
    assert Tail(tmp_path / "absent").lines() == []


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("x\nerror: lr is too high\nERROR: failed to reproduce 'train@a'\n", "error: lr is too high"),
        ("Traceback\n  File\nValueError: no\nERROR: failed to reproduce\n", "ValueError: no"),
        ("torch.OutOfMemoryError: CUDA out of memory.\nERROR: failed\n", "torch.OutOfMemoryError: CUDA out of memory."),
        ("first\nlast\n\n", "last"),
        ("error: the first attempt\nmore\nerror: the second attempt\n", "error: the second attempt"),
        ("", "an empty log"),
        (
            "ERROR: unexpected error - [Errno 28] No space left on device\n\nHaving any troubles? Hit us up\n",
            "ERROR: unexpected error - [Errno 28] No space left on device",
        ),
    ],
)
def test_the_reason_of_a_failure(text, why, tmp_path):
    (tmp_path / "log").write_text(text)
    assert reason(tmp_path / "log") == why


def test_of_a_run_that_is_done_it_is_the_best_epoch_that_is_told():
    name = "cnn-zlpr seed 42"
    epochs = [f"{name}  epoch {i}/3  loss 2.6  val loss 2.8  val AUROC {x}  250 img/s" for i, x in enumerate("abc", 1)]
    assert of(*epochs).metric == "AUROC c"
    assert of(*epochs, f"{name}: best epoch 2; whether it learned: 20 images, AUROC 0.6").metric == "AUROC b"
    assert of(*epochs[1:], f"{name}: best epoch 1, COLLAPSED").metric == ""
