"""Plans into transfers: the bytes are pinned, since a stored plan must be carried out as it was the first time."""

from uuid import UUID

import pytest
import tigerbeetle as tb

from shared.accounts import parse_account
from shared.errors import BadInput, InvariantViolation
from shared.ids import IntentId, Phase, transfer_id
from shared.ledger.accounts import (
    LIMITS_LEDGER,
    MESH_LEDGER,
    NEVER_CREDITED_ID,
    NEVER_OPENED_ID,
    AccountCode,
    ledger_account,
)
from shared.ledger.chain import build_chain, build_post, build_void, burn
from shared.ledger.codes import LegCode
from shared.ledger.packing import PackedAccount, PackedTransfer
from shared.money import CURRENCIES
from shared.plans import Leg

INTENT = IntentId(UUID("0198c1f2-0001-7abc-8def-0123450a0000"))
LEGS = (
    Leg("user:alice:THB", "transit:THB", 1000, LegCode.P2P_PAY),
    Leg("transit:THB", "user:bob:THB", 1000, LegCode.P2P_RECEIVE),
)
F = tb.TransferFlags
GOLDEN_MOVE = [
    (
        "00040a452301ef8dbc7a0100f2c19801e4d9fbcbdc0f07adc351fa3f0f31c7348d2bed76d00f678f5b5a14a57e98a6c0"
        "e80300000000000000000000000000000000000000000000000000000000000000000a452301ef8dbc7a0100f2c19801"
        "00000000000000000000000000000000fc020000650001000000000000000000"
    ),
    (
        "01040a452301ef8dbc7a0100f2c198018d2bed76d00f678f5b5a14a57e98a6c0019a8edfdd015c98bf55a35a61d2cca2"
        "e80300000000000000000000000000000000000000000000000000000000000000000a452301ef8dbc7a0100f2c19801"
        "00000000000000000000000000000000fc020000660000000000000000000000"
    ),
]
GOLDEN_BURN = [
    (
        "00040a452301ef8dbc7a0100f2c198015b8bebc68ac958a2b751a9a7aef3f7ffaa7bb8fc96736693615633eae2461eec"
        "e80300000000000000000000000000000000000000000000000000000000000000000a452301ef8dbc7a0100f2c19801"
        "00000000000000000000000000000000fc020000020000000000000000000000"
    ),
]
GOLDEN_ACCOUNT = (
    "e4d9fbcbdc0f07adc351fa3f0f31c7340000000000000000000000000000000000000000000000000000000000000000"
    "000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
    "00000000000000000000000000000000fc02000001000a000000000000000000"
)


def _hex(transfers: list[tb.Transfer]) -> list[str]:
    return [bytes(PackedTransfer.pack(transfer)).hex() for transfer in transfers]


def test_a_stored_plan_always_gives_the_same_bytes() -> None:
    """Golden: what an older release wrote into the ledger is what this one resubmits."""
    assert _hex(build_chain(INTENT, 1, Phase.MOVE, LEGS)) == GOLDEN_MOVE
    assert _hex([burn(build_chain(INTENT, 1, Phase.MOVE, LEGS)[0])]) == GOLDEN_BURN


def test_a_move_is_linked_up_to_its_last_leg() -> None:
    """One chain, closed; every leg tagged with the intent and nothing else set."""
    chain = build_chain(INTENT, 2, Phase.MOVE, LEGS)
    assert [transfer.flags for transfer in chain] == [F.LINKED, F.NONE]
    assert [transfer.id for transfer in chain] == [
        transfer_id(INTENT, attempt=2, phase=Phase.MOVE, leg=leg) for leg in (0, 1)
    ]
    assert {transfer.user_data_128 for transfer in chain} == {INTENT.int}
    assert {transfer.ledger for transfer in chain} == {764}
    assert chain[0].credit_account_id == chain[1].debit_account_id == parse_account("transit:THB").id


def test_a_hold_is_pending_and_never_expires() -> None:
    """A time-out would let one leg resolve without the others."""
    chain = build_chain(INTENT, 1, Phase.MOVE, LEGS, pending=True)
    assert [transfer.flags for transfer in chain] == [F.PENDING | F.LINKED, F.PENDING]
    assert {transfer.timeout for transfer in chain} == {0}


def test_a_post_names_what_it_posts_and_takes_everything_else_from_the_hold() -> None:
    """Amounts are the stored ones; the new ids belong to the attempt that posts."""
    held = build_chain(INTENT, 1, Phase.MOVE, LEGS, pending=True)
    post = build_post(INTENT, 2, [transfer.id for transfer in held], [1000, 900])
    assert [(transfer.pending_id, transfer.amount, transfer.flags) for transfer in post] == [
        (held[0].id, 1000, F.POST_PENDING_TRANSFER | F.LINKED),
        (held[1].id, 900, F.POST_PENDING_TRANSFER),
    ]
    assert post[0].id == transfer_id(INTENT, attempt=2, phase=Phase.POST, leg=0)


