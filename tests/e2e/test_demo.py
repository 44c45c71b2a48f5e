"""`paymesh demo` as a newcomer runs it: everything as computed and exit 0, or the truth and exit 1."""

import json
import re
import signal
import subprocess
from dataclasses import replace
from pathlib import Path
from shutil import rmtree

import psutil
import pytest

from ops.demo import run as demo_run
from ops.demo.psp_script import PspScript, write_psp_script
from ops.demo.script import Script, write_script
from ops.embedded.postgres import remove_cluster
from ops.embedded.tigerbeetle import tigerbeetle_binary
from tests.e2e.conftest import Home
from tests.integration.ops.processes import ROOT, held_stack, quick_folder, wait_gone


def test_the_demo_does_all_it_promises_and_leaves_nothing_behind(home: Home) -> None:
    """Every payment settled, every refusal refused, balances and invariants as computed, data removed."""
    done = home.paymesh("demo", "--ledger", "postgres")
    assert done.returncode == 0, done.stdout + done.stderr
    said = done.stdout
    assert "every expectation held" in said
    assert re.search(r"298 intents in .*HTTP 401 2.*HTTP 422 1.*REJECTED 4.*SETTLED 287", said)
    for outcome in ("insufficient_funds", "unknown_account", "bad_signature", "idempotency_key_reused"):
        assert outcome in said
    assert said.count("as computed") == 21 + 9 + 2
    assert said.count("│ holds") >= 15
    assert "violated" not in said
    assert "wrong" not in said
    assert "\x1b[" not in said, "colours where nobody looks"
    assert [path.name for path in (home.path / "demo").iterdir()] == ["lock"]


@pytest.fixture(scope="module")
def told(home: Home) -> str:
    """What a fresh demo says."""
    done = home.paymesh("demo", "--ledger", "postgres", "--transfers", "20", "--seed", "3")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def cells(told: str, first: str) -> list[str]:
    """The cells of the table row that begins with that."""
    found = next(line for line in told.splitlines() if line.startswith(f"│ {first} "))
    return [cell.strip() for cell in found.strip("│").split("│")]


def test_all_three_operations_through_psps_settle(told: str) -> None:
    """Payouts to proxies of every kind and by Thai QR codes, top-ups through SBP, each in its row."""
    assert "43 payouts, 6 top-ups" in told
    assert re.search(r"43 payouts, .*: EXPIRED 2, FAILED 8, REJECTED 1, SETTLED 38", told)
    for way, settled in (
        ("PromptPay mobile", "7"),
        ("PromptPay national ID", "5"),
        ("PromptPay e-wallet", "5"),
        ("bank account", "5"),
        ("Thai QR code", "12"),
        ("SBP top-up", "4"),
    ):
        assert cells(told, way)[5] == settled


def test_rules_are_applied_while_the_mesh_runs(told: str) -> None:
    """Fees on top and taken off, a limit that says when it begins anew, a change in force within a second."""
    assert cells(told, "with fees both ways")[1:] == ["300.00 THB", "305.00 THB", "299.50 THB", "SETTLED"]
    refused = cells(told, "beyond the day's limit")[4]
    assert re.fullmatch(r"REJECTED: 700.00 THB of daily is left until \d{4}-\d\d-\d\dT17:00:00Z", refused)
    assert cells(told, "after the change")[1:] == ["800.00 THB", "804.00 THB", "799.50 THB", "SETTLED"]
    in_force = re.search(r"in force without a restart, (\d+) ms later", told)
    assert in_force is not None
    assert int(in_force[1]) <= 1000


def test_a_paused_psp_is_passed_over_by_the_next_on_the_route(told: str) -> None:
    """The second agreement carries it."""
    assert "IPPS is paused: the withdrawal goes by IPPS2 and is SETTLED" in told


def test_a_doubt_is_closed_by_its_line_in_a_settlement_file(told: str) -> None:
    """Nobody else could say that it was paid; the line is the evidence."""
    assert re.search(r"the payout is IN_DOUBT after [\d.]+ s", told)
    assert re.fullmatch(r"line \d+ of settlement file ipps-today.txt", cells(told, "closed by")[1])
    assert cells(told, "IPPS's books")[1] == "1 payout of 12345 satang"


