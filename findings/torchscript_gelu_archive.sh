#!/bin/sh
# torch 2.14.1: where an archive of TorchScript keeps its version depends on the operators of the network.
# Of ReLU, SiLU, Hardswish, Mish and ELU the file has a member `version` with 3; of GELU, and so of ConvNeXt and of
# most transformers, `.data/version` with 10 and no `version`. PyTorchFileReader reads both; its get_record("version")
# of the second says that the checkpoint is corrupted, as does whatever looks for the documented member.
# Valid input: a layer, traced and saved. Fails if a later release behaves otherwise.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.14.1 numpy==2.4.6
cat > "$work/archives.py" <<'P'
import io
import sys
import zipfile
import torch
from torch import nn

found = {}
for layer in (nn.ReLU(), nn.SiLU(), nn.Hardswish(), nn.Mish(), nn.ELU(), nn.GELU()):
    written = io.BytesIO()
    torch.jit.save(torch.jit.trace(layer, torch.zeros(3)), written)
    with zipfile.ZipFile(written) as archive:
        places = [name for name in archive.namelist() if name.endswith("version")]
        found[type(layer).__name__] = {name.partition("/")[2]: archive.read(name).decode().strip() for name in places}
    written.seek(0)
    reader = torch._C.PyTorchFileReader(written)
    try:
        reader.get_record("version")
        answer = "read"
    except RuntimeError as error:
        answer = "refused: corrupted" if "corrupted" in str(error) else "refused"
    found[type(layer).__name__]["get_record"] = answer
    print(type(layer).__name__, found[type(layer).__name__])
gelu = found.pop("GELU")
as_described = gelu == {".data/version": "10", "get_record": "refused: corrupted"} and all(
    of == {"version": "3", "get_record": "read"} for of in found.values()
)
print("as described" if as_described else "CHANGED")
sys.exit(not as_described)
P
"$work/venv/bin/python" -W ignore "$work/archives.py"
