"""The twelve 2D sets of MedMNIST v3: class names, counts, checksums and sources.

Addresses, checksums, class names and counts are those of ``medmnist/info.py``, version 3.0.2; class names that contain
a comma or an enumeration are shortened.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Flag = Literal[
    "pathmnist",
    "chestmnist",
    "dermamnist",
    "octmnist",
    "pneumoniamnist",
    "retinamnist",
    "breastmnist",
    "bloodmnist",
    "tissuemnist",
    "organamnist",
    "organcmnist",
    "organsmnist",
]

Size = Literal[28, 64, 128, 224]

ORDERED: tuple[Flag, ...] = ("retinamnist",)
"""Sets whose classes are grades, from the lowest: of diabetic retinopathy."""

RECORD = "https://zenodo.org/records/10519652"
"""Page of the publisher, below which the files lie."""

_BY_IMAGE = (
    "Its parts were drawn from the source at 7:1:2 and no rule about patients is stated, so that images of one patient "
    "may lie in several parts."
)

_BY_SOURCE = (
    "Its test part was set apart by the source; validation was drawn from the rest at 1:9 and no rule about patients "
    "is stated."
)

_ORGANS = (
    "bladder",
    "femur-left",
    "femur-right",
    "heart",
    "kidney-left",
    "kidney-right",
    "liver",
    "lung-left",
    "lung-right",
    "pancreas",
    "spleen",
)

_CT = "Its parts hold different CT scans; several images of a part come from one scan."

_LITS = "P. Bilic et al. The Liver Tumor Segmentation Benchmark (LiTS). Medical Image Analysis 84 (2023), 102680"


class PublishedSet(NamedTuple):
    """What is published about one set.

    Parameters
    ----------
    title : str
        Published name.
    classes : tuple of str
        In the order of the label values.
    counts : tuple of int
        Images in train, val and test.
    md5 : tuple of str
        Of the files of 28, 64, 128 and 224 px.
    split : str
        A sentence on how the parts were made.
    source : str
        Citation of the images' origin.
    """

    title: str
    classes: tuple[str, ...]
    counts: tuple[int, int, int]
    md5: tuple[str, str, str, str]
    split: str
    source: str


SETS: dict[str, PublishedSet] = {
    "pathmnist": PublishedSet(
        "PathMNIST",
        (
            "adipose",
            "background",
            "debris",
            "lymphocytes",
            "mucus",
            "smooth muscle",
            "normal colon mucosa",
            "cancer-associated stroma",
            "colorectal adenocarcinoma epithelium",
        ),
        (89996, 10004, 7180),
        (
            "a8b06965200029087d5bd730944a56c1",
            "55aa9c1e0525abe5a6b9d8343a507616",
            "ac42d08fb904d92c244187169d1fd1d9",
            "2c51a510bcdc9cf8ddb2af93af1eadec",
        ),
        "Its test part comes from another centre; training and validation were drawn at 9:1 from the same slides' "
        "patches and no rule about patients is stated.",
        "J. N. Kather et al. Predicting survival from colorectal cancer histology slides using deep learning. PLOS "
        "Medicine 16 (2019), e1002730",
    ),
    "chestmnist": PublishedSet(
        "ChestMNIST",
        (
            "atelectasis",
            "cardiomegaly",
            "effusion",
            "infiltration",
            "mass",
            "nodule",
            "pneumonia",
            "pneumothorax",
            "consolidation",
            "edema",
            "emphysema",
            "fibrosis",
            "pleural",
            "hernia",
        ),
        (78468, 11219, 22433),
        (
            "02c8a6516a18b556561a56cbdd36c4a8",
            "9de6cd0b934ebb5b7426cfba5efbae16",
            "db107e5590b27930b62dbaf558aebee3",
            "45bd33e6f06c3e8cdb481c74a89152aa",
        ),
        "Its images are those of NIH ChestX-ray14 with labels mined from reports by a program; its test part has "
        "22,433 images where the official one of ChestX-ray14 has 25,596.",
        "X. Wang et al. ChestX-ray8. CVPR 2017, 3462-3471",
    ),
    "dermamnist": PublishedSet(
        "DermaMNIST",
        (
            "actinic keratoses and intraepithelial carcinoma",
            "basal cell carcinoma",
            "benign keratosis-like lesions",
            "dermatofibroma",
            "melanoma",
            "melanocytic nevi",
            "vascular lesions",
        ),
        (7007, 1003, 2005),
        (
            "0744692d530f8e62ec473284d019b0c7",
            "b70a2f5635c6199aeaa28c31d7202e1f",
            "2defd784463fa5243564e855ed717de1",
            "8974907d8e169bef5f5b96bc506ae45d",
        ),
        _BY_IMAGE,
        "P. Tschandl, C. Rosendahl, H. Kittler. The HAM10000 dataset. Scientific Data 5 (2018), 180161",
    ),
    "octmnist": PublishedSet(
        "OCTMNIST",
        ("choroidal neovascularization", "diabetic macular edema", "drusen", "normal"),
        (97477, 10832, 1000),
        (
            "c68d92d5b585d8d81f7112f81e2d0842",
            "e229e9440236b774d9f0dfef9d07bdaf",
            "0a97e76651ace45c5d943ee3f65b63ae",
            "abc493b6d529d5de7569faaef2773ba3",
        ),
        _BY_SOURCE,
        "D. S. Kermany et al. Identifying medical diagnoses and treatable diseases by image-based deep learning. Cell "
        "172 (2018), 1122-1131",
    ),
    "pneumoniamnist": PublishedSet(
        "PneumoniaMNIST",
        ("normal", "pneumonia"),
        (4708, 524, 624),
        (
            "28209eda62fecd6e6a2d98b1501bb15f",
            "8f4eceb4ccffa70c672198ea285246c6",
            "05b46931834c231683c68f40c47b2971",
            "d6a3c71de1b945ea11211b03746c1fe1",
        ),
        _BY_SOURCE,
        "D. S. Kermany et al. Identifying medical diagnoses and treatable diseases by image-based deep learning. Cell "
        "172 (2018), 1122-1131",
    ),
    "retinamnist": PublishedSet(
        "RetinaMNIST",
        ("grade 0", "grade 1", "grade 2", "grade 3", "grade 4"),
        (1080, 120, 400),
        (
            "bd4c0672f1bba3e3a89f0e4e876791e4",
            "afda852cc34dcda56f86ad2b2457dbcc",
            "e48e916a24454daf90583d4e6efb1a18",
            "eae7e3b6f3fcbda4ae613ebdcbe35348",
        ),
        f"{_BY_SOURCE} The grades are ordered and are treated here as classes without order.",
        "R. Liu et al. DeepDRiD: diabetic retinopathy - grading and image quality estimation challenge. Patterns 3 "
        "(2022), 100512",
    ),
    "breastmnist": PublishedSet(
        "BreastMNIST",
        ("malignant", "normal or benign"),
        (546, 78, 156),
        (
            "750601b1f35ba3300ea97c75c52ff8f6",
            "742edef2a1fd1524b2efff4bd7ba9364",
            "363e4b3f8d712e9b5de15470a2aaadf1",
            "b56378a6eefa9fed602bb16d192d4c8b",
        ),
        _BY_IMAGE,
        "W. Al-Dhabyani et al. Dataset of breast ultrasound images. Data in Brief 28 (2020), 104863",
    ),
    "bloodmnist": PublishedSet(
        "BloodMNIST",
        (
            "basophil",
            "eosinophil",
            "erythroblast",
            "immature granulocytes",
            "lymphocyte",
            "monocyte",
            "neutrophil",
            "platelet",
        ),
        (11959, 1712, 3421),
        (
            "7053d0359d879ad8a5505303e11de1dc",
            "2b94928a2ae4916078ca51e05b6b800b",
            "adace1e0ed228fccda1f39692059dd4c",
            "b718ff6835fcbdb22ba9eacccd7b2601",
        ),
        _BY_IMAGE,
        "A. Acevedo et al. A dataset of microscopic peripheral blood cell images for development of automatic "
        "recognition systems. Data in Brief 30 (2020), 105474",
    ),
    "tissuemnist": PublishedSet(
        "TissueMNIST",
        (
            "collecting duct or connecting tubule",
            "distal convoluted tubule",
            "glomerular endothelial cells",
            "interstitial endothelial cells",
            "leukocytes",
            "podocytes",
            "proximal tubule segments",
            "thick ascending limb",
        ),
        (165466, 23640, 47280),
        (
            "ebe78ee8b05294063de985d821c1c34b",
            "123ece2eba09d0aa5d698fda57103344",
            "61b955355d7425a89687b06cca3ce0c2",
            "b077128c4a949f0a4eb01517f9037b9c",
        ),
        f"{_BY_IMAGE} All its cells come from three specimens of tissue.",
        "V. Ljosa, K. L. Sokolnicki, A. E. Carpenter. Annotated high-throughput microscopy image sets for validation. "
        "Nature Methods 9 (2012), 637 (BBBC051)",
    ),
    "organamnist": PublishedSet(
        "OrganAMNIST",
        _ORGANS,
        (34561, 6491, 17778),
        (
            "68e3f8846a6bd62f0c9bf841c0d9eacc",
            "2dcccc29b88e6da5a01161ef20cda288",
            "eeae80d0a227a8d099027e1b3cfd3b60",
            "50747347e05c87dd3aaf92c49f9f3170",
        ),
        _CT,
        _LITS,
    ),
    "organcmnist": PublishedSet(
        "OrganCMNIST",
        _ORGANS,
        (12975, 2392, 8216),
        (
            "b9ceb9546e10131b32923c5bbeaea2b1",
            "3ce34a8724ea6f548e6db4744d03b6a9",
            "773c1f009daa3fe5d9a2a201b2a7ed94",
            "050f5e875dc056f6768abf94ec9995d1",
        ),
        _CT,
        _LITS,
    ),
    "organsmnist": PublishedSet(
        "OrganSMNIST",
        _ORGANS,
        (13932, 2452, 8827),
        (
            "9ab87b696fb54e2a387ebe992d6ed5f1",
            "53a6d115339d874c25e309a994ff46d3",
            "ded0c5fa01a95dc4978b956f613e9b8e",
            "b354719e553fbbb2513d5533f52a4cb1",
        ),
        _CT,
        _LITS,
    ),
}
"""Every set by its name in params.yaml (`Flag`)."""