def test_a_void_gives_the_whole_hold_back() -> None:
    """Amount 0 is TigerBeetle's word for all of it."""
    void = build_void(INTENT, 1, [11, 12])
    assert [(transfer.pending_id, transfer.amount, transfer.flags) for transfer in void] == [
        (11, 0, F.VOID_PENDING_TRANSFER | F.LINKED),
        (12, 0, F.VOID_PENDING_TRANSFER),
    ]


def test_a_burn_takes_the_first_id_and_accounts_that_nobody_can_open() -> None:
    """If such a name could be opened, a burn would move money."""
    first = build_chain(INTENT, 1, Phase.MOVE, LEGS)[0]
    killer = burn(first)
    assert killer.id == first.id
    assert (killer.debit_account_id, killer.credit_account_id) == (NEVER_OPENED_ID, NEVER_CREDITED_ID)
    for name in ("never:opened", "never:credited"):
        with pytest.raises(BadInput):
            parse_account(name)


@pytest.mark.parametrize("amount_minor", [0, -1, (1 << 62) + 1])
def test_an_amount_outside_its_bounds_never_reaches_the_ledger(amount_minor: int) -> None:
    """Planning should have refused it; the ledger is no place to find out."""
    with pytest.raises(InvariantViolation):
        build_chain(INTENT, 1, Phase.MOVE, [Leg("user:a:THB", "transit:THB", amount_minor, 1)])
    with pytest.raises(InvariantViolation):
        build_post(INTENT, 1, [1], [amount_minor or -1])


def test_a_chain_stays_in_one_currency() -> None:
    """A leg into another currency would be refused by the ledger only after the ids were spent."""
    crossing = [LEGS[0], Leg("transit:THB", "user:bob:USD", 1000, 1)]
    with pytest.raises(InvariantViolation, match="leg 1 leaves"):
        build_chain(INTENT, 1, Phase.MOVE, crossing)


@pytest.mark.parametrize("count", [0, 101])
def test_a_chain_has_one_to_a_hundred_legs(count: int) -> None:
    """Leg 128 would be another phase; the plan's own bound lies well below."""
    with pytest.raises(InvariantViolation):
        build_chain(INTENT, 1, Phase.MOVE, [LEGS[0]] * count)


def test_a_post_needs_an_amount_for_every_leg() -> None:
    """A leg left out would stay pending for ever."""
    with pytest.raises(ValueError, match="zip"):
        build_post(INTENT, 1, [1, 2], [10])


def test_wallets_may_not_overdraw_and_internal_accounts_may() -> None:
    """The ledger itself keeps a wallet from going below zero."""
    flags = {
        name: ledger_account(parse_account(name)).flags
        for name in ("user:a:THB", "merchant:m:THB", "transit:THB", "equity:THB", "psp:ipps:THB", "fee:main:THB")
    }
    limited = tb.AccountFlags.DEBITS_MUST_NOT_EXCEED_CREDITS | tb.AccountFlags.HISTORY
    assert flags == {
        "user:a:THB": limited,
        "merchant:m:THB": limited,
        "transit:THB": tb.AccountFlags.NONE,
        "equity:THB": tb.AccountFlags.NONE,
        "psp:ipps:THB": tb.AccountFlags.NONE,
        "fee:main:THB": tb.AccountFlags.NONE,
    }


def test_an_account_always_opens_with_the_same_bytes() -> None:
    """Golden: opening an account again must find it as it is."""
    assert bytes(PackedAccount.pack(ledger_account(parse_account("user:alice:THB")))).hex() == GOLDEN_ACCOUNT


def test_the_ledgers_for_mesh_and_limits_name_no_currency() -> None:
    """Money must never be able to meet the mesh's own counters."""
    assert {MESH_LEDGER, LIMITS_LEDGER}.isdisjoint(entry.number for entry in CURRENCIES.values())


def test_codes_are_final() -> None:
    """The ledger never forgets a code; none may change its number."""
    assert {code.name: code.value for code in LegCode} == {
        "MESH_TICK": 1,
        "BURN": 2,
        "P2P_PAY": 101,
        "P2P_RECEIVE": 102,
        "ADJUSTMENT_TAKE": 201,
        "ADJUSTMENT_GIVE": 202,
        "WITHDRAWAL_TAKE": 301,
        "WITHDRAWAL_SEND": 302,
        "TOPUP_RECEIVE": 401,
        "TOPUP_GIVE": 402,
        "LATE_CREDIT_RECEIVE": 403,
        "LATE_CREDIT_GIVE": 404,
        "REVERSAL_TAKE": 501,
        "REVERSAL_GIVE": 502,
        "SUSPENSE_TAKE": 601,
        "SUSPENSE_GIVE": 602,
        "FEE_TAKE": 701,
        "FEE_GIVE": 702,
        "LIMIT_FUND": 801,
        "LIMIT_USE": 802,
        "LIMIT_CHECK": 803,
    }
    assert {code.name: code.value for code in AccountCode} == {
        "USER": 1,
        "MERCHANT": 2,
        "TRANSIT": 3,
        "FEE": 4,
        "PSP": 5,
        "SUSPENSE": 6,
        "LIQUIDITY": 7,
        "EQUITY": 8,
        "MESH": 100,
        "LIMIT": 101,
        "ALLOWANCE": 102,
    }
