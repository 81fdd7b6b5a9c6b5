"""Works that a methods section cites, and which setting stands for which of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple


class Work(NamedTuple):
    """A publication, and where it is found."""

    text: str
    url: str


def _doi(text: str, doi: str) -> Work:
    return Work(text, f"https://doi.org/{doi}")


def _arxiv(text: str, number: str) -> Work:
    return Work(text, f"https://arxiv.org/abs/{number}")


WORKS: dict[str, Work] = {
    # tools
    "timm": _doi("Wightman R. PyTorch Image Models. 2019", "10.5281/zenodo.4414861"),
    "torch": _arxiv(
        "Paszke A, et al. PyTorch: an imperative style, high-performance deep learning library. NeurIPS 2019",
        "1912.01703",
    ),
    "dvc": Work("DVC: data version control", "https://dvc.org"),
    # images
    "clahe": _doi(
        "Zuiderveld K. Contrast limited adaptive histogram equalization. Graphics Gems IV, 1994, 474-485",
        "10.1016/B978-0-12-336156-1.50061-6",
    ),
    "rand": _arxiv("Cubuk ED, et al. RandAugment. NeurIPS 2020", "1909.13719"),
    "mixup": _arxiv("Zhang H, et al. mixup: beyond empirical risk minimization. ICLR 2018", "1710.09412"),
    "cutmix": _arxiv("Yun S, et al. CutMix. ICCV 2019", "1905.04899"),
    "swa": _arxiv("Izmailov P, et al. Averaging weights leads to wider optima. UAI 2018", "1803.05407"),
    "layer_decay": _arxiv("Bao H, et al. BEiT. ICLR 2022", "2106.08254"),
    "progressive": _arxiv("Tan M, Le QV. EfficientNetV2. ICML 2021", "2104.00298"),
    "erase": _arxiv("Zhong Z, et al. Random erasing data augmentation. AAAI 2020", "1708.04896"),
    # split
    "stratify": _doi(
        "Sechidis K, Tsoumakas G, Vlahavas I. On the stratification of multi-label data. ECML PKDD 2011, 145-158",
        "10.1007/978-3-642-23808-6_10",
    ),
    # architectures
    "densenet": _arxiv("Huang G, et al. Densely connected convolutional networks. CVPR 2017", "1608.06993"),
    "resnet": _arxiv("He K, et al. Deep residual learning for image recognition. CVPR 2016", "1512.03385"),
    "efficientnet": _arxiv("Tan M, Le QV. EfficientNet: rethinking model scaling. ICML 2019", "1905.11946"),
    "mobilenetv2": _arxiv("Sandler M, et al. MobileNetV2: inverted residuals. CVPR 2018", "1801.04381"),
    "inception_resnet": _arxiv("Szegedy C, et al. Inception-v4, Inception-ResNet. AAAI 2017", "1602.07261"),
    "nasnet": _arxiv("Zoph B, et al. Learning transferable architectures. CVPR 2018", "1707.07012"),
    "vgg": _arxiv("Simonyan K, Zisserman A. Very deep convolutional networks. ICLR 2015", "1409.1556"),
    "convnext": _arxiv("Liu Z, et al. A ConvNet for the 2020s. CVPR 2022", "2201.03545"),
    "vit": _arxiv("Dosovitskiy A, et al. An image is worth 16x16 words. ICLR 2021", "2010.11929"),
    "swin": _arxiv("Liu Z, et al. Swin transformer. ICCV 2021", "2103.14030"),
    "drop_path": _arxiv("Huang G, et al. Deep networks with stochastic depth. ECCV 2016", "1603.09382"),
    "distillation": _arxiv("Hinton G, et al. Distilling the knowledge in a neural network. 2015", "1503.02531"),
    # losses
    "focal": _arxiv("Lin TY, et al. Focal loss for dense object detection. ICCV 2017", "1708.02002"),
    "asl": _arxiv("Ridnik T, et al. Asymmetric loss for multi-label classification. ICCV 2021", "2009.14119"),
    "hill": _arxiv("Zhang Y, et al. Simple and robust loss design for multi-label learning. 2021", "2112.07368"),
    "two_way": Work(
        "Kobayashi T. Two-way multi-label loss. CVPR 2023, 7476-7485",
        "https://openaccess.thecvf.com/CVPR2023",
    ),
    "zlpr": _arxiv("Su J, et al. ZLPR: a novel loss for multi-label classification. 2022", "2208.02955"),
    "fzlpr": _doi("Hanif et al. Bioengineering 2025;12:593", "10.3390/bioengineering12060593"),
    "class_balanced": _arxiv("Cui Y, et al. Class-balanced loss. CVPR 2019", "1901.05555"),
    "ldam": _arxiv("Cao K, et al. Learning imbalanced datasets with LDAM. NeurIPS 2019", "1906.07413"),
    "logit_adjusted": _arxiv("Menon AK, et al. Long-tail learning via logit adjustment. ICLR 2021", "2007.07314"),
    "balanced_softmax": _arxiv("Ren J, et al. Balanced meta-softmax. NeurIPS 2020", "2007.10740"),
    "smoothing": _arxiv("Szegedy C, et al. Rethinking the Inception architecture. CVPR 2016", "1512.00567"),
    "calibrated": _arxiv("Liang G, et al. Improved trainable calibration method. BMVC 2020", "2009.04057"),
    "rajaraman": _doi("Rajaraman S, Zamzmi G, Antani SK. PLoS ONE 2021;16:e0261307", "10.1371/journal.pone.0261307"),
    "kl": _doi("Kullback S, Leibler RA. Ann Math Stat 1951;22:79-86", "10.1214/aoms/1177729694"),
    # training
    "adamw": _arxiv("Loshchilov I, Hutter F. Decoupled weight decay regularization. ICLR 2019", "1711.05101"),
    "cosine": _arxiv("Loshchilov I, Hutter F. SGDR. ICLR 2017", "1608.03983"),
    "one_cycle": _arxiv("Smith LN, Topin N. Super-convergence. 2017", "1708.07120"),
    "ema": _doi("Polyak BT, Juditsky AB. SIAM J Control Optim 1992;30:838-855", "10.1137/0330046"),
    # evaluation
    "platt": Work(
        "Platt JC. Probabilistic outputs for support vector machines. Advances in Large Margin Classifiers 1999:61-74",
        "https://mitpress.mit.edu/9780262194488/",
    ),
    "temperature": _arxiv("Guo C, et al. On calibration of modern neural networks. ICML 2017", "1706.04599"),
    "cluster": _doi(
        "Field CA, Welsh AH. Bootstrapping clustered data. J R Stat Soc B 2007;69:369-390",
        "10.1111/j.1467-9868.2007.00593.x",
    ),
    "holm": Work(
        "Holm S. A simple sequentially rejective multiple test procedure. Scand J Stat 1979;6:65-70",
        "https://www.jstor.org/stable/4615733",
    ),
    "obuchowski": _doi(
        "Obuchowski NA, Rockette HE. Commun Stat Simul Comput 1995;24:285-308", "10.1080/03610919508813243"
    ),
    "tost": _doi("Schuirmann DJ. J Pharmacokinet Biopharm 1987;15:657-680", "10.1007/BF01068419"),
    "stacking": _doi("Wolpert DH. Stacked generalization. Neural Netw 1992;5:241-259", "10.1016/S0893-6080(05)80023-1"),
    "greedy": _doi(
        "Caruana R, et al. Ensemble selection from libraries of models. ICML 2004", "10.1145/1015330.1015432"
    ),
}
"""Works by key."""

_ARCHITECTURES = {
    "efficientnet": "efficientnet",
    "tf_efficientnet": "efficientnet",
    "mobilenetv2": "mobilenetv2",
    "inception_resnet": "inception_resnet",
    "nasneta": "nasnet",
    "densenet": "densenet",
    "resnet": "resnet",
    "vgg": "vgg",
    "convnext_": "convnext",
    "vit_": "vit",
    "swin_": "swin",
}
"""First letters of timm's names of architectures whose paper is known here."""

