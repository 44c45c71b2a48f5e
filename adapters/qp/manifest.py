"""What QP promises, as data; the rest of the mesh acts on nothing else. This module must never hold code."""

from typing import Final

from shared.psp import FenceKind, Manifest, OperationRules, PollSchedule, ReferenceFormat, SubmitFence

TOPUP: Final = "QP_TOPUP"
TTL_S: Final = 1_200
"""How long a dynamic code may be paid where the job says nothing else."""
_HOURS_72_S: Final = 259_200

MANIFEST: Final = Manifest(
    psp="qp",
    channel="QP",
    # SBP moves at most 1,000,000 roubles at once, and writes any amount from a kopeck.
    operations={TOPUP: OperationRules("in", "RUB", 1, 100_000_000, ttl_s=TTL_S, deadline_s=30)},
    # `order` takes forty letters and digits; a hundred bits do, in characters that nobody mistakes for others.
    reference=ReferenceFormat("0123456789ABCDEFGHJKMNPQRSTVWXYZ", 20),
    status_by_our_reference=True,
    # The same order on the same terms is the same code "whatever has become of it", without an end; ten years are a
    # number in its place.
    submit_fence=SubmitFence(FenceKind.RESUBMIT, period_s=10 * 365 * 86_400, margin_s=3_600),
    # Each says that no code was made, and that no earlier request had made one: it would have been the answer.
    final_answers=("over_limit", "bad_request", "declined"),
    # A payer does not look at an empty screen for longer.
    job_ttl_s=900,
    callback_trusted=False,
    refundable=True,
    partial_refund=True,
    # Codes live 72 hours at most, and payments that were under way may end a little later.
    poll=PollSchedule(first_s=15, factor=1.5, max_s=900, until_s=_HOURS_72_S),
)
