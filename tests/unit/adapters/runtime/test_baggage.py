"""An adapter's image carries neither a database client nor a ledger client, so nothing may ask for one."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[4]
_PROGRAM = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"asyncpg", "tigerbeetle", "typer", "rich", "psutil"}:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Absent())
import adapters.runtime.main
print(sorted({name.partition(".")[0] for name in sys.modules} & {"orchestrator", "gateway", "ops", "reconciler"}))
"""


def test_the_runtime_starts_where_only_its_extra_is_installed() -> None:
    """And brings no other service along."""
    done = subprocess.run([sys.executable, "-c", _PROGRAM], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr
