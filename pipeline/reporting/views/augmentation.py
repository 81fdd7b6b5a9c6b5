"""How training images are augmented: every distinct setting of the study, and its examples."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from pipeline.learning.settings import Augment, train_settings
from pipeline.reporting.figures import data as figures
from pipeline.reporting.results import StudyResults
from pipeline.reporting.values import NO_AUGMENTED
from pipeline.reporting.views.shared import Picture, path_of_images, picture_of_images


class Augmentation(NamedTuple):
    """A setting, the models that are trained with it, and the figure of its examples where there is one."""

    models: list[str]
    settings: Augment
    picture: Picture | None

    @property
    def changes(self) -> bool:
        """Whether any operation is on."""
        return bool(self.settings.operations())


def augmentations(study: StudyResults, folder: Path, page: Path) -> tuple[list[Augmentation], list[Path]]:
    """Return every distinct augmentation of the study, and the figures drawn of them for the reports in `folder`."""
    groups: list[tuple[list[str], Augment]] = []
    for model in study.params.study.models:
        settings = train_settings(study.params, model).augment
        same = [models for models, other in groups if other == settings]
        if same:
            same[0].append(model)
        else:
            groups.append(([model], settings))
    shown: list[Augmentation] = []
    drawn: list[Path] = []
    for models, settings in groups:
        name = f"data-augmentation-{models[0]}.png" if shown else "data-augmentation.png"
        path = path_of_images(study, folder, name)  # called for every group: it removes what must no longer be public
        examples = next(
            (r.augmented for r in study.configurations if r.model in models and len(r.augmented.rows)), NO_AUGMENTED
        )
        pictured = len(examples.rows) > 0 and bool(settings.operations())
        if pictured:
            drawn.append(figures.augmented_images(study, examples, path))
        shown.append(Augmentation(models, settings, picture_of_images(study, path, page) if pictured else None))
    return shown, drawn
