"""``python -m adapters.sandbox.ipps``: the sandbox of IPPS as a process."""

import sys

from adapters.sandbox.ipps.api import PROFILE, build
from adapters.sandbox.serve import main

if __name__ == "__main__":
    sys.exit(main(PROFILE, build))
