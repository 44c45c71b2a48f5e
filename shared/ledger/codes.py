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
