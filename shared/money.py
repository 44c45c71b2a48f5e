"""Money: integer minor units plus an ISO 4217 code, never a float.

A currency's numeric code doubles as its ledger number in TigerBeetle, whose scale can never change: the exponents
here are therefore final for every currency once it has been used.

Source of codes, numbers and exponents: ISO 4217 list one (active currencies; funds and metals are left out).
"""

from dataclasses import dataclass
from typing import Final

from shared.errors import BadInput, require

AMOUNT_MINOR_MAX: Final = 1 << 62

_TWO_DIGITS: Final = """
AED 784 AFN 971 ALL 8 AMD 51 AOA 973 ARS 32 AUD 36 AWG 533 AZN 944 BAM 977 BBD 52 BDT 50 BMD 60 BND 96 BOB 68
BRL 986 BSD 44 BTN 64 BWP 72 BYN 933 BZD 84 CAD 124 CDF 976 CHF 756 CNY 156 COP 170 CRC 188 CUP 192 CVE 132
CZK 203 DKK 208 DOP 214 DZD 12 EGP 818 ERN 232 ETB 230 EUR 978 FJD 242 FKP 238 GBP 826 GEL 981 GHS 936 GIP 292
GMD 270 GTQ 320 GYD 328 HKD 344 HNL 340 HTG 332 HUF 348 IDR 360 ILS 376 INR 356 IRR 364 JMD 388 KES 404 KGS 417
KHR 116 KPW 408 KYD 136 KZT 398 LAK 418 LBP 422 LKR 144 LRD 430 LSL 426 MAD 504 MDL 498 MGA 969 MKD 807 MMK 104
MNT 496 MOP 446 MRU 929 MUR 480 MVR 462 MWK 454 MXN 484 MYR 458 MZN 943 NAD 516 NGN 566 NIO 558 NOK 578 NPR 524
NZD 554 PAB 590 PEN 604 PGK 598 PHP 608 PKR 586 PLN 985 QAR 634 RON 946 RSD 941 RUB 643 SAR 682 SBD 90 SCR 690
SDG 938 SEK 752 SGD 702 SHP 654 SLE 925 SOS 706 SRD 968 SSP 728 STN 930 SVC 222 SYP 760 SZL 748 THB 764 TJS 972
TMT 934 TOP 776 TRY 949 TTD 780 TWD 901 TZS 834 UAH 980 USD 840 UZS 860 VES 928 WST 882 XCD 951 XCG 532 YER 886
ZAR 710 ZMW 967 ZWG 924
"""
_NO_DIGITS: Final = """
BIF 108 CLP 152 DJF 262 GNF 324 ISK 352 JPY 392 KMF 174 KRW 410 PYG 600 RWF 646 UGX 800 UYI 940 VND 704 VUV 548
XAF 950 XOF 952 XPF 953
"""
_THREE_DIGITS: Final = "BHD 48 IQD 368 JOD 400 KWD 414 LYD 434 OMR 512 TND 788"
_FOUR_DIGITS: Final = "CLF 990 UYW 927"


@dataclass(frozen=True, slots=True)
class Currency:
    """An ISO 4217 currency: `code` (THB), `number` (764) and `exponent` (digits after the point, 2)."""

    code: str
    number: int
    exponent: int


def _table() -> dict[str, Currency]:
    table: dict[str, Currency] = {}
    for exponent, rows in ((2, _TWO_DIGITS), (0, _NO_DIGITS), (3, _THREE_DIGITS), (4, _FOUR_DIGITS)):
        words = rows.split()
        for code, number in zip(words[::2], words[1::2], strict=True):
            table[code] = Currency(code, int(number), exponent)
    return table


CURRENCIES: Final = _table()
_BY_NUMBER: Final = {entry.number: entry for entry in CURRENCIES.values()}


def currency(code: str) -> Currency:
    """Return the currency of an upper-case ISO 4217 code.

    Raises:
        BadInput: with code ``unknown_currency``.
    """
    try:
        return CURRENCIES[code]
    except KeyError:
        raise BadInput("not an active ISO 4217 currency code", code="unknown_currency") from None


def currency_of_ledger(number: int) -> Currency:
    """Return the currency whose numeric code is the ledger number.

    Raises:
        BadInput: with code ``unknown_currency``.
    """
    try:
        return _BY_NUMBER[number]
    except KeyError:
        raise BadInput(f"no currency has the numeric code {number}", code="unknown_currency") from None


@dataclass(frozen=True, slots=True)
class Money:
    """An amount in minor units of one currency. Adding two currencies is an invariant violation."""

    amount_minor: int
    currency: Currency

    def __post_init__(self) -> None:
        """Refuse anything but an integer: a bool or a float here would be somebody's rounding error."""
        require(type(self.amount_minor) is int, f"an amount is an integer, not {type(self.amount_minor)}")

    def __add__(self, other: "Money") -> "Money":
        """Add two amounts of the same currency."""
        require(self.currency == other.currency, "amounts of two currencies do not add")
        return Money(self.amount_minor + other.amount_minor, self.currency)

    def __sub__(self, other: "Money") -> "Money":
        """Subtract an amount of the same currency."""
        require(self.currency == other.currency, "amounts of two currencies do not subtract")
        return Money(self.amount_minor - other.amount_minor, self.currency)

    def __str__(self) -> str:
        """Write it for people, as in ``1234.50 THB``."""
        sign = "-" if self.amount_minor < 0 else ""
        scale = 10**self.currency.exponent
        whole, fraction = divmod(abs(self.amount_minor), scale)
        digits = f".{fraction:0{self.currency.exponent}d}" if self.currency.exponent else ""
        return f"{sign}{whole}{digits} {self.currency.code}"


def check_amount(amount_minor: int) -> int:
    """Return the amount if it may be moved: 1 ≤ amount ≤ 2⁶².

    Raises:
        BadInput: with code ``amount_out_of_range``.
    """
    if not 1 <= amount_minor <= AMOUNT_MINOR_MAX:
        raise BadInput("an amount lies between 1 and 2^62 minor units", code="amount_out_of_range")
    return amount_minor
