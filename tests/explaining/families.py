"""Heat maps of timm's families, a small variant of each with random weights: which have some, and which are refused.

``python -m tests.explaining.families [NAME ...]`` prints the table of docs/explain.md: for each family the layer, its
cells, how many of 16 maps (two images of noise, eight classes) by each method vary over the image, and of how many of
16 places that change in the image the layer's output changes most at that place. A few of them are tests.
"""

import argparse
import time

import numpy as np
import timm
import torch
from torch import nn

from pipeline.explaining.cams import METHODS
from pipeline.explaining.layers import find_layer, leaves
from pipeline.explaining.maps import Mapper
from pipeline.learning.networks.models import Classifier
from pipeline.study.errors import UserError

CLASSES, IMAGES = 8, 2
TOKENS = {"embed_dim": 24, "depth": 2, "num_heads": 2, "img_size": 64}
FAMILIES = {
    "beit": ("beit_base_patch16_224", TOKENS, 64),
    "byoanet": ("lambda_resnet26rpt_256", {}, 96),
    "byobnet": ("repvgg_a0", {}, 96),
    "cait": ("cait_xxs24_224", TOKENS, 64),
    "coat": ("coat_tiny", {"img_size": 96}, 96),
    "coat lite": ("coat_lite_tiny", {"img_size": 96}, 96),
    "convit": ("convit_tiny", {"embed_dim": 24, "depth": 3, "local_up_to_layer": 2, "img_size": 64}, 64),
    "convmixer": ("convmixer_768_32", {"dim": 24, "depth": 3}, 64),
    "convnext": ("convnext_atto", {}, 96),
    "convnextv2": ("convnextv2_atto", {}, 96),
    "cpubone": ("cpubone_nano", {}, 96),
    "crossvit": ("crossvit_tiny_240", {}, 240),
    "csatv2": ("csatv2", {"img_size": 96}, 96),
    "cspnet": ("cspresnet50", {}, 96),
    "davit": ("davit_tiny", {}, 96),
    "deepseek_vit": ("deepseek_vit_412m", {"embed_dim": 32, "depth": 2, "num_heads": 2, "img_size": 70}, 70),
    "deit": ("deit_tiny_patch16_224", TOKENS, 64),
    "deit distilled": ("deit_tiny_distilled_patch16_224", TOKENS, 64),
    "deit3": ("deit3_small_patch16_224", TOKENS, 64),
    "densenet": ("densenet121", {"block_config": (2, 2, 2, 2)}, 96),
    "dla": ("dla46_c", {}, 96),
    "dpn": ("dpn48b", {}, 96),
    "edgenext": ("edgenext_xx_small", {}, 96),
    "efficientformer": ("efficientformer_l1", {}, 224),
    "efficientformer_v2": ("efficientformerv2_s0", {"img_size": 96}, 96),
    "efficientnet": ("efficientnet_b0", {}, 96),
    "efficientnet lite": ("tf_efficientnet_lite0", {}, 96),
    "efficientvim": ("efficientvim_m1", {}, 96),
    "efficientvit_mit": ("efficientvit_b0", {}, 96),
    "efficientvit_msra": ("efficientvit_m0", {"img_size": 96}, 96),
    "eva": ("eva02_tiny_patch14_224", {"img_size": 70, "depth": 2}, 70),
    "fasternet": ("fasternet_t0", {}, 96),
    "fastvit": ("fastvit_t8", {}, 96),
    "focalnet": ("focalnet_tiny_srf", {}, 96),
    "gcvit": ("gcvit_xxtiny", {"img_size": 96}, 96),
    "gemma4_vit": ("gemma4_vit_167m", {"embed_dim": 32, "depth": 2, "num_heads": 2, "img_size": 64}, 64),
    "ghostnet": ("ghostnet_050", {}, 96),
    "hardcorenas": ("hardcorenas_a", {}, 96),
    "hgnet": ("hgnetv2_b0", {}, 96),
    "hiera": ("hiera_tiny_224", {"img_size": 96}, 96),
    "hieradet_sam2": ("sam2_hiera_tiny", {}, 96),
    "hrnet": ("hrnet_w18_small", {}, 96),
    "iformer": ("iformer_t", {}, 96),
    "inception_next": ("inception_next_atto", {}, 96),
    "inception_resnet_v2": ("inception_resnet_v2", {}, 96),
    "inception_v3": ("inception_v3", {}, 96),
    "inception_v4": ("inception_v4", {}, 96),
    "lcnet": ("lcnet_035", {}, 96),
    "lcnetv2": ("lcnetv2_small", {}, 96),
    "levit": ("levit_128s", {"img_size": 96}, 96),
    "levit conv": ("levit_conv_128s", {"img_size": 96}, 96),
    "lowformer": ("lowformer_b0", {}, 96),
    "mambaout": ("mambaout_femto", {}, 96),
    "maxvit": ("maxvit_rmlp_pico_rw_256", {"img_size": 96}, 96),
    "coatnet": ("coatnet_nano_rw_224", {"img_size": 96}, 96),
    "metaformer": ("poolformer_s12", {}, 96),
    "caformer": ("caformer_s18", {}, 96),
    "mlp_mixer": ("mixer_s16_224", {"img_size": 64}, 64),
    "resmlp": ("resmlp_12_224", {"img_size": 64}, 64),
    "gmlp": ("gmlp_ti16_224", {"img_size": 64}, 64),
    "mnasnet": ("mnasnet_small", {}, 96),
    "mobilenetv2": ("mobilenetv2_035", {}, 96),
    "mobilenetv3": ("mobilenetv3_small_050", {}, 96),
    "mobilenetv4": ("mobilenetv4_conv_small_035", {}, 96),
    "mobilenetv5": ("mobilenetv5_300m", {}, 96),
    "mobilevit": ("mobilevit_xxs", {}, 96),
    "mobilevitv2": ("mobilevitv2_050", {}, 96),
    "mvitv2": ("mvitv2_tiny", {"img_size": 96}, 96),
    "mvitv2 cls": ("mvitv2_base_cls", {"img_size": 96}, 96),
    "naflexvit": ("naflexvit_base_patch16_gap", {"embed_dim": 24, "depth": 2, "num_heads": 2}, 64),
    "nasnet": ("nasnetalarge", {}, 96),
    "nest": ("nest_tiny_jx", {"img_size": 64}, 64),
    "nextvit": ("nextvit_small", {}, 96),
    "nfnet": ("nfnet_l0", {}, 96),
    "pit": ("pit_ti_224", {"img_size": 96}, 96),
    "pit distilled": ("pit_ti_distilled_224", {"img_size": 96}, 96),
    "pnasnet": ("pnasnet5large", {}, 96),
    "pvt_v2": ("pvt_v2_b0", {"img_size": 96}, 96),
    "qwen3_vit": ("qwen3_vit_88m", {"embed_dim": 32, "depth": 2, "num_heads": 2}, 64),
    "rdnet": ("rdnet_tiny", {}, 96),
    "regnet": ("regnetx_002", {}, 96),
    "repghost": ("repghostnet_050", {}, 96),
    "repvit": ("repvit_m0_9", {}, 96),
    "res2net": ("res2net50_14w_8s", {}, 96),
    "resnest": ("resnest14d", {}, 96),
    "resnet": ("resnet10t", {}, 96),
    "resnetv2": ("resnetv2_50", {}, 96),
    "rexnet": ("rexnet_100", {}, 96),
    "samvit": ("samvit_base_patch16_224", {"embed_dim": 24, "depth": 2, "num_heads": 2, "img_size": 64}, 64),
    "selecsls": ("selecsls42", {}, 96),
    "senet": ("legacy_seresnet18", {}, 96),
    "sequencer": ("sequencer2d_s", {"layers": (1, 1, 1, 1)}, 96),
    "shvit": ("shvit_s1", {}, 96),
    "sknet": ("skresnet18", {}, 96),
    "starnet": ("starnet_s050", {}, 96),
    "swiftformer": ("swiftformer_xs", {}, 96),
    "swin": ("swin_tiny_patch4_window7_224", {"img_size": 96, "depths": (1, 1, 1, 1)}, 96),
    "swin v2": ("swinv2_tiny_window8_256", {"img_size": 96, "depths": (1, 1, 1, 1)}, 96),
    "swin v2 cr": ("swinv2_cr_tiny_224", {"img_size": 128, "depths": (1, 1, 1, 1)}, 128),
    "tiny_vit": ("tiny_vit_5m_224", {}, 96),
    "tnt": ("tnt_s_patch16_224", {"embed_dim": 24, "inner_dim": 8, "depth": 2, "num_heads_inner": 2,
            "num_heads_outer": 2, "img_size": 64}, 64),
    "tresnet": ("tresnet_m", {}, 96),
    "twins pcpvt": ("twins_pcpvt_small", {"img_size": 96}, 96),
    "twins svt": ("twins_svt_small", {"img_size": 96}, 96),
    "vgg": ("vgg11", {}, 96),
    "visformer": ("visformer_tiny", {"img_size": 96}, 96),
    "vit": ("vit_tiny_patch16_224", TOKENS, 64),
    "vit hybrid": ("vit_tiny_r_s16_p8_224", {"img_size": 128, "depth": 2}, 128),
    "vit relpos": ("vit_relpos_small_patch16_224", TOKENS, 64),
    "vit registers": ("vit_wee_patch16_reg1_gap_256", TOKENS, 64),
    "vit map": ("vit_base_patch16_siglip_224", TOKENS, 64),
    "vitamin": ("vitamin_small_224", {"img_size": 96}, 96),
    "volo": ("volo_d1_224", {"img_size": 96}, 96),
    "vovnet": ("ese_vovnet19b_slim", {}, 96),
    "xception": ("xception41", {}, 96),
    "xcit": ("xcit_nano_12_p16_224", {"img_size": 96}, 96),
    "xcit small patches": ("xcit_nano_12_p8_224", {"img_size": 64, "depth": 2}, 64),
}  # fmt: skip
"""A small variant of each: a name of timm's, options that make it smaller, and the side of its images."""


