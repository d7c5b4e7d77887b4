"""``python -m benchmark``. Modules in the working folder are not imported unless it is a checkout of this package."""

import os
import sys

if sys.path[0] == os.getcwd() and not __file__.startswith(os.path.join(sys.path[0], "")):  # noqa: PTH109, PTH118
    del sys.path[0]  # before any import: the folder may contain a random.py or utils.py

from benchmark.cli import main

if __name__ == "__main__":
    main()
