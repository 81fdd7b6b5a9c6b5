"""A training run from its settings to its folder: what is the same whatever its networks give."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from pipeline.learning import session
from pipeline.learning.distillation import Distilled
from pipeline.learning.images import augmentation
from pipeline.learning.images.loader import PartData, ResidentImages
from pipeline.learning.losses import Loss
from pipeline.learning.metadata import CLIP, LEAK, Scheme, associations, far_values, measure
from pipeline.learning.networks import models
from pipeline.learning.networks.outputs import CLASSES
from pipeline.learning.settings import TrainingSections, train_settings
from pipeline.learning.teacher import read_teacher, told
from pipeline.learning.training.checkpoints import Checkpoint, fingerprint
from pipeline.learning.training.loop import FittedModel, Handling, derive, fit
from pipeline.learning.training.progress import EpochLines
from pipeline.learning.training.provenance import decisive, record
from pipeline.study.files import CHECKPOINTS, write_csv, write_json
from pipeline.study.parts import Part
from pipeline.study.prepared import DatasetInfo
from pipeline.study.runs import Run
from pipeline.study.trainings import run_folder, write_augmented


class Training:
    """A training run: made when it begins, then `model`, `fit` and `keep`, in this order.

    Parameters
    ----------
    run : Run
        Model, loss and seed.
    params : TrainingSections
        Of the study.
    packages : sequence of str
        Distributions beside `provenance.PACKAGES` on whose version the result depends.
    """

    def __init__(self, run: Run, params: TrainingSections, packages: Sequence[str] = ()) -> None:
        self.started = time.perf_counter()
        self.run = run
        self.settings, self.described = train_settings(params, run.model), params.models[run.model]
        self.device = session.begin(self.settings.threads, self.settings.tf32, self.settings.device)
        self.precision = session.choose_precision(self.settings.precision, self.device)
        self.versions = {name: version(name) for name in packages}
        self.scheme: Scheme | None = None

    def metadata(self, train: Part, classes: Sequence[str]) -> Scheme | None:
        """Find out how the columns that ``models.<name>.metadata`` names become inputs; None where it names none.

        Parameters
        ----------
        train : Part
            Training part, by whose drawn images they are measured.
        classes : sequence of str [K]
            Of the data set.
        """
        key, part = f"models.{self.run.model}.metadata", train.drawn()
        self.scheme = measure(key, self.described.metadata, classes, part.rows) if self.described.metadata else None
        if self.scheme is not None:
            _, once = np.unique(part.rows, return_index=True)
            encoded = self.scheme.of_rows(part.rows[once])
            for name, n in far_values(self.scheme, encoded).items():
                of = next(column for column in self.scheme.columns if column.name == name)
                print(
                    f"note: {key}: column '{name}' is more than {CLIP:g} SD from its mean for {n} of {len(once)} "
                    f"training images (mean {of.mean:g}, SD {of.sd:g}): a typing error, or a code for unknown?",
                    file=sys.stderr,
                    flush=True,
                )
            for found in associations(self.scheme, encoded, part.targets[once], classes):
                if found.auroc >= LEAK:
                    print(
                        f"note: {key}: column '{found.column}' alone tells '{found.label}' in the training images "
                        f"(AUROC {found.auroc:.3f}): does it hold the answer?",
                        file=sys.stderr,
                        flush=True,
                    )
        return self.scheme

    def taught(self, train: Part, data: DatasetInfo) -> np.ndarray:
        """Return the labels of the training part, and behind them what `models.<name>.teacher` says, if there is one.

        Parameters
        ----------
        train : Part
            Training part, N entries.
        data : DatasetInfo
            Its classes, K.

        Returns
        -------
        [N, K] or float32 [N, 2 K]
            As `pipeline.learning.distillation.Distilled` takes them.
        """
        if self.described.teacher is None:
            return train.targets
        key = f"models.{self.run.model}.teacher"
        teacher = read_teacher(key, self.described.teacher.file)
        says = told(key, teacher, data, train.rows)
        print(f"{self.run}: learns from {teacher.name}, {len(teacher.members)} training runs", flush=True)
        return np.concatenate([train.targets.astype(np.float32), says], axis=1)

    def model(self, outputs: int, images: np.ndarray, rows: np.ndarray, output: str = CLASSES) -> models.Classifier:
        """Build the model with the initial weights of the seed, normalised by some of the training images.

        Parameters
        ----------
        outputs : int
            K: classes, structures, or 1.
        images : uint8 or uint16 [N, H, W] or [N, H, W, 3]
            As prepared.
        rows : int64 [n]
            Positions of the training images.
        output : str
            Output layer that the loss names.
        """
        torch.manual_seed(derive(self.run.seed, 0))
        channels = 1 if images.ndim == 3 else images.shape[3]
        some = images[rows[:: 1 + len(rows) // 4096]]
        described = self.run.model, self.described
        return models.build(*described, channels, outputs, images.shape[1], some, output, self.scheme)

    def fit(
        self,
        model: models.Classifier,
        loss: Loss,
        train: PartData,
        draws: np.ndarray,
        val: PartData,
        handling: Handling | None = None,
        files: Sequence[Path] = (),
    ) -> FittedModel:
        """Train `model`, from its last checkpoint if there is one, and give it the weights of the best epoch.

        Parameters
        ----------
        model, loss, train, draws, val, handling
            As for `pipeline.learning.training.loop.fit`.
        files : sequence of Path
            What the result depends on beside `provenance.decisive`.
        """
        model.to(self.device).to(memory_format=torch.channels_last)
        facts, decide = decisive(self.run, self.settings, self.described, loss, self.device)
        facts["versions"] |= self.versions
        if self.described.teacher is not None:
            loss = Distilled.beside(loss, self.described.teacher)
        self._checkpoint = Checkpoint(CHECKPOINTS, fingerprint(facts, [*decide, *files]))
        with EpochLines(str(self.run), self.settings.epochs, self.settings.log_every) as report:
            fitted = fit(
                model,
                loss,
                train,
                draws,
                val,
                lr=self.described.lr,
                head_lr=self.described.head_lr,
                settings=self.settings,
                seed=self.run.seed,
                checkpoint=self._checkpoint,
                report=report,
                handling=handling,
            )
        model.load_state_dict(fitted.state)
        return fitted

    def keep(
        self,
        fitted: FittedModel,
        model: models.Classifier,
        loss: Loss,
        images: ResidentImages,
        rows: np.ndarray,
        draws: np.ndarray,
        data: DatasetInfo,
        collapsed: str | None,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        """Write the folder of the run, run.json last, and delete its checkpoint.

        Parameters
        ----------
        fitted, model, loss
            What `fit` was given and has returned.
        images, rows, draws : ResidentImages, int64 [n], int64 [n]
            The training part.
        data : DatasetInfo
            Written into the model file.
        collapsed : str or None
            Sign that nothing was learned.
        more : mapping, optional
            Further entries of run.json.
        """
        run, folder = self.run, run_folder(self.run)
        places, pictures = augmentation.examples(images, draws, self.settings.augment, seed=derive(run.seed, 0, 1))
        write_augmented(run, rows[places], pictures)
        of_output = {} if loss.output == CLASSES else {"output": loss.output}
        of_metadata = {} if self.scheme is None else {"metadata": self.scheme.record()}
        about_model = {**run._asdict(), **data.record(), **of_output, **of_metadata}
        models.save(folder / "model.safetensors", fitted.state, about_model)
        write_csv(folder / "history.csv", pd.DataFrame(fitted.history))
        about = record(
            run,
            self.settings,
            self.described,
            classes=data.classes,
            images=images,
            precision=self.precision,
            model=model,
            loss=loss,
            fitted=fitted,
            collapsed=collapsed,
            seconds=time.perf_counter() - self.started,
        )
        about["versions"] |= self.versions
        write_json(folder / "run.json", {**about, **of_metadata, **(more or {})})
        self._checkpoint.delete()
