"""Everything that a PSP may do to a payment: one withdrawal and one top-up for each, posted together as one batch.

A scenario says how the sandbox behaves, and where an intent ends that nobody disturbs. Under a kill or a pause it may
end elsewhere, which only the reckoning judges: by the sandbox's own books.
"""

from dataclasses import dataclass
from typing import Final

from shared.psp import FenceKind
from shared.states import IntentState

_S = IntentState
SETTLED: Final = frozenset({_S.SETTLED})
FAILED: Final = frozenset({_S.FAILED})
EXPIRED: Final = frozenset({_S.EXPIRED})
EITHER: Final = SETTLED | FAILED
UNSENT: Final = "unsent"
"""The first request was lost without a trace: where that ends is the fence's business."""
_OF_UNSENT: Final = {
    FenceKind.RESUBMIT: SETTLED,
    FenceKind.CANCEL: FAILED,
    FenceKind.REFERENCE_TTL: FAILED,
    FenceKind.NONE: frozenset({_S.IN_DOUBT}),
}


@dataclass(frozen=True, slots=True)
class Payout:
    """One withdrawal.

    Attributes:
        script: what the sandbox plays.
        ends: where it ends undisturbed, or UNSENT.
        revived: the PSP takes a decline back and pays after all, which no fence forbids.
    """

    script: str
    ends: frozenset[IntentState] | str
    revived: bool = False

    def undisturbed(self, fence: FenceKind) -> frozenset[IntentState]:
        """Return where it may end if nobody is killed or paused."""
        return _OF_UNSENT[fence] if isinstance(self.ends, str) else self.ends


@dataclass(frozen=True, slots=True)
class Topup:
    """One top-up.

    Attributes:
        script: what the sandbox plays.
        ends: where it ends undisturbed.
        ttl_s: how long its code may be paid; None is the PSP's usual time.
        static: its code may be paid again and again.
        pays: payers that come by once there is a code: the bodies of `pay`.
    """

    script: str
    ends: frozenset[IntentState]
    ttl_s: int | None = None
    static: bool = False
    pays: tuple[dict[str, object], ...] = ()


PAYOUTS: Final = (
    Payout("success", SETTLED),
    Payout("success;lookup=slow:50", SETTLED),
    Payout("decline:over_limit", FAILED),
    Payout("decline:account_closed+callback_forged", FAILED),
    Payout("decline:something_new", FAILED),
    Payout("slow:300", SETTLED),
    Payout("slow:1700", EITHER),
    Payout("slow:4600", EITHER),
    Payout("timeout_before_commit*1", UNSENT),
    Payout("timeout_after_commit", SETTLED),
    Payout("reset_before_commit*1", UNSENT),
    Payout("reset_after_commit", SETTLED),
    Payout("malformed_before_commit*1", UNSENT),
    Payout("malformed_after_commit", SETTLED),
    Payout("http_503_before_commit:1*1", UNSENT),
    Payout("http_500_after_commit", SETTLED),
    Payout("http_503_after_commit:1", SETTLED),
    Payout("http_429_before_commit:1*1", UNSENT),
    Payout("processing:600", SETTLED),
    Payout("processing:500+callback_lost", SETTLED),
    Payout("processing:600+decline:account_closed", FAILED),
    Payout("reversal:1200", EITHER),
    Payout("processing:300+reversal:1500", EITHER),
    Payout("timeout_after_commit+reversal:300", EITHER),
    Payout("decline:something_new+revived:2000", EITHER, revived=True),
    Payout("decline:over_limit+revived:2500+callback_duplicate", FAILED, revived=True),
    Payout("timeout_after_commit+unseen:1300", SETTLED),
    Payout("callback_lost", SETTLED),
    Payout("callback_late:1500", SETTLED),
    Payout("callback_duplicate:3", SETTLED),
    Payout("callback_out_of_order", SETTLED),
    Payout("callback_forged", SETTLED),
    Payout("callback_replayed", SETTLED),
    Payout("callback_wrong_amount:1", SETTLED),
    Payout("lookup=http_503_before_commit:1*1", SETTLED),
    Payout("lookup=timeout_before_commit*1", SETTLED),
    Payout("lookup=reset_after_commit*1", SETTLED),
    Payout("lookup=decline:unknown_proxy", FAILED),
    Payout("timeout_after_commit;status=timeout_before_commit*1", SETTLED),
    Payout("reset_after_commit;status=http_503_before_commit:1*2", SETTLED),
    Payout("reset_after_commit;status=malformed_before_commit*1", SETTLED),
    Payout("reset_before_commit*1;cancel=timeout_after_commit*1", UNSENT),
)

_PAYER: Final[dict[str, object]] = {"scenario": "success"}
_DECLINED: Final[dict[str, object]] = {"scenario": "payment_declined:insufficient_funds"}

TOPUPS: Final = (
    Topup("paid", SETTLED),
    Topup("paid:400", SETTLED),
    Topup("paid:300+callback_lost", SETTLED),
    Topup("paid:300+processing:900", SETTLED),
    Topup("success", EXPIRED, ttl_s=60),
    Topup("callback_forged", EXPIRED, ttl_s=60),
    Topup("paid_after_expiry:30000", EXPIRED, ttl_s=60),
    Topup("paid_twice:300", SETTLED),
    Topup("success", SETTLED, static=True, pays=(_PAYER, _PAYER, _PAYER)),
    Topup("paid:300+payment_declined:insufficient_funds", EXPIRED, ttl_s=60),
    Topup("success", FAILED, pays=(_DECLINED, _DECLINED, _DECLINED)),
    Topup("success", SETTLED, pays=(_DECLINED, _PAYER)),
    Topup("decline:over_limit", FAILED),
    Topup("decline:something_new", FAILED),
    Topup("timeout_before_commit*1", EXPIRED, ttl_s=60),
    Topup("timeout_after_commit+paid:500", SETTLED),
    Topup("reset_before_commit*1", EXPIRED, ttl_s=60),
    Topup("reset_after_commit+paid:500", SETTLED),
    Topup("malformed_after_commit+paid:500", SETTLED),
    Topup("http_503_before_commit:1*1", EXPIRED, ttl_s=60),
    Topup("http_500_after_commit+paid:500", SETTLED),
    Topup("http_429_before_commit:1*1", EXPIRED, ttl_s=60),
    Topup("slow:300+paid:300", SETTLED),
    Topup("slow:1700+paid:300", SETTLED),
    Topup("paid:300+paid_amount:777", SETTLED),
    Topup("paid:300+reversal:1500", EITHER),
    Topup("paid_twice:300+reversal:1800", EITHER),
    Topup("paid:300+callback_wrong_amount:1", SETTLED),
    Topup("paid:300+callback_duplicate:3", SETTLED),
    Topup("paid:300+callback_out_of_order", SETTLED),
    Topup("paid:300+callback_late:1500", SETTLED),
    Topup("paid:300+callback_forged", SETTLED),
    Topup("paid:300+callback_replayed", SETTLED),
    Topup("paid:300;payments=http_503_before_commit:1*1", SETTLED),
    Topup("paid:300;find=timeout_before_commit*1", SETTLED),
)
