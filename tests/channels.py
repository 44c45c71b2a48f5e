"""A hand-made view of the PSPs, in the place of the register that orchestrators poll."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from shared.psp import FenceKind, Manifest, OperationRules, PollSchedule, ReferenceFormat, SubmitFence
from shared.rules.routes import ChannelHealth

PAYOUTS = Manifest(
    psp="ipps",
    channel="IPPS",
    operations={
        "IPPS_WITHDRAWAL": OperationRules("out", "THB", 100, 70_000_000),
        "THAI_QR_PAY": OperationRules("out", "THB", 100, 70_000_000),
    },
    reference=ReferenceFormat("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", 15),
    status_by_our_reference=True,
    submit_fence=SubmitFence(FenceKind.RESUBMIT, period_s=86_400, margin_s=60),
    final_answers=("over_limit", "account_closed"),
    poll=PollSchedule(first_s=10, factor=2.0, max_s=900, until_s=86_400),
)
TOPUPS = Manifest(
    psp="qp",
    channel="QP",
    operations={"QP_TOPUP": OperationRules("in", "RUB", 1, 100_000_000, ttl_s=1200)},
    reference=ReferenceFormat("0123456789ABCDEFGHJKMNPQRSTVWXYZ", 20),
    status_by_our_reference=True,
    submit_fence=SubmitFence(FenceKind.RESUBMIT, period_s=86_400, margin_s=60),
)


@dataclass(slots=True)
class FixedChannels:
    """PSPs that never change, each well unless a refusal is put down for it."""

    manifests: tuple[Manifest, ...] = (PAYOUTS, TOPUPS)
    refusals: dict[str, str] = field(default_factory=dict)
    healths: dict[str, ChannelHealth] = field(default_factory=dict)

    @property
    def _by_channel(self) -> Mapping[str, Manifest]:
        return {manifest.channel: manifest for manifest in self.manifests}

    def manifest(self, psp: str) -> Manifest | None:
        """What a PSP promises."""
        return self._by_channel.get(psp.upper())

    def manifest_of_channel(self, channel: str) -> Manifest | None:
        """What the PSP behind a channel promises."""
        return self._by_channel.get(channel)

    def refusal(self, psp: str, operation: str) -> str | None:
        """Why the PSP takes nothing on."""
        return self.refusals.get(f"{psp}.{operation}", self.refusals.get(psp))

    def health(self, psp: str) -> ChannelHealth:
        """How the PSP has done lately."""
        return self.healths.get(psp, ChannelHealth())
