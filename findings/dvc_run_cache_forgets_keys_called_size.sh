#!/bin/sh
# DVC 3.67.1: the key of the run-cache leaves out every entry called "size" or "nfiles", of parameters too.
# A stage whose only changed parameter is called size is answered from the run-cache with the output of the former value,
# and dvc.lock then holds the new value beside the old output. A parameter of another name is handled right.
# Valid input: two stages that write their parameter into a file. Fails if a later release behaves otherwise.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check dvc==3.67.1
PATH="$work/venv/bin:$PATH"
export PATH
mkdir "$work/project"
cd "$work/project"
git init -q .
dvc init -q
cat > params.yaml <<'Y'
picture: {size: 80}
image: {side: 80}
Y
cat > dvc.yaml <<'Y'
stages:
  by_size:
    cmd: grep picture params.yaml > by_size.txt
    params: [picture]
    outs: [by_size.txt]
  by_side:
    cmd: grep image params.yaml > by_side.txt
    params: [image]
    outs: [by_side.txt]
Y
dvc repro -q
printf 'picture: {size: 40}\nimage: {side: 40}\n' > params.yaml
dvc repro
echo "by size: $(cat by_size.txt)"
echo "by side: $(cat by_side.txt)"
grep -q 'side: 40' by_side.txt || { echo "CHANGED: a parameter of another name is not seen either"; exit 1; }
grep -q 'size: 80' by_size.txt || { echo "CHANGED: size is part of the key now"; exit 1; }
grep -q 'size: 40' dvc.lock || { echo "CHANGED: dvc.lock keeps the former value"; exit 1; }
echo "as described: the output is of size 80, dvc.lock says 40"
