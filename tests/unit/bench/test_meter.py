"""CPU by role: what is spent is counted once, by whoever spent it."""

import os
import subprocess
import sys
import time

import pytest

from bench.meter import LOAD, OTHERS, Meter, Reading

_BURN_S = 0.2
_BURN = f"import time\nwhile time.process_time() < {_BURN_S}: pass"
_PARENT = f"""
import subprocess, sys
for _ in sys.stdin:
    subprocess.run([sys.executable, "-c", {_BURN!r}], check=True)
    print(flush=True)
"""


def test_what_a_child_spent_counts_after_its_end() -> None:
    """PostgreSQL ends backends at will; their time must not leave the books with them."""
    with subprocess.Popen([sys.executable, "-c", _PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        meter = Meter({"database": [parent.pid]})
        before = meter.read()
        parent.stdin.write(b"\n")
        parent.stdin.flush()
        parent.stdout.readline()

        spent = meter.read().since(before)

        parent.stdin.close()
    assert _BURN_S * 0.9 <= spent["database"] <= _BURN_S + 2.0


def test_the_load_counts_itself() -> None:
    """Its own time is a role like any other."""
    meter = Meter({})
    before = meter.read()
    began = time.process_time()
    while time.process_time() - began < _BURN_S:
        pass

    spent = meter.read().since(before)

    assert spent[LOAD] >= _BURN_S * 0.9
    assert set(spent) == {LOAD, OTHERS}


@pytest.mark.parametrize(("machine_s", "others_s"), [(10.0, 3.0), (6.0, 0.0)], ids=["busy", "rounding"])
def test_others_are_what_is_left_of_the_machine(machine_s: float, others_s: float) -> None:
    """Never less than nothing: the books of processes and of the machine are rounded apart."""
    spent = Reading({"mesh": 5.0, "load": 2.0}, machine_s).since(Reading({}, 0.0))

    assert spent == {"mesh": 5.0, "load": 2.0, OTHERS: pytest.approx(others_s)}


def test_a_role_may_have_several_processes() -> None:
    """Two gateways are one role."""
    one, two = Meter({"gateway": [os.getppid()]}).read(), Meter({"gateway": [os.getppid(), os.getppid()]}).read()

    assert two.by_role["gateway"] >= one.by_role["gateway"]
