"""Why money moves: the `code` of every transfer, final once used, since the ledger never forgets one.

Hundreds group what belongs together. An odd hundred is not better than an even one; a number is never reused for
another meaning. This module must never import anything but the standard library.
"""

from enum import IntEnum


class LegCode(IntEnum):
    """The reason carried by each transfer."""

    MESH_TICK = 1
    """One unit in the mesh ledger: the counter that shows a store lagging behind."""
    BURN = 2
    """Kills an attempt: submitted from an account that is never opened, so it never enters the books."""

    P2P_PAY = 101
    """Payer's wallet → transit."""
    P2P_RECEIVE = 102
    """Transit → payee's wallet."""

    ADJUSTMENT_TAKE = 201
    """The side that gives (equity on a credit, the wallet on a debit) → transit."""
    ADJUSTMENT_GIVE = 202
    """Transit → the side that gets."""

    WITHDRAWAL_TAKE = 301
    """Payer's wallet → transit, held until the PSP has said what became of it."""
    WITHDRAWAL_SEND = 302
    """Transit → our account at the PSP, held along with it."""

    TOPUP_RECEIVE = 401
    """Our account at the PSP → transit."""
    TOPUP_GIVE = 402
    """Transit → the wallet that was topped up."""
    LATE_CREDIT_RECEIVE = 403
    """As TOPUP_RECEIVE, for a payment that came after its intent was decided, or on top of another."""
    LATE_CREDIT_GIVE = 404
    """As TOPUP_GIVE, for such a payment."""

    REVERSAL_TAKE = 501
    """The side that got a payment which the PSP took back → transit."""
    REVERSAL_GIVE = 502
    """Transit → the side that had paid."""

    SUSPENSE_TAKE = 601
    """The side that gives money which no plan accounts for → transit."""
    SUSPENSE_GIVE = 602
    """Transit → the side that gets it."""

    FEE_TAKE = 701
    """Payer's wallet → transit: a fee on top of what is paid."""
    FEE_GIVE = 702
    """Transit → the fee's beneficiary."""

    LIMIT_FUND = 801
    """In the limits ledger: what makes an allowance usable, once an account, by a constant amount."""
    LIMIT_USE = 802
    """In the limits ledger: what an intent uses of an allowance."""
    LIMIT_CHECK = 803
    """In the limits ledger: held and given back in the same chain; it fails where more than the cap is used."""
