"""The command line: every command helps itself, faults are sentences, exit codes tell the truth."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
import typer
from typer.testing import CliRunner

from ops import console
from ops.cli import app
from ops.commands.keys import parse_rate, parse_span
from ops.commands.running import run
from ops.embedded.folder import owned, write_private
from ops.environment import data_folder, find_settings
from shared.config import BadConfig
from shared.errors import BadInput, Transient
from shared.money import Money, currency
from shared.sealing import KeyRing

RUNNER = CliRunner()


def commands(group: typer.Typer, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """Every command by its path, with its help."""
    for command in group.registered_commands:
        name = command.name or str(command.callback.__name__)  # type: ignore[union-attr]
        yield (*path, name), RUNNER.invoke(app, [*path, name, "--help"]).output
    for nested in group.registered_groups:
        assert nested.typer_instance is not None
        yield from commands(nested.typer_instance, (*path, str(nested.name)))


COMMANDS = dict(commands(app))


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No mesh is in the environment, and none runs in the folder."""
    for name in ("REDIS_URL", "DATABASE_URL", "TIGERBEETLE_ADDRESSES", "PAYMESH_SERVICE_KEY", "PAYMESH_SERVICE_SECRET"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PAYMESH_DATA", str(tmp_path))
    return tmp_path


def test_the_commands_are_these() -> None:
    """Whoever adds or drops one changes this list, and the README."""
    assert {" ".join(path) for path in COMMANDS} == {
        "demo",
        "dev",
        "migrate",
        "invariants",
        "doctor",
        "drain",
        "recover",
        "sign",
        "keys create",
        "keys rotate",
        "keys disable",
        "keys enable",
        "keys permit",
        "keys show",
        "keys list",
        "keys generate",
        "accounts open",
        "accounts list",
        "intent show",
        "intent explain",
        "recon file",
        "recon files",
        "dlq list",
        "dlq show",
        "dlq replay",
        "dlq discard",
        "dlq export",
        "dlq void",
        "dlq settle",
        "dlq fail",
        "dlq approve",
        "dlq requests",
        "alerts list",
        "alerts show",
        "alerts close",
        "psp register",
        "psp list",
        "psp pause",
        "psp resume",
        "psp status",
        "fees diff",
        "fees test",
        "recon approve",
        "recon breaks",
        "recon rebuild",
        "recon report",
        "recon requests",
        "recon resolve",
        "recon run",
        "recon show",
        "recon status",
        "limits show",
        "rules apply",
        "rules check",
        "rules export",
        "rules history",
        "rules rollback",
        "rules show",
        "streams peek",
        "streams pending",
        "streams consumers",
        "top",
    }


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_shows_itself_in_use(path: tuple[str, ...]) -> None:
    """Its help says what it does and gives an example with its own name."""
    said = " ".join(COMMANDS[path].split())
    assert "Example:" in said
    assert f"paymesh {' '.join(path)}" in said.partition("Example:")[2]


@pytest.mark.parametrize("path", [path for path in COMMANDS if path not in {("demo",), ("dev",), ("keys", "generate")}])
def test_everything_that_prints_offers_json(path: tuple[str, ...]) -> None:
    """For programs."""
    assert "--json" in COMMANDS[path]


@pytest.mark.parametrize(
    "arguments", [["nonsense"], ["keys", "create"], ["demo", "--ledger", "oracle"], ["psp", "pause", "ipps"]]
)
def test_what_is_not_understood_exits_2(arguments: list[str]) -> None:
    """And does nothing."""
    assert RUNNER.invoke(app, arguments).exit_code == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ["keys", "list"],
        ["accounts", "list"],
        ["invariants"],
        ["doctor"],
        ["migrate"],
        ["intent", "show", "x"],
        ["intent", "explain", "x"],
        ["psp", "list"],
    ],
    ids=" ".join,
)
def test_without_a_mesh_the_error_says_what_to_set(arguments: list[str]) -> None:
    """No traceback, exit 1."""
    result = RUNNER.invoke(app, arguments)
    assert result.exit_code == 1
    assert "DATABASE_URL" in result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    "arguments", [["keys", "rotate", "shop"], ["keys", "disable", "shop"], ["keys", "enable", "shop"]], ids=" ".join
)
def test_what_is_dangerous_is_a_dry_run_unless_confirmed_with_a_reason(arguments: list[str]) -> None:
    """Not confirmed: said what it would do. Confirmed without a reason: not understood."""
    dry = RUNNER.invoke(app, arguments)
    assert dry.exit_code == 0
    assert "nothing was done" in dry.output
    assert "shop" in dry.output
    assert RUNNER.invoke(app, [*arguments, "--confirm"]).exit_code == 2
    assert RUNNER.invoke(app, [*arguments, "--confirm", "--reason", " "]).exit_code == 2


def test_faults_become_sentences_and_exit_codes() -> None:
    """What the caller got wrong is 2, what could not be done is 1; everything else is a traceback."""

    async def fail(error: Exception) -> None:
        raise error

    def code(error: Exception) -> int:
        with pytest.raises(typer.Exit) as ended:
            run(fail(error))
        return ended.value.exit_code

    assert code(BadInput("no")) == 2
    assert code(Transient("later")) == 1
    assert code(OSError("disk")) == 1
    with pytest.raises(ZeroDivisionError):
        run(fail(ZeroDivisionError()))


