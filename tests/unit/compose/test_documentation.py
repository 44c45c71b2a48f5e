"""deploying.md: what it says to type and where it says to look is there."""

import itertools
import re
import shlex
from typing import Any

import typer.main

from adapters.ipps import callbacks as ipps_callbacks
from adapters.qp import callbacks as qp_callbacks
from tests.unit.compose.cases import port_of
from tests.unit.compose.reading import (
    ADAPTERS,
    FILES,
    ROOT,
    images,
    is_ours,
)


def documented() -> list[list[str]]:
    """Return the console lines of deploying.md, as words."""
    text = (ROOT / "docs" / "deploying.md").read_text()
    blocks = re.findall(r"```console\n(.*?)```", text, flags=re.DOTALL)
    lines = [line.removeprefix("$ ").partition("  #")[0] for block in blocks for line in block.splitlines()]
    return [shlex.split(line) for line in lines] + [shlex.split(span) for span in re.findall(r"`(docker [^`]+)`", text)]


def test_the_documented_commands_name_files_services_and_commands_that_exist() -> None:
    """A newcomer types what deploying.md says."""
    from ops.cli import app  # noqa: PLC0415 - the command line loads every client library

    run = 0
    for words in documented():
        for flag, value in itertools.pairwise(words):
            if flag == "-f" or (words[0] == "cp" and flag == "cp"):
                assert (ROOT / value).is_file(), value
            elif flag == "--env-file":
                assert (ROOT / f"{value}.example").is_file()
            elif flag == "--target":
                assert flag in words
                assert images().target(value).entrypoint
        for start in ("ops", "paymesh-ops:dev"):
            if start in words and words[0] == "docker" and "--rm" in words:
                known: Any = typer.main.get_command(app)
                for word in words[words.index(start) + 1 :][:2]:
                    known = known.commands[word]
                options = {option for parameter in known.params for option in parameter.opts}
                assert {word for word in words[words.index(start) + 1 :] if word.startswith("--")} <= options
                run += 1
    assert run == 4


def test_the_documented_ports_are_the_ports() -> None:
    """Where health is asked for, and where callbacks and control are found."""
    text = " ".join((ROOT / "docs" / "deploying.md").read_text().split())
    told = {name: port_of(service) for file in FILES for name, service in file.services().items() if is_ours(service)}
    for words, name in (
        ("the gateway on", "gateway"),
        ("orchestrators on", "orchestrator"),
        ("the reconciler on", "reconciler"),
        ("adapters on", "adapter-ipps"),
        ("a sandbox's control (without metrics) on", "sandbox-ipps"),
    ):
        found = re.search(rf"{re.escape(words)} (\d+)", text)
        assert found is not None
        assert found[1] in told[name]
    example = ADAPTERS.examples()
    assert f"`{ipps_callbacks.PATH}` on port {example['IPPS_CALLBACK_PORT']}" in text
    assert f"`{qp_callbacks.PATH}` on port {example['QP_CALLBACK_PORT']}" in text
    control = f"{example['IPPS_SANDBOX_CONTROL_PORT']} (IPPS) and {example['QP_SANDBOX_CONTROL_PORT']} (QP)"
    assert f"The control of a sandbox listens on ports {control}" in text
