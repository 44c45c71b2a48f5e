"""``python -m adapters.sandbox.qp``: the sandbox of QP as a process."""

import sys

from adapters.sandbox.qp.api import PROFILE, build
from adapters.sandbox.serve import main

if __name__ == "__main__":
    sys.exit(main(PROFILE, build))