def test_it_ends_with_everything_compared_and_the_days_report(told: str) -> None:
    """No break is open, and the report adds up by each of its promises."""
    assert "no break is open" in told
    assert cells(told, "fee:partners:THB")[4:] == ["2", "1.00"]
    assert cells(told, "fee:transfers:THB")[4:] == ["2", "9.00"]
    assert len(re.findall(r"^holds  ", told, flags=re.MULTILINE)) == 5


def test_what_a_psp_or_a_codec_refuses_fails_with_its_code(told: str) -> None:
    """Unknown, over a limit, malformed: each by the name of what is wrong with it."""
    for name, outcome in (
        ("nobody has this number", "FAILED unknown_proxy"),
        ("over the bank's limit", "FAILED over_limit"),
        ("mistyped check digit", "FAILED bad_check_digit"),
        ("more than there is", "REJECTED insufficient_funds"),
        ("QR, one digit misread", "FAILED bad_crc"),
        ("QR, cut off", "FAILED truncated"),
        ("QR in dollars", "FAILED foreign_currency"),
        ("QR with a third decimal", "FAILED too_many_decimals"),
        ("QR for another amount", "FAILED amount_mismatch"),
    ):
        assert cells(told, name)[2] == outcome


def test_a_payout_whose_answer_is_lost_is_shown_to_settle_through_an_inquiry(told: str) -> None:
    """Live, and afterwards why: paid, never answered, in doubt, asked about, settled; once."""
    live = re.findall(r"^  answer lost, and asking fails: (\w+) after", told, re.MULTILINE)
    assert live[-3:] == ["AUTHORIZED", "IN_DOUBT", "SETTLED"]
    story = told.partition("how a payout is settled whose answer is lost")[2].partition("balances")[0]
    steps = (
        "transfer: pays, and never answers",
        "status: answers HTTP 503",
        "AUTHORIZED → IN_DOUBT",
        "status: answers HTTP 200",
        "inquire: reports PAID",
        "IN_DOUBT → SETTLED",
    )
    places = [story.rfind(step) for step in steps]
    assert places == sorted(places)
    assert min(places) > 0
    assert story.count("transfer: pays") == 2


def test_codes_are_shown_paid_late_and_twice(told: str) -> None:
    """A link where nothing can be drawn; what came after the end became intents of their own."""
    assert re.search(r"a payer scans this and pays [0-9.]+ RUB", told)
    assert re.search(
        r"^  https://qr\.nspk\.ru/A\w{31}\?type=02&bank=\d{12}&sum=\d+&cur=RUB&crc=\w{4}$", told, re.MULTILINE
    )
    assert "▀" not in told, "a code drawn where nobody can scan it"
    assert cells(told, "top-up 2")[1:] == ["expires unpaid", "EXPIRED expired", "-"]
    assert cells(told, "top-up 3")[1:] == ["paid after expiry", "EXPIRED expired", "1 LATE_CREDIT"]
    assert cells(told, "top-up 4")[1:] == ["static, paid twice", "SETTLED", "1 LATE_CREDIT"]


def test_wallets_and_the_psps_own_books_agree(told: str) -> None:
    """To the satang and the kopeck, with what the script asks for."""
    for psp in ("ipps", "qp"):
        _, wallets, books, due, verdict = cells(told, psp)
        assert wallets == books == due
        assert verdict == "as one"


