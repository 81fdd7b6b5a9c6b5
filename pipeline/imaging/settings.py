"""Settings of preprocessing: section ``preprocess`` of params.yaml."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pipeline.datasets.settings import DataSections
from pipeline.study.params import Section


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
    duplicates: Duplicates = Duplicates()
    threads: int = Field(2, ge=1, le=256)


class PreprocessSections(DataSections):
    """The sections that stage ``preprocess`` reads."""

    preprocess: Preprocess
