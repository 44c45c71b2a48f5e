"""`python -m bench`, which is what `make bench` runs; `python -m bench --help` says what it can be told."""

import typer

from bench.main import main

typer.run(main)
