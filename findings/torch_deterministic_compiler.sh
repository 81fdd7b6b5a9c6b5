#!/bin/sh
# torch 2.14.1 (and 2.11.0): two ways to ask for deterministic algorithms do different things to the compiler.
# use_deterministic_algorithms(True, warn_only=True) also sets torch._inductor.config.deterministic, so that torch.compile
# chooses no kernel by timing. set_deterministic_debug_mode("warn"), after which the debug mode is the same, leaves it
# off. A training that is compiled under it may round differently from run to run on a card, though nothing warns.
# Valid input: none, two switches. Fails if a later release behaves otherwise.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.14.1 numpy==2.4.6
cat > "$work/modes.py" <<'P'
import sys
import torch
import torch._inductor.config as compiler

found = []
for ask in (
    lambda: torch.set_deterministic_debug_mode("warn"),
    lambda: torch.use_deterministic_algorithms(True, warn_only=True),
):
    ask()
    found.append((torch.get_deterministic_debug_mode(), torch.are_deterministic_algorithms_enabled(), compiler.deterministic))
    torch.use_deterministic_algorithms(False)
    compiler.deterministic = False
for name, (mode, enabled, chosen) in zip(("set_deterministic_debug_mode", "use_deterministic_algorithms"), found):
    print(f"{name}: mode {mode}, enabled {enabled}, compiler deterministic {chosen}")
as_described = found == [(1, True, False), (1, True, True)]
print("as described" if as_described else "CHANGED")
sys.exit(not as_described)
P
"$work/venv/bin/python" "$work/modes.py"
