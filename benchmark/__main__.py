"""``python -m benchmark``, which finds no modules in the working folder, unless it is a checkout of this package."""

import os
import sys

if sys.path[0] == os.getcwd() and not __file__.startswith(os.path.join(sys.path[0], "")):  # noqa: PTH109, PTH118
    del sys.path[0]  # before anything is imported: a random.py or an utils.py there is a user's own

from benchmark.cli import main

if __name__ == "__main__":
    main()
