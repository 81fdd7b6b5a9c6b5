"""What is shown of a training run while it trains."""

from __future__ import annotations

import sys
from typing import Self, TextIO

from tqdm import tqdm

NAMES = {
    "val_auroc": "val AUROC",
    "val_macro_f1": "val macro F1",
    "val_dice": "val Dice",
    "val_qwk": "val QWK",
    "val_mae": "val MAE",
}


class EpochLines:
    """Shows one line per epoch of a training run: on a terminal as a bar in place, in a file one below the other.

    Parameters
    ----------
    label : str
        What is trained, such as "cnn-bce seed 42".
    epochs : int
        At most so many.
    log_every : int
        Epochs between two lines in a file; the last epoch always has its line.
    stream : text stream, optional
        Where to; None = standard output.

    Notes
    -----
    Use it as a context: on leaving, the bar is ended, and a run that stopped early gets its last line.
    The time left is that of all epochs, which early stopping may save, at the mean speed of those seen here.
    """

    def __init__(self, label: str, epochs: int, log_every: int = 1, stream: TextIO | None = None) -> None:
        self.label, self.epochs, self.log_every = label, epochs, log_every
        self._stream = sys.stdout if stream is None else stream
        self._on_terminal = self._stream.isatty()
        self._bar: tqdm | None = None
        self._row: dict[str, float] = {}
        self._written = True
        self._seconds = 0.0
        self._seen = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __call__(self, row: dict[str, float]) -> None:
        """Show the history row `row`: epoch, train_loss, val_loss, val_auroc, images_per_second, seconds."""
        self._row, self._written = row, False
        self._seconds += row["seconds"]
        self._seen += 1
        if self._on_terminal:
            self._draw(int(row["epoch"]))
        elif row["epoch"] % self.log_every == 0 or row["epoch"] == self.epochs:
            self._write()

    def close(self) -> None:
        """End the bar, or write the line of the last epoch if it has none yet."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
        elif not self._on_terminal and not self._written:
            self._write()

    def _draw(self, epoch: int) -> None:
        if self._bar is None:
            self._bar = tqdm(
                desc=self.label,
                total=self.epochs,
                file=self._stream,
                mininterval=0,
                dynamic_ncols=True,
                bar_format="{desc} {n_fmt}/{total_fmt} |{bar:10}| {postfix}",
            )
        self._bar.set_postfix_str(self._figures(), refresh=False)
        self._bar.update(epoch - self._bar.n)

    def _write(self) -> None:
        width = len(str(self.epochs))
        epoch = f"epoch {int(self._row['epoch']):>{width}}/{self.epochs}"
        print(f"{self.label}  {epoch}  {self._figures()}", file=self._stream, flush=True)
        self._written = True

    def _figures(self) -> str:
        row = self._row
        metrics = [f"{name} {row[key]:.4f}" for key, name in NAMES.items() if key in row]
        left = (self.epochs - row["epoch"]) * self._seconds / self._seen
        return "  ".join(
            [
                f"loss {row['train_loss']:.4f}",
                f"val loss {row['val_loss']:.4f}",
                *metrics,
                f"{row['images_per_second']:.0f} img/s",
                f"at most {tqdm.format_interval(left)} left",
            ]
        )
