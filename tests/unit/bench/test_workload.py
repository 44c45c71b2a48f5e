"""The workload: real messages, the same for the same seed, that add up to nothing."""

from itertools import islice

import pytest

from bench.workload import AMOUNT_MINOR_MAX, FUNDS_MINOR, WAITER, Deltas, Section, account
from gateway.operations import P2PTransferRequest
from gateway.requests import parse_operation
from shared.contracts import Envelope, IntentMessage, Kind, read_body
from shared.operations import Adjustment, P2PTransfer

_ID = "0198c1f2-0000-7000-8000-000000000000"


@pytest.fixture
def section() -> Section:
    """A section among a hundred wallets."""
    return Section("mesh-1", "7", 100)


def test_entries_are_what_a_gateway_writes(section: Section) -> None:
    """The template reads back as a payment between the two wallets, and is as long as the models' own writing."""
    payment = next(section.payments())
    body = section.entry_body(payment)

    message = read_body(Envelope(Kind.INTENT, _ID, body))

    assert message == IntentMessage(
        service_key="mesh-1",
        user_id=f"w{payment.payer:05d}",
        idempotency_key=section.idempotency_key(payment.serial),
        fingerprints=(f"bench:{payment.serial:064x}",),
        operation=P2PTransfer(
            from_account=account(payment.payer),
            to_account=account(payment.payee),
            amount_minor=payment.amount_minor,
            currency="THB",
        ),
        waiter=WAITER,
    )
    assert len(body) == len(message.model_dump_json(exclude_none=True))


def test_grants_fund_a_wallet(section: Section) -> None:
    """The template reads back as an adjustment in the wallet's favour."""
    message = read_body(Envelope(Kind.INTENT, _ID, section.grant_body(42)))

    assert isinstance(message, IntentMessage)
    assert isinstance(message.operation, Adjustment)
    assert (message.operation.account, message.operation.direction) == (account(42), "CREDIT")
    assert message.operation.amount_minor == FUNDS_MINOR


def test_requests_pass_the_gateways_own_reading(section: Section) -> None:
    """What is posted is what the gateway accepts."""
    payment = next(section.payments())

    request = parse_operation(section.request_body(payment))

    assert isinstance(request, P2PTransferRequest)
    assert (request.from_account, request.to_account) == (account(payment.payer), account(payment.payee))
    assert request.amount_minor == payment.amount_minor


def test_the_same_seed_makes_the_same_payments(section: Section) -> None:
    """A run can be repeated."""
    again = Section("mesh-1", "7", 100)

    assert list(islice(section.payments(), 500)) == list(islice(again.payments(), 500))


@pytest.mark.parametrize("other", [Section("mesh-2", "7", 100), Section("mesh-1", "8", 100)], ids=["section", "seed"])
def test_another_section_or_seed_makes_other_payments(section: Section, other: Section) -> None:
    """No section repeats another's order of wallets."""
    assert list(islice(section.payments(), 20)) != list(islice(other.payments(), 20))


def test_keys_never_meet_those_of_another_section(section: Section) -> None:
    """A reused key would be answered instead of paid."""
    assert section.idempotency_key(1) != Section("mesh-2", "7", 100).idempotency_key(1)
    assert section.idempotency_key(1) != section.idempotency_key(2)


@pytest.mark.parametrize("wallets", [2, 3, 50])
def test_payments_reach_every_wallet_and_never_their_own(wallets: int) -> None:
    """Pairs are uniform: every wallet pays and is paid, none pays itself, amounts stay in their bounds."""
    payments = list(islice(Section("any", "1", wallets).payments(), 2000))

    assert {payment.payer for payment in payments} == {payment.payee for payment in payments} == set(range(wallets))
    assert all(payment.payer != payment.payee for payment in payments)
    assert all(1 <= payment.amount_minor <= AMOUNT_MINOR_MAX for payment in payments)
    assert [payment.serial for payment in payments] == list(range(1, 2001))


def test_deltas_move_money_and_make_none(section: Section) -> None:
    """What payers lose is what payees gain."""
    deltas = Deltas(100)
    payments = list(islice(section.payments(), 300))
    for payment in payments:
        deltas.add(payment)

    assert deltas.payments == 300
    assert sum(deltas.by_wallet) == 0
    assert deltas.by_wallet[payments[0].payee] == sum(
        payment.amount_minor * ((payment.payee == payments[0].payee) - (payment.payer == payments[0].payee))
        for payment in payments
    )
