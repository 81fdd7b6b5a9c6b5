#!/bin/sh
# pmvalsampsize 0.2.1 (PyPI; sample size for validating a prediction model with a binary outcome): asked for the net
# benefit criterion as well (sensitivity, specificity and threshold), it ends with UnboundLocalError: 'n5' is read where
# no branch has set it. Without these three arguments the same call gives 3,522 patients, the calibration slope deciding.
# Valid input: prevalence 0.2, C statistic 0.8, linear predictor N(-1.5, 1), sensitivity 0.8, specificity 0.7 at 0.2.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check pmvalsampsize==0.2.1 matplotlib==3.11.2 numpy==2.4.6 pandas==2.3.3 scikit-learn==1.9.1 scipy==1.17.1 tabulate==0.9.0
cat > "$work/try.py" <<'P'
from pmvalsampsize.pmvalsampsize import pmvalsampsize

asked = {"type": "b", "prevalence": 0.2, "cstatistic": 0.8, "lpnormal": (-1.5, 1.0), "simobs": 100_000, "noprint": True}
without = pmvalsampsize(**asked)["sample_size"]
print("without net benefit:", without)
try:
    print("with net benefit:", pmvalsampsize(**asked, sensitivity=0.8, specificity=0.7, threshold=0.2)["sample_size"])
except UnboundLocalError as error:
    print("with net benefit: UnboundLocalError:", error)
P
"$work/venv/bin/python" "$work/try.py" 2>/dev/null | tee "$work/seen"
cat > "$work/expected" <<'T'
without net benefit: 3522
with net benefit: UnboundLocalError: cannot access local variable 'n5' where it is not associated with a value
T
cmp "$work/seen" "$work/expected"
