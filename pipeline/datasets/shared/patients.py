"""Whose images are, where a path, a column or a header says it of some and not of others.

An image of nobody may show anybody, one who is trained on among them. Taking every image for a patient of its own
because one of them names none would part all patients at once; so such images are refused, left out or, on request,
stand alone, and the others stay with whoever they name.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Literal, NamedTuple

from pipeline.datasets import DatasetError
from pipeline.datasets.shared.local import summary

Without = Literal["exclude", "alone"]
"""What becomes of images without a patient where others have one: left out, or alone while no page speaks of patients.
"""

NOBODY = "no patient"
"""Begins the reason why such an image is left out."""


class Naming(NamedTuple):
    """What is told of whose images are.

    Parameters
    ----------
    of : dict of str to str
        Patient by image; empty where nobody is named. Images that cannot be used are in neither.
    without : dict of str to str
        Images that name nobody while others do, with what is missing.
    images : str
        What is counted, for messages: ``headers``, ``rows``.
    """

    of: Mapping[str, str]
    without: Mapping[str, str]
    images: str

    def among(self, images: Collection[str]) -> Naming:
        """Return what is told of some of the images."""
        of = {image: patient for image, patient in self.of.items() if image in images}
        return Naming(of, {image: why for image, why in self.without.items() if image in images}, self.images)

    def known(self, without: Without | None) -> bool:
        """Whether every image that is used names its patient."""
        return bool(self.of) and (not self.without or without == "exclude")

    def check(self, without: Without | None, name: str, where: str) -> None:
        """Refuse images without a patient, unless `without` says what becomes of them.

        Raises
        ------
        DatasetError
            With how many there are, the first of them, and what can be done.
        """
        if not self.without or without is not None:
            return
        first = next(iter(self.without.values()))
        missing, total = len(self.without), len(self.without) + len(self.of)
        patients = len(set(self.of.values()))
        raise DatasetError(
            f"{where}: {first}; {len(self.of):,} of {total:,} {self.images} name a patient ({patients:,} in all), "
            f"{missing:,} {'does' if missing == 1 else 'do'} not. An image without a patient may show anybody, also "
            f"somebody of another set. Name the patient, or set datasets.{name}.without_patient (medmatrix new "
            "--without-patient): exclude leaves such images out; alone keeps each for itself, and no report then "
            "speaks of patients"
        )

    def record(self, without: Without | None) -> dict[str, Any]:
        """Return what SOURCE.json holds of images without a patient; nothing where there are none."""
        if not self.without:
            return {}
        if without == "exclude":
            return {"without_patient": summary(list(self.without))}
        named = {"images": len(self.of), "of": len(self.of) + len(self.without)}
        return {"patients_named": named | {"patients": len(set(self.of.values()))}}
