"""``python -m pipeline.commands NAME``: the same as ``medmatrix NAME``, with the code of the working directory."""

import sys

from pipeline.commands import main

main(sys.argv[1:])
