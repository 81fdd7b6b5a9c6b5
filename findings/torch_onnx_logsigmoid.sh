#!/bin/sh
# torch 2.14.1: the ONNX exporter, the new and the old one, writes logsigmoid as Log(Sigmoid(x)).
# torch computes it without overflow: logsigmoid(-90) is -90. In the exported graph Sigmoid is 0 in float32 from about
# -88 on, and ONNX Runtime 1.32.0 answers -inf. A network whose loss or output layer uses it (ordinal regression by CORN
# or CORAL, say) then has -inf for an image of which it is very sure. -softplus(-x), the same function, is exported right.
# Valid input: four numbers. Fails if a later release behaves otherwise.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.14.1 onnx==1.23.2 onnxscript==0.7.2 \
  onnxruntime==1.32.0 numpy==2.4.6
cat > "$work/export.py" <<'P'
import sys
import onnxruntime
import torch
from torch import nn


class LogSigmoid(nn.Module):
    def forward(self, x):
        return nn.functional.logsigmoid(x)


class MinusSoftplus(nn.Module):
    def forward(self, x):
        return -nn.functional.softplus(-x)


values = torch.tensor([[-120.0, -90.0, -2.0, 3.0]])
found = {}
for network in (LogSigmoid(), MinusSoftplus()):
    name = type(network).__name__
    torch.onnx.export(network.eval(), (values,), f"{sys.argv[1]}/{name}.onnx", dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(f"{sys.argv[1]}/{name}.onnx", providers=["CPUExecutionProvider"])
    found[name] = session.run(None, {session.get_inputs()[0].name: values.numpy()})[0]
    print(f"{name}: torch {network(values).tolist()[0]}, exported {found[name].tolist()[0]}")
as_described = (found["LogSigmoid"][0, :2] == -float("inf")).all() and abs(found["MinusSoftplus"][0, 0] + 120) < 1e-3
print("as described" if as_described else "CHANGED")
sys.exit(not as_described)
P
"$work/venv/bin/python" "$work/export.py" "$work"