_LOSSES: dict[str, tuple[str, ...]] = {
    "focal": ("focal",),
    "asl": ("asl",),
    "hill": ("hill",),
    "two_way": ("two_way",),
    "zlpr": ("zlpr",),
    "class_balanced": ("class_balanced",),
    "ldam": ("ldam",),
    "logit_adjusted": ("logit_adjusted",),
    "balanced_softmax": ("balanced_softmax",),
    "label_smoothing": ("smoothing",),
    "ls_focal": ("smoothing", "focal", "rajaraman"),
    "calibrated_ce": ("calibrated", "rajaraman"),
    "calibrated_focal": ("calibrated", "focal", "rajaraman"),
    "calibrated_hinge": ("calibrated", "rajaraman"),
    "calibrated_kl": ("calibrated", "rajaraman"),
    "calibrated_negative_entropy": ("calibrated", "rajaraman"),
    "entropy_regularized": ("rajaraman",),
    "hinge": ("rajaraman",),
    "kl": ("kl", "rajaraman"),
}
"""Kinds of losses; those that are textbook formulas cite nothing."""


def of_architecture(name: str) -> tuple[str, ...]:
    """Return the works on a timm architecture, as far as known."""
    return next(((work,) for begin, work in _ARCHITECTURES.items() if name.startswith(begin)), ())


def of_loss(kind: str, settings: dict[str, object]) -> tuple[str, ...]:
    """Return the works on a kind of loss with its settings."""
    known = _LOSSES.get(kind, ())
    return (*known, "fzlpr") if kind == "zlpr" and settings.get("temperature", 1.0) != 1.0 else known


@dataclass
class References:
    """Numbers works in the order in which a text cites them."""

    cited: list[str] = field(default_factory=list)

    def cite(self, *keys: str) -> str:
        """Return the numbers of some works as they stand behind what rests on them, `` [1, 3]``; nothing for none."""
        for key in keys:
            WORKS[key]  # an unknown key is an error
            if key not in self.cited:
                self.cited.append(key)
        return f" [{', '.join(str(self.cited.index(key) + 1) for key in keys)}]" if keys else ""

    def works(self) -> Iterable[Work]:
        """Return what has been cited, in that order."""
        return [WORKS[key] for key in self.cited]
