"""A study of masks that takes seconds, made once for the tests that ask for it."""

import copy
from pathlib import Path

import pytest
import yaml

from pipeline import download, preprocess, split
from pipeline.segmenting.ensembles import ensemble_segmentation
from pipeline.segmenting.evaluation import evaluate_segmentation
from pipeline.segmenting.training import train_segmentation
from pipeline.settings import load
from pipeline.study.runs import configurations, runs
from tests.once import made_once
from tests.tiny import TINY


def study_of(**changes):
    """Content of the params.yaml of a study of masks that takes seconds; keys with __ for dots replace others."""
    content = copy.deepcopy(TINY)
    content["dataset"] = "phantom"
    content["datasets"] = {
        "phantom": {"images": 200, "size": 64, "task": "segmentation", "test_fraction": 0.3, "bad_files": True}
    }
    content["study"] = {"models": ["unet"], "losses": ["bce_dice", "tversky"], "replicates": [12]}
    options = {"encoder_name": "tu-test_resnet", "encoder_depth": 2, "decoder_channels": [16, 8]}
    content["models"] = {"unet": {"arch": "smp/unet", "lr": 0.01, "options": options}}
    content["losses"] = {"bce_dice": {}, "tversky": {}, "bce": {}}
    content["preprocess"] |= {"size": 32, "channels": 1}
    content["train"] = {"epochs": 2, "batch_size": 16, "select": "dice", "threads": 1}
    content["evaluate"] = {"bootstrap": 100}
    content["explain"] = {"methods": ["grad-cam"]}
    content["ensemble"] = {"top_k": 3}
    for path, value in changes.items():
        *above, last = path.split("__")
        place_of = content
        for key in above:
            place_of = place_of[key]
        place_of[last] = value
    return content


def segmented_once(factory: pytest.TempPathFactory) -> Path:
    """Return a folder in which every stage of that study but the report has run."""

    def make(folder):
        (folder / "params.yaml").write_text(yaml.safe_dump(study_of()))
        study = load()
        download.download(study)
        preprocess.main()
        split.main()
        for run in runs(study):
            train_segmentation(run, study)
        for configuration in configurations(study):
            evaluate_segmentation(configuration, study)
        ensemble_segmentation(study)

    return made_once(factory, "segmented", make)
