"""Results as DICOM: a structured report for each image, and its heat maps as Secondary Capture.

Both carry the patient and the study of the image that they are of, so that an archive files them with it, and point to
it. The report follows TID 1500, Measurement Report (PS3.16): a measurement group for each class holds its calibrated
probability, the decision, the model, and the image. It is preliminary and unverified, and says that it is research.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.deploying.choice import FUSION
from pipeline.deploying.dicom_codes import (
    ABOVE,
    BELOW,
    DECISION,
    MOST,
    OTHER,
    RESEARCH,
    SCHEME,
    SCHEME_NAME,
    UNDECIDED,
    Concept,
    finding,
    text,
    unique,
)
from pipeline.deploying.dicom_origin import Origin, Unfit, origin
from pipeline.deploying.dicom_pictures import overlays
from pipeline.deploying.recipe import Recipe
from pipeline.deploying.running import FAILED, Row
from pipeline.deploying.sources import Source
from pipeline.imaging.region import NO_REGIONS, Regions
from pipeline.study.files import replaced

# What highdicom warns of, such as a name of one part, it says with the name.
warnings.filterwarnings("ignore", category=UserWarning, module="highdicom")

FOLDER = "dicom"
"""In the folder of the results."""
COLUMNS = ("dicom report", "dicom heat maps", "dicom reason")
"""Of predictions.csv: files below `FOLDER`, and why there are none."""
_MAKER = "MedMatrix"
_UTF8 = "ISO_IR 192"
_LONGEST = {"LO": 64, "ST": 1024}
_SERIES_OF_REPORTS, _SERIES_OF_MAPS = 9000, 8000
"""Added to the number of the source's series."""
_LOSSY = ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod")