def test_a_payout_that_a_psp_paid_otherwise_fails_the_demo(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """One decline that should have been a payment: exit 1, and wallet, books and step are named."""

    def mistaken(seed: int, *, run: str) -> PspScript:
        script = write_psp_script(seed, run=run)
        wrong = next(payout for payout in script.payouts if payout.step.expected.code == "bad_crc")
        right = replace(wrong, step=replace(wrong.step, expected=script.payouts[0].step.expected))
        return replace(script, payouts=tuple(right if one is wrong else one for one in script.payouts))

    monkeypatch.setattr(demo_run, "write_psp_script", mistaken)
    done = home.invoke("demo", "--ledger", "postgres", "--transfers", "10")
    assert done.exit_code == 1, done.output
    assert "QR, one digit misread: FAILED (bad_crc) instead of SETTLED" in done.output
    assert "ipps: wallets moved" in done.output
    assert "violated" not in done.output


def test_the_demo_starts_clean_whatever_an_earlier_one_left(home: Home) -> None:
    """A run that was killed in the middle does not enter the next one's balances."""
    first = subprocess.Popen(
        home.argv("demo", "--ledger", "postgres", "--transfers", "5000"),
        cwd=ROOT, env=home.environ(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert first.stdout is not None
    for line in first.stdout:
        if "60 done" in line:
            break
    family = psutil.Process(first.pid).children(recursive=True)
    assert len(family) > 8
    first.kill()
    first.communicate()
    wait_gone(family)
    second = home.paymesh("demo", "--ledger", "postgres", "--transfers", "200", "--seed", "2")
    assert second.returncode == 0, second.stdout + second.stderr


def test_ctrl_c_ends_the_demo_and_every_child(home: Home) -> None:
    """In order, quickly, and with the exit status of an interrupted command."""
    demo = subprocess.Popen(
        home.argv("demo", "--ledger", "postgres", "--transfers", "5000"),
        cwd=ROOT, env=home.environ(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert demo.stdout is not None
    for line in demo.stdout:
        if "posting" in line:
            break
    family = psutil.Process(demo.pid).children(recursive=True)
    demo.send_signal(signal.SIGINT)
    rest = demo.communicate(timeout=60)[0]
    assert demo.returncode == 130, rest
    assert "Traceback" not in rest
    wait_gone(family)


def test_the_demo_fails_when_something_is_not_as_computed(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """One unit too many, and one refusal that should have been a payment: exit 1, both named, data kept."""

    def mistaken(seed: int, *, run: str, transfers: int) -> Script:
        script = write_script(seed, run=run, transfers=transfers)
        wallet = script.wallets[3]
        broke, *others = script.refusals
        return replace(
            script,
            expected_minor={**script.expected_minor, wallet: script.expected_minor[wallet] + 1},
            refusals=(replace(broke, expected=script.transfers[0].expected), *others),
        )

    monkeypatch.setattr(demo_run, "write_script", mistaken)
    done = home.invoke("demo", "--ledger", "postgres", "--transfers", "10")
    assert done.exit_code == 1, done.output
    assert "the demo failed" in done.output
    assert "user:dao:THB holds" in done.output
    assert "short of funds: REJECTED (insufficient_funds) instead of SETTLED" in done.output
    assert "violated" not in done.output
    assert (home.path / "demo" / "logs" / "gateway-1.log").exists()


@pytest.mark.slow
@pytest.mark.tigerbeetle
@pytest.mark.timeout(180)
def test_the_demo_runs_on_tigerbeetle_where_its_server_is_found(tmp_path: Path) -> None:
    """The same promises on the real ledger; on a real disk, since it needs Direct I/O to be itself."""
    if tigerbeetle_binary() is None:
        pytest.skip("no TigerBeetle server on PATH or in TIGERBEETLE_BIN")
    tmp_path.chmod(0o755)
    done = Home(tmp_path).paymesh("demo", timeout_s=150)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ledger: tigerbeetle" in done.stdout
    assert not (tmp_path / "demo" / "tigerbeetle").exists()


def test_given_stores_are_used_and_nothing_in_them_is_deleted(home: Home) -> None:
    """Two demos over the same stores of somebody else: both hold, the second finds the first's wallets untouched."""
    folder = quick_folder("paymesh-given-")
    try:
        with held_stack(folder / "stores") as held:
            given = {name: held.environ[name] for name in ("REDIS_URL", "DATABASE_URL")}
            books = home.path / "demo" / "sandboxes"
            books.mkdir(parents=True, exist_ok=True)
            (books / "of-another-mesh").touch()
            for _ in range(2):
                done = home.paymesh("demo", "--ledger", "postgres", "--transfers", "20", more=given)
                assert done.returncode == 0, done.stdout + done.stderr
                assert "servers: none" in done.stdout
                assert not (books / "of-another-mesh").exists()
            accounts = json.loads(home.paymesh("accounts", "list", "--prefix", "user:", "--json", more=given).stdout)
        assert len(accounts) == 2 * (21 + 9 + 2 + 1)
    finally:
        remove_cluster(folder / "stores" / "postgres")
        rmtree(folder)