def test_a_rate_is_so_many_requests_in_so_long_a_time() -> None:
    """As the permission document has it."""
    assert parse_rate("100/10s") == {"requests": 100, "per_s": 10}
    assert parse_rate("5000/1h", per_user=50) == {"requests": 5000, "per_s": 3600, "per_user_requests": 50}
    for text in ("100", "100/10", "/10s", "-1/10s", "1.5/s", "100/10s "):
        with pytest.raises(BadInput, match="100/10s"):
            parse_rate(text)


def test_a_key_for_the_ring_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    """What is printed can be read as a ring as it stands."""
    del capsys
    result = RUNNER.invoke(app, ["keys", "generate", "k7"])
    assert KeyRing.parse(result.output).keys[0].id == "k7"


@pytest.mark.parametrize(
    ("text", "span"),
    [("30m", timedelta(minutes=30)), ("24h", timedelta(days=1)), ("7d", timedelta(days=7)), ("0s", timedelta(0))],
)
def test_spans_are_read(text: str, span: timedelta) -> None:
    """A number and a unit."""
    assert parse_span(text) == span


@pytest.mark.parametrize("text", ["", "24", "h", "-1h", "1.5h", "1w", "1h "])
def test_spans_that_are_none_are_refused(text: str) -> None:
    """Nothing is guessed."""
    with pytest.raises(BadInput):
        parse_span(text)


def test_a_signature_without_a_key_says_what_to_set() -> None:
    """Neither in the environment nor in a running `dev`."""
    result = RUNNER.invoke(app, ["sign", "GET", "/x"])
    assert result.exit_code == 2
    assert "PAYMESH_SERVICE_KEY" in result.output


def test_a_signature_is_printed_as_headers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One a line for curl, or JSON; a POST gets an idempotency key, a GET none; bodies come from files too."""
    monkeypatch.setenv("PAYMESH_SERVICE_KEY", "shop")
    monkeypatch.setenv("PAYMESH_SERVICE_SECRET", "x" * 20)
    got = dict(line.split(": ", 1) for line in RUNNER.invoke(app, ["sign", "get", "/x"]).output.splitlines())
    assert set(got) == {"X-Service-Key", "X-Timestamp", "X-Signature"}
    (tmp_path / "body").write_text("{}")
    posted = [
        json.loads(RUNNER.invoke(app, [*line, "--idempotency-key", "k", "--json"], input="{}").output)
        for line in (
            ["sign", "POST", "/x", "--body", "{}"],
            ["sign", "POST", "/x", "--body", f"@{tmp_path / 'body'}"],
            ["sign", "POST", "/x", "--body", "@-"],
        )
    ]
    assert len({headers["X-Signature"] for headers in posted}) == 1 or len({h["X-Timestamp"] for h in posted}) > 1
    fresh = json.loads(RUNNER.invoke(app, ["sign", "POST", "/x", "--json"]).output)
    assert str(UUID(fresh["Idempotency-Key"])) == fresh["Idempotency-Key"]
    missing = RUNNER.invoke(app, ["sign", "POST", "/x", "--body", "@nowhere"])
    assert missing.exit_code == 1
    assert "nowhere" in missing.output


def test_the_key_of_a_running_dev_is_found(nowhere: Path) -> None:
    """Without any variable."""
    (nowhere / "dev").mkdir()
    write_private(nowhere / "dev" / "service-key.json", json.dumps({"key": "dev", "secret": "y" * 20}))
    assert "X-Service-Key: dev" in RUNNER.invoke(app, ["sign", "GET", "/x"]).output


def test_commands_work_on_the_dev_that_runs_here(nowhere: Path) -> None:
    """Its stores are found only while it runs; the environment goes first; half of it is a fault."""
    environ = {"REDIS_URL": "redis://here", "DATABASE_URL": "postgresql://here", "PAYMESH_KEYRING_FILE": "/ring"}
    with owned(data_folder("dev")) as folder:
        folder.record_answers({}, environ)
        found = find_settings()
        assert (found.redis_url, found.database_url, found.keyring_file) == (
            "redis://here",
            "postgresql://here",
            Path("/ring"),
        )
        assert found.tigerbeetle_addresses is None
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("DATABASE_URL", "postgresql://there")
            with pytest.raises(BadConfig, match="REDIS_URL"):
                find_settings()
            patch.setenv("REDIS_URL", "redis://there")
            assert find_settings().database_url == "postgresql://there"
    assert nowhere.exists()
    with pytest.raises(BadConfig, match="which mesh"):
        find_settings()


@dataclass
class _Row:
    at: datetime
    money: Money
    id: UUID


def test_json_has_words_for_everything_that_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """Times in ISO 8601, money in minor units, nothing as a Python repr."""
    row = _Row(datetime(2026, 1, 2, tzinfo=UTC), Money(5, currency("THB")), UUID(int=1))
    console.print_json([row])
    (printed,) = json.loads(capsys.readouterr().out)
    assert printed["at"] == "2026-01-02T00:00:00+00:00"
    assert printed["money"]["amount_minor"] == 5
    assert printed["id"] == str(UUID(int=1))
    with pytest.raises(TypeError, match="no JSON form"):
        console.print_json(object())
