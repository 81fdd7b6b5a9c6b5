"""Settings of preprocessing: section ``preprocess`` of params.yaml."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipeline.datasets.settings import DataSections
from pipeline.study.params import Probability, Section, Sections

OWN = "own"
"""Value of ``preprocess.roi.masks``: those of the data set."""


class Clahe(Section):
    """Contrast-limited adaptive histogram equalisation (Zuiderveld, Graphics Gems IV, 1994)."""

    enabled: bool = True
    clip: float = Field(2.0, gt=0, le=100)
    tiles: int = Field(8, ge=1, le=64)
    order: Literal["before_resize", "after_resize"] = "before_resize"


class Duplicates(Section):
    """Which images count as the same: identical pixels always, similar ones if `near`."""

    near: bool = True
    hamming: int = Field(4, ge=0, le=16, description="bits of 64 in which perceptual hashes of candidates may differ")
    correlation: float = Field(0.995, gt=0, le=1, description="of 32 x 32 thumbnails, to confirm a candidate")
    finer: float | None = Field(
        0.99, gt=0.5, lt=1, description="of 32 x 32 thumbnails that is enough whatever the hashes; None = not searched"
    )
    conflicting_labels: Literal["exclude", "keep"] = "exclude"


class Roi(Section):
    """The region of interest: what of an image is prepared.

    Parameters
    ----------
    masks : str
        `OWN`, or the folder of a trained segmentation model.
    classes : list of str
        Masks whose union is the region; none = all.
    margin : float
        By which the box around the region grows on each side, as a share of its width or height.
    outside : {"keep", "blank"}
        What becomes of pixels outside of the mask; blank = black.
    crop : bool
        Whether the box is cut out.
    least : float
        Share of the image below which a region counts as not found.
    """

    masks: str = Field(min_length=1)
    classes: list[str] = []
    margin: Probability = 0.05
    outside: Literal["keep", "blank"] = "keep"
    crop: bool = True
    least: Probability = 0.02

    @model_validator(mode="after")
    def _does_something(self) -> Roi:
        if not self.crop and self.outside == "keep":
            raise ValueError("crop: false with outside: 'keep' leaves every image as it is; must be true, or blank")
        return self


class Preprocess(Section):
    """From published image files to one array."""

    size: int = Field(ge=16, le=2048)
    channels: Literal[1, 3] = 1
    keep_aspect: Literal["stretch", "pad", "crop"] = "stretch"
    clahe: Clahe = Clahe()
    bits: Literal["auto"] | Annotated[int, Field(ge=8, le=16)] = Field(
        "auto", description="depth of files above 8 bits that do not say it (16-bit PNG and TIFF), the same for all"
    )
    store: Literal["uint8", "uint16"] = "uint8"
    frame: Literal["first", "middle", "all", "error"] = Field("error", description="of files with several")
    max_pixels: int = Field(100_000_000, ge=256, description="of one image: width times height")
    max_bytes: int = Field(400_000_000, ge=256, description="of one frame decoded: pixels x colours x bytes a value")
    roi: Roi | None = Field(None, description="region of interest; None = whole images")
    duplicates: Duplicates = Duplicates()
    threads: int = Field(2, ge=1, le=256)


class PreprocessSection(Sections):
    """The section of preprocessing."""

    preprocess: Preprocess


class PreprocessSections(DataSections, PreprocessSection):
    """The sections that stage ``preprocess`` reads."""