@dataclass
class Filing:
    """Writes the results of DICOM files as DICOM.

    Parameters
    ----------
    recipe : Recipe
        Of the model.
    folder : Path
        Of the results; the files go into its folder `FOLDER`.
    method : str
        Of the rows' heat maps, where they have any.
    regions : Regions
        As of the `Predictor` that made the rows.
    """

    recipe: Recipe
    folder: Path
    method: str = ""
    regions: Regions = NO_REGIONS
    _version: str = field(init=False)

    def __post_init__(self) -> None:
        """Digest what the model is, whoever chose it."""
        told = {k: v for k, v in self.recipe.record().items() if k not in ("how", "checked", "largest_difference")}
        told["about"] = {"head_sha256": self.recipe.about.get("head_sha256")}
        self._version = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()

    def file(self, source: Source, rows: Sequence[Row]) -> list[Row]:
        """Write what there is for the images of a file; nothing about the file raises.

        A file that is there already is not written again: its name is its identifier, which follows from its content.

        Parameters
        ----------
        source : Source
            The file that was predicted.
        rows : sequence of Row
            Of its images; those with heat maps get a Secondary Capture for each.

        Returns
        -------
        list of Row
            The rows, with `COLUMNS` in their `outputs`.

        Raises
        ------
        OSError, UserError
            If nothing can be written.
        """
        try:
            data = source.read()
            known = origin(data)
        except Unfit as unfit:
            return [_with(row, reason=str(unfit)) for row in rows]
        except OSError:
            return [_with(row, reason="file not readable") for row in rows]
        pictures = overlays(data, rows, self.recipe, self.regions) if any(row.heat for row in rows) else iter(())
        return [self._one(known, row, next(pictures, {})) for row in rows]

    def clean(self, rows: Iterable[Row]) -> None:
        """Remove results of earlier calls, as predictions.csv replaces theirs: nobody is to send them by mistake.

        Parameters
        ----------
        rows : iterable of Row
            All rows of this call. What is not named by `unique` is left alone.
        """
        named = {Path(name).name for row in rows for column in COLUMNS[:2] for name in row.outputs[column].split("|")}
        for path in (self.folder / FOLDER).glob("2.25.*.dcm"):
            if path.name not in named:
                path.unlink()

    def _one(self, known: Origin, row: Row, pictures: Mapping[str, np.ndarray]) -> Row:
        if row.status == FAILED:
            return _with(row, reason="not predicted")
        frame = self._frame(known, row)
        try:
            report = self._report(known, row, frame)
            maps = [self._capture(known, row, frame, name, picture) for name, picture in pictures.items()]
        except Unfit as unfit:
            return _with(row, reason=str(unfit))
        return _with(row, report, maps)

    def _frame(self, known: Origin, row: Row) -> int | None:
        """Return the number of the frame that was looked at, from 1; None of a file with one image."""
        if row.frame is not None or known.frames == 1:
            return row.frame
        return known.frames // 2 + 1 if self.recipe.preprocess["frame"] == "middle" else 1

    def _named(self, kind: str, known: Origin, row: Row, frame: int | None, *more: str) -> str:
        """Return the identifier of a file: of the image's bytes, the model and what it says of the image."""
        result = json.dumps([f"{v:.6g}" for v in (*row.probability, *row.low, *row.high)] + list(row.flags))
        image = str(known.header.SOPInstanceUID), str(frame), known.digest
        return unique(kind, *image, self._version, self.recipe.name, _software(), result, *more)

    def _series(self, kind: str, known: Origin) -> str:
        header = known.header
        study = str(header.StudyInstanceUID), str(header.SeriesInstanceUID), str(header.PatientID)
        return unique(f"series of {kind}s", *study, self._version, self.recipe.name, _software())

    def _report(self, known: Origin, row: Row, frame: int | None) -> str:
        """Write the structured report, and return its path below the folder of the results."""
        name = self._named("report", known, row, frame)
        place = f"{FOLDER}/{name}.dcm"
        if not (self.folder / place).exists():
            _write(self.folder / place, known, lambda: self._report_of(known, row, frame, name))
        return place

    def _capture(self, known: Origin, row: Row, frame: int | None, of: str, picture: np.ndarray) -> str:
        """Write the heat map of a class, and return its path below the folder of the results."""
        pixels = hashlib.sha256(np.ascontiguousarray(picture).tobytes()).hexdigest()
        name = self._named("heat map", known, row, frame, of, pixels)
        place = f"{FOLDER}/{name}.dcm"
        if not (self.folder / place).exists():
            _write(self.folder / place, known, lambda: self._capture_of(known, row, frame, name, of, picture))
        return place

    def _report_of(self, known: Origin, row: Row, frame: int | None, name: str) -> Any:
        from highdicom import sr
        from highdicom.coding_schemes import CodingSchemeIdentificationItem
        from pydicom.sr.codedict import codes

        device = sr.DeviceObserverIdentifyingAttributes(
            uid=unique("model", self._version, self.recipe.name, _software()),
            name=text(self.recipe.name, _LONGEST["LO"]),
            manufacturer_name=_MAKER,
            model_name=text(self.recipe.name, _LONGEST["LO"]),
            serial_number=self._version,
        )
        content = sr.MeasurementReport(
            observation_context=sr.ObservationContext(
                observer_device_context=sr.ObserverContext(codes.DCM.Device, device)
            ),
            procedure_reported=codes.SCT.ImagingProcedure,
            imaging_measurements=[self._group(known, row, frame, k) for k in range(len(self.recipe.classes))],
        )
        for words in self._comments(row):
            said = sr.TextContentItem(codes.DCM.Comment, words, sr.RelationshipTypeValues.CONTAINS)
            content[0].ContentSequence.append(said)
        return sr.ComprehensiveSR(
            evidence=[known.header],
            content=content,
            series_instance_uid=self._series("report", known),
            series_number=_SERIES_OF_REPORTS + known.number("SeriesNumber"),
            sop_instance_uid=name,
            instance_number=known.number("InstanceNumber") + (frame or 1) - 1,
            is_complete=True,
            is_final=False,
            series_description=text(f"{RESEARCH}: {self.recipe.name}", _LONGEST["LO"]),
            coding_schemes=[CodingSchemeIdentificationItem(SCHEME, SCHEME_NAME, responsible_organization=_MAKER)],
            **self._made_by(),
        )

    def _group(self, known: Origin, row: Row, frame: int | None, k: int) -> Any:
        """Return what is said of a class."""
        from highdicom import sr
        from pydicom.sr.codedict import codes

        of, cut = self.recipe.classes[k], self.recipe.thresholds[k]
        told = [f"SHA-256 of the model: {self._version}"]
        told += (
            [] if cut is None else [f"Decision threshold of the probability, of highest F1 on validation: {cut:.6g}"]
        )
        image = str(known.header.SOPClassUID), str(known.header.SOPInstanceUID)
        return sr.MeasurementsAndQualitativeEvaluations(
            tracking_identifier=sr.TrackingIdentifier(
                unique("finding", *image, str(frame), self._version, of), text(f"{self.recipe.name}: {of}", 1024)
            ),
            finding_type=_coded(finding(of)),
            algorithm_id=sr.AlgorithmIdentification(
                self.recipe.name, f"{_software()}, {self._version[:16]}", told, manufacturer=_MAKER
            ),
            measurements=[sr.Measurement(codes.DCM.Probability, round(row.probability[k], 6), codes.UCUM.NoUnits)],
            qualitative_evaluations=[sr.QualitativeEvaluation(_coded(DECISION), _coded(self._decision(row, of, cut)))],
            source_images=[sr.SourceImageForMeasurementGroup(*image, None if frame is None else [frame])],
        )

    def _decision(self, row: Row, of: str, cut: float | None) -> Concept:
        if self.recipe.task == "multiclass":
            return MOST if of in row.decision else OTHER
        return UNDECIDED if cut is None else ABOVE if of in row.decision else BELOW

    def _comments(self, row: Row) -> list[str]:
        recipe = self.recipe
        runs = "one training run" if len(recipe.members) == 1 else f"{len(recipe.members)} training runs"
        said = [
            f"{RESEARCH}. Written by a computer; no person has looked at it.",
            f"Probabilities of model {recipe.name} ({runs}, trained on: {recipe.about['title']}), calibrated on "
            f"{recipe.n_validation} validation images; at another prevalence they do not hold.",
        ]
        if len(recipe.members) > 1 and recipe.method != FUSION:
            spans = (f"{of} {low:.3f} to {high:.3f}" for of, low, high in zip(recipe.classes, row.low, row.high))
            said.append(f"Smallest and largest probability of the single training runs: {', '.join(spans)}.")
        if row.prediction_set:
            said.append(f"Prediction set: {', '.join(row.prediction_set)}.")
        said += [f"Unlike the images that the model was made for: {flag}." for flag in row.flags]
        return [text(words, 4096) for words in said]

    def _capture_of(self, known: Origin, row: Row, frame: int | None, name: str, of: str, picture: np.ndarray) -> Any:
        from highdicom.sc import SCImage
        from pydicom.dataset import Dataset
        from pydicom.sr.codedict import codes

        header = known.header
        k = self.recipe.classes.index(of)
        place = (known.number("InstanceNumber") + (frame or 1) - 2) * len(self.recipe.classes) + k + 1
        image: Any = SCImage.from_ref_dataset(
            ref_dataset=header,
            pixel_array=np.ascontiguousarray(picture),
            photometric_interpretation="RGB",
            bits_allocated=8,
            coordinate_system="PATIENT",
            series_instance_uid=self._series("heat map", known),
            series_number=_SERIES_OF_MAPS + known.number("SeriesNumber"),
            sop_instance_uid=name,
            instance_number=place,
            patient_orientation=("L", "F"),  # replaced below: highdicom takes no unknown one
            transfer_syntax_uid="1.2.840.10008.1.2.1",
            series_description=text(f"{RESEARCH}: heat maps, {self.recipe.name}", _LONGEST["LO"]),
            **self._made_by(),
        )
        image.copy_patient_and_study_information(header)
        image.PatientOrientation = header.get("PatientOrientation") or None
        for element in ("BodyPartExamined", "ImageLaterality", "Laterality"):
            if header.get(element):
                setattr(image, element, header[element].value)
        if not any(element in image for element in ("BodyPartExamined", "ImageLaterality", "Laterality")):
            image.Laterality = None  # not known whether the part is one of a pair
        image.ImageComments = text(f"{RESEARCH}. Heat map: {of}", 10240)
        image.DerivationDescription = text(
            f"{RESEARCH}. Colours show where the network looked for '{of}' in the source image, scaled to the largest "
            f"value of this image ({self.method}), over a copy of it; they are no measurement and no outline of a "
            f"finding. Model {self.recipe.name}, SHA-256 {self._version[:16]}; probability {row.probability[k]:.3f}",
            _LONGEST["ST"],
        )
        source = Dataset()
        source.ReferencedSOPClassUID, source.ReferencedSOPInstanceUID = header.SOPClassUID, header.SOPInstanceUID
        if frame is not None:
            source.ReferencedFrameNumber = frame
        source.PurposeOfReferenceCodeSequence = [_coded(Concept(*codes.DCM.SourceImageForImageProcessingOperation[:3]))]
        image.SourceImageSequence = [source]
        # A copy of the image shows what is burned into it; where the header does not say, something may be.
        image.BurnedInAnnotation = "NO" if header.get("BurnedInAnnotation") == "NO" else "YES"
        if header.get("RecognizableVisualFeatures"):
            image.RecognizableVisualFeatures = header.RecognizableVisualFeatures
        if header.get("LossyImageCompression") == "01":
            for lossy in _LOSSY:
                if lossy in header:
                    image.add(header[lossy])
        return image

    def _made_by(self) -> dict[str, Any]:
        return {
            "manufacturer": _MAKER,
            "manufacturer_model_name": text(self.recipe.name, _LONGEST["LO"]),
            "software_versions": text(_software(), _LONGEST["LO"]),
            "device_serial_number": self._version[:64],
            "specific_character_set": _UTF8,
        }


def _coded(concept: Concept) -> Any:
    from highdicom.sr import CodedConcept

    return CodedConcept(concept.value, concept.scheme, concept.meaning)


def _software() -> str:
    return f"medmatrix {importlib.metadata.version('medmatrix')}"


def _with(row: Row, report: str = "", maps: Sequence[str] = (), reason: str = "") -> Row:
    return row._replace(outputs={**row.outputs, **dict(zip(COLUMNS, (report, "|".join(maps), reason)))})


def _write(path: Path, known: Origin, make: Callable[[], Any]) -> None:
    """Write a file, complete or not at all.

    Raises
    ------
    Unfit
        If highdicom finds the header of the source unfit.
    """
    try:
        made = make()
    except KeyError:
        raise Unfit(f"highdicom does not know SOP class {known.header.SOPClassUID}, or lacks an element") from None
    except (AttributeError, TypeError, ValueError) as error:  # its message may hold the patient's name
        raise Unfit(f"a header that highdicom refuses ({type(error).__name__})") from None
    with replaced(path) as partial:
        made.save_as(partial, enforce_file_format=True)
