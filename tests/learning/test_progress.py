import io

import pytest

from pipeline.learning.training.progress import EpochLines


class Terminal(io.StringIO):
    def isatty(self):
        return True


def row(epoch, seconds=2.0, **others):
    values = {"epoch": epoch, "train_loss": 0.5 / epoch, "val_loss": 0.6, "val_auroc": 0.7 + epoch / 100}
    return {**values, **others, "images_per_second": 1234.4, "seconds": seconds}


def lines(stream):
    return stream.getvalue().splitlines()


def test_a_file_gets_a_line_for_each_epoch():
    stream = io.StringIO()
    with EpochLines("cnn-bce seed 3", 12, stream=stream) as shown:
        shown(row(1))
        shown(row(2, seconds=4.0))
    assert lines(stream) == [
        "cnn-bce seed 3  epoch  1/12  loss 0.5000  val loss 0.6000  val AUROC 0.7100  1234 img/s  at most 00:22 left",
        "cnn-bce seed 3  epoch  2/12  loss 0.2500  val loss 0.6000  val AUROC 0.7200  1234 img/s  at most 00:30 left",
    ]


@pytest.mark.parametrize(("ended", "expected"), [(10, [3, 6, 9, 10]), (7, [3, 6, 7]), (6, [3, 6])])
def test_a_file_gets_every_nth_epoch_and_the_last(ended, expected):
    stream = io.StringIO()
    with EpochLines("x", 10, log_every=3, stream=stream) as shown:
        for epoch in range(1, ended + 1):
            shown(row(epoch))
    assert [int(line.split("epoch")[1].split("/")[0]) for line in lines(stream)] == expected


def test_macro_f1_is_shown_where_there_is_one():
    stream = io.StringIO()
    with EpochLines("x", 2, stream=stream) as shown:
        shown(row(1, val_macro_f1=0.25, val_accuracy=0.5))
    assert "val AUROC 0.7100  val macro F1 0.2500  1234 img/s" in stream.getvalue()


def test_standard_output_is_the_default(capsys):
    EpochLines("x", 2)(row(1))
    assert capsys.readouterr().out.startswith("x  epoch 1/2  loss 0.5000")


def test_nothing_is_written_for_a_training_that_had_nothing_left_to_do():
    stream = io.StringIO()
    with EpochLines("x", 2, stream=stream):
        pass
    assert stream.getvalue() == ""


def test_a_terminal_gets_a_bar_also_from_the_middle_of_a_training():
    stream = Terminal()
    with EpochLines("cnn-bce", 6, log_every=5, stream=stream) as shown:
        for epoch in (4, 5):  # resumed, and stopped early
            shown(row(epoch))
    drawn = [part.strip() for part in stream.getvalue().split("\r") if part.strip()]
    assert drawn[-1].startswith("cnn-bce 5/6 |")
    assert drawn[-1].endswith("loss 0.1000  val loss 0.6000  val AUROC 0.7500  1234 img/s  at most 00:02 left")
    assert any(part.startswith("cnn-bce 4/6 |") for part in drawn)
    assert stream.getvalue().endswith("\n")
    assert stream.getvalue().count("\n") == 1
