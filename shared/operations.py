"""What may be asked for: every operation, as it is accepted, stored and planned, its personal words sealed.

These models stand inside messages (see `shared.contracts`) and in the intent log. This module must never hold
plaintext personal data.
"""

from enum import StrEnum
from functools import partial
from operator import is_
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from shared.money import AMOUNT_MINOR_MAX


class Message(BaseModel):
    """The base of every body: frozen, strict about types, deaf to nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


Amount = Annotated[int, Field(ge=1, le=AMOUNT_MINOR_MAX)]
Tag = Annotated[str, Field(min_length=1, max_length=64)]
unsaid: Final = partial(is_, None)  # older processes do not know the field: it must not stand there for nothing
LabelName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}\z")]
PspId = Annotated[str, Field(pattern=r"^[a-z][a-z0-9]{1,15}\z")]


class Metadata(Message):
    """What the caller wants to find its intents by; never personal data."""

    tags: tuple[Tag, ...] = Field(default=(), max_length=16)
    labels: Annotated[dict[LabelName, Tag], Field(max_length=16)] | None = Field(default=None, exclude_if=unsaid)
    """What rules may ask for by name, such as ``tier`` for ``gold``."""


class P2PTransfer(Message):
    """Move money from one wallet to another inside the house."""

    operation_type: Literal["P2P_TRANSFER"] = "P2P_TRANSFER"
    from_account: str
    to_account: str
    amount_minor: Amount
    currency: str
    from_name: str | None = None
    """Sealed: what the payer is called."""
    to_name: str | None = None
    """Sealed: what the payee is called."""
    comment: str | None = None
    """Sealed: what the payer writes to the payee."""
    metadata: Metadata = Metadata()
    requires_monitoring: bool = False


class Adjustment(Message):
    """Move money between a wallet and the house's equity; only for keys with that permission."""

    operation_type: Literal["ADJUSTMENT"] = "ADJUSTMENT"
    account: str
    direction: Literal["CREDIT", "DEBIT"]
    amount_minor: Amount
    currency: str
    comment: str | None = None
    """Sealed: why."""
    approved_by: str | None = None
    """The second service key, where the amount asks for two people."""
    metadata: Metadata = Metadata()
    requires_monitoring: bool = False


class IppsWithdrawal(Message):
    """Pay out of a wallet to a PromptPay proxy or a bank account."""

    operation_type: Literal["IPPS_WITHDRAWAL"] = "IPPS_WITHDRAWAL"
    from_account: str
    amount_minor: Amount
    currency: str
    proxy_type: Literal["MOBILE", "NATIONAL_ID", "EWALLET", "BANK_ACCOUNT"]
    proxy: str
    """Sealed: the number that names the payee's account."""
    bank_code: str | None = None
    """Three digits, with BANK_ACCOUNT."""
    recipient_name: str | None = None
    """Sealed: whom the payer believes to pay."""
    comment: str | None = None
    """Sealed: what the payer writes to the payee."""
    test_scenario: str | None = None
    metadata: Metadata = Metadata()
    requires_monitoring: bool = False


class ThaiQrPay(Message):
    """Pay a Thai QR code out of a wallet."""

    operation_type: Literal["THAI_QR_PAY"] = "THAI_QR_PAY"
    from_account: str
    amount_minor: Amount
    currency: str
    qr: str
    """Sealed: the code as scanned."""
    comment: str | None = None
    """Sealed: what the payer writes to the payee."""
    test_scenario: str | None = None
    metadata: Metadata = Metadata()
    requires_monitoring: bool = False


class QpTopup(Message):
    """Let somebody pay into a wallet through SBP."""

    operation_type: Literal["QP_TOPUP"] = "QP_TOPUP"
    to_account: str
    amount_minor: Amount
    currency: str
    ttl_s: int | None = Field(default=None, ge=60, le=259_200)
    """How long the code may be paid; None leaves it to the PSP."""
    static: bool = False
    """The code may be paid any number of times."""
    comment: str | None = None
    """Sealed: what the payer sees."""
    test_scenario: str | None = None
    metadata: Metadata = Metadata()
    requires_monitoring: bool = False


Operation = Annotated[
    P2PTransfer | Adjustment | IppsWithdrawal | ThaiQrPay | QpTopup, Field(discriminator="operation_type")
]


class ChildType(StrEnum):
    """What an intent does that nobody posted: a PSP's payment opened it, linked to the intent that it named."""

    LATE_CREDIT = "LATE_CREDIT"
    """A payment that came late, or on top of another, goes to the wallet all the same."""
    REVERSAL = "REVERSAL"
    """A payment that the PSP took back is taken back here."""
    SUSPENSE = "SUSPENSE"
    """Money that no wallet can be charged or credited for is kept where people look at it."""


class ChildOperation(Message):
    """The operation of an intent that a PSP's payment opened; stored with it, never streamed."""

    operation_type: ChildType
    account: str
    """The wallet, or the suspense account."""
    direction: Literal["in", "out"]
    """Whether our money at the PSP went up or down."""
    amount_minor: Amount
    currency: str
    psp: PspId
    psp_transaction_id: str
    metadata: Metadata = Metadata()
    requires_monitoring: bool = False
