#!/bin/sh
# segmentation-models-pytorch 0.6.0 with timm 1.0.31: an encoder `tu-NAME` is timm's network of that name, and takes the
# weights of it in some families alone. timm's features_only renames modules where it unrolls nested ones
# (`stages.0` becomes `stages_0`), so that of ConvNeXt, DenseNet, VGG, EfficientViT and EdgeNeXt not one key of a file of
# timm is found in the encoder, of RepVGG, MobileOne and PVTv2 a few, and of ResNet, RegNet, MobileNetV3 and
# EfficientNet-Lite all. A loop that loads what fits (strict=False) starts such an encoder from random weights in silence.
# Valid input: names of networks. Fails if a later release behaves otherwise.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.14.1 torchvision==0.29.1 timm==1.0.31 \
  segmentation-models-pytorch==0.6.0 numpy==2.4.6
cat > "$work/keys.py" <<'P'
import sys
import segmentation_models_pytorch as smp
import timm

ALL = ("resnet18", "regnetx_002", "mobilenetv3_small_050", "tf_efficientnet_lite0")
NONE = ("densenet121", "vgg11", "convnext_atto", "efficientvit_b0", "edgenext_xx_small")
FEW = ("repvgg_a0", "mobileone_s0", "pvt_v2_b0")
shares = {}
for name in (*ALL, *FEW, *NONE):
    published = set(timm.create_model(name).state_dict())
    encoder = set(smp.Unet(f"tu-{name}", encoder_weights=None).encoder.model.state_dict())
    shares[name] = len(encoder & published) / len(encoder)
    print(f"{name}: {len(encoder & published)} of the encoder's {len(encoder)} keys are in timm's network")
as_described = (
    all(shares[name] == 1 for name in ALL)
    and all(shares[name] == 0 for name in NONE)
    and all(0 < shares[name] < 0.05 for name in FEW)
)
print("as described" if as_described else "CHANGED")
sys.exit(not as_described)
P
"$work/venv/bin/python" -W ignore "$work/keys.py"