def network(name):
    """Return a small variant of a family with random weights, and the side of its images."""
    arch, options, size = FAMILIES[name]
    torch.manual_seed(3)
    backbone = timm.create_model(arch, num_classes=CLASSES, in_chans=1, **options).eval()
    heads = backbone.get_classifier()
    for head in heads if isinstance(heads, tuple | nn.ModuleList) else (heads,):
        for parameter in head.parameters():
            if parameter.ndim > 1:  # some start at 0, where every map is empty
                nn.init.normal_(parameter, std=0.3)
    return Classifier(backbone, torch.full((1,), 0.5), torch.full((1,), 0.3), "head").eval(), size


def varying(made, size, layer, method):
    """Count the maps that vary over the image, of two images of noise and every class."""
    images = np.random.default_rng(4).random((IMAGES, 1, size, size), np.float32)
    with Mapper([made], (1, size, size), method, layers=[layer]) as maps:
        values = maps.coarse(images, range(CLASSES)).values
    (y, x), (h, w) = layer.margin, values.shape[2:]
    return int((np.ptp(values[:, :, y : h - y, x : w - x], axis=(2, 3)) > 1e-4).sum())


def in_place(made, size, layer):
    """Count of 16 squares of the image that change those where the layer's output changes most within a cell of it."""
    image = torch.rand(1, 1, size, size, generator=torch.Generator().manual_seed(5))
    side, kept, right = size // 4, [], 0
    changed = image.repeat(17, 1, 1, 1)
    for i in range(16):
        y, x = (i // 4) * side, (i % 4) * side
        changed[1 + i, :, y : y + side, x : x + side] = 1 - changed[1 + i, :, y : y + side, x : x + side]
    with torch.no_grad(), leaves(made.backbone.get_submodule(layer.name), kept.append):
        made(changed)
    output = layer.picture(kept[-1]).double()
    moved = (output[1:] - output[:1]).abs().mean(1)
    for i, each in enumerate(moved):
        y, x = np.unravel_index(int(each.argmax()), each.shape)
        y, x = (y + layer.margin[0] + 0.5) / layer.grid[0] * 4, (x + layer.margin[1] + 0.5) / layer.grid[1] * 4
        near = 0.5 + 4 / min(layer.grid)
        right += abs(y - i // 4 - 0.5) <= near and abs(x - i % 4 - 0.5) <= near
    return right


def row(name):
    """Return the table's row of a family, and whether its maps are silent: all empty, or the same everywhere."""
    made, size = network(name)
    try:
        layer = find_layer(made.backbone, 1, size, size)
    except UserError as error:
        return f"| {name} | {FAMILIES[name][0]} | refused: {error} |", False
    counts = [varying(made, size, layer, method) for method in METHODS]
    cells = f"{layer.grid[0]} x {layer.grid[1]}"
    placed = in_place(made, size, layer)
    return (
        f"| {name} | {FAMILIES[name][0]} | `{layer.name}`, {layer.layout} | {cells} | "
        f"{' | '.join(map(str, counts))} | {placed} |",
        not all(counts),
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(FAMILIES))
    torch.set_num_threads(1)
    silent = []
    print(f"timm {timm.__version__}, {IMAGES * CLASSES} maps a method")
    print("| family | architecture | layer | cells | " + " | ".join(METHODS) + " | in place |")
    print("| --- | --- | --- | --- |" + " --- |" * (len(METHODS) + 1))
    for name in parser.parse_args().names:
        began = time.process_time()
        try:
            line, without = row(name)
        except Exception as error:  # a family that cannot be built so is named
            line, without = f"| {name} | {FAMILIES[name][0]} | {type(error).__name__}: {error} |", False
        print(line, f"{time.process_time() - began:.1f} s", flush=True)
        silent += [name] if without else []
    print(f"silent: {', '.join(silent) or 'none'}")


if __name__ == "__main__":
    main()
