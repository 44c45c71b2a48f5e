"""Thai QR codes: what they ask for, and what every malformed one is refused for."""

from contextlib import suppress

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from adapters.crc import crc16_hex
from adapters.ipps.amounts import AMOUNT_SATANG_MAX
from adapters.ipps.defects import BadQr, Defect
from adapters.ipps.emvco import LENGTH_MAX, amount_to_pay, decode, encode
from adapters.ipps.payees import Bill, Innovation, Payee, Transfer
from adapters.ipps.proxies import Proxy, ProxyKind, bank_account, ewallet, mobile, national_id

# Codes that other encoders wrote: each with its payee, its amount, and whether it calls itself dynamic.
PUBLISHED: list[tuple[str, Payee, int | None, bool]] = [
    (
        "00020101021129370016A000000677010111011300668012345675802TH530376463046197",
        Transfer(mobile("0801234567")),
        None,
        False,
    ),
    (
        "00020101021129370016A000000677010111011300668912345675802TH5303764630429C1",
        Transfer(mobile("+66-89-123-4567")),
        None,
        False,
    ),
    (
        "00020101021129370016A000000677010111021311111111111115802TH530376463047B5A",
        Transfer(national_id("1111111111111")),
        None,
        False,
    ),
    (
        "00020101021129370016A000000677010111021301234567890125802TH530376463040CBD",
        Transfer(national_id("0123456789012")),
        None,
        False,
    ),
    (
        "00020101021229370016A000000677010111011300660000000005802TH530376454044.226304E469",
        Transfer(mobile("0000000000")),
        422,
        True,
    ),
    (
        "00020101021129390016A000000677010111031514000080111111153037645802TH63047C0F",
        Transfer(ewallet("140000801111111")),
        None,
        False,
    ),
    (
        "00020101021229370016A0000006770101110413014123456789053037645406100.005802TH6304901D",
        Transfer(bank_account("014", "1234567890")),
        10_000,
        True,
    ),
    (
        (
            "00020101021130620016A000000677010112011301122334455660211CUSTOMER0010306INV001"
            "53037645802TH62070703SCB6304780E"
        ),
        Bill("0112233445566", "CUSTOMER001", "INV001", "SCB"),
        None,
        False,
    ),
    (
        "00020101021230550016A0000006770120060115099400016550100021212345678901253037645406100.005802TH63049D1C",
        Bill("099400016550100", "123456789012", cross_border=True),
        10_000,
        True,
    ),
]
IN_OUR_ORDER = [row for row in PUBLISHED if row[0].index("5303764") < row[0].index("5802TH")]

MOBILE = "29370016A00000067701011101130066801234567"
BILL = "30460016A00000067701011201150123456789012340203R11"


def code(*elements: str) -> str:
    """A code of these elements between format and checksum, with the right checksum."""
    body = "000201" + "".join(elements) + "6304"
    return body + crc16_hex(body)


def terms(payee: str = MOBILE, *more: str) -> str:
    """A code in order, with this payee and these further elements."""
    return code("010211", payee, "5303764", "5802TH", *more)


@pytest.mark.parametrize(("raw", "payee", "amount_satang", "dynamic"), PUBLISHED)
def test_published_codes_read_as_what_they_ask_for(
    *, raw: str, payee: Payee, amount_satang: int | None, dynamic: bool
) -> None:
    """Tags 53, 54 and 58 come in three orders here; the raw string is kept as it was."""
    read = decode(raw)
    assert (read.payee, read.amount_satang, read.dynamic, read.raw) == (payee, amount_satang, dynamic, raw)


@pytest.mark.parametrize(("raw", "payee", "amount_satang", "dynamic"), IN_OUR_ORDER)
def test_published_codes_in_our_order_are_written_byte_for_byte(
    *, raw: str, payee: Payee, amount_satang: int | None, dynamic: bool
) -> None:
    """What other encoders wrote, we write."""
    assert len(IN_OUR_ORDER) == 4
    assert encode(payee, amount_satang=amount_satang, dynamic=dynamic) == raw


def test_the_checksum_is_ccitt_false() -> None:
    """The check value of the catalogue of CRC algorithms."""
    assert crc16_hex("123456789") == "29B1"


def test_any_order_between_format_and_checksum_is_read() -> None:
    """The same elements, shuffled, ask for the same."""
    one = decode(code("010212", MOBILE, "5303764", "540510.50", "5802TH", "5904SHOP", "62070703POS"))
    other = decode(code("62070703POS", "5802TH", "540510.50", "5904SHOP", "5303764", MOBILE, "010212"))
    assert one.raw != other.raw
    assert (one.payee, one.amount_satang, one.dynamic) == (other.payee, other.amount_satang, other.dynamic)
    assert (one.merchant_name, one.additional) == (other.merchant_name, other.additional) == ("SHOP", (("07", "POS"),))


def test_a_shop_with_bill_and_payment_innovation_is_paid_by_its_bill() -> None:
    """Real shop codes carry 30 and 31 side by side, and the schemes of cards besides."""
    innovation = "31410016A000000677010113010300402101234567890"
    read = decode(terms(BILL, innovation, "02164000000000000002", "52045812"))
    assert read.payee == Bill("012345678901234", "R11")


def test_payment_innovation_alone_is_carried_as_it_is() -> None:
    """Sources differ about its sub-tags, so nobody interprets them."""
    read = decode(terms("31290016A0000006770101130105A B-C"))
    assert read.payee == Innovation((("00", "A000000677010113"), ("01", "A B-C")))
    assert decode(encode(read.payee)).payee == read.payee


def test_a_one_time_code_is_kept() -> None:
    """Its application differs from that of the plain transfer."""
    payee = Transfer(mobile("0801234567"), one_time_code="0123456789")
    raw = encode(payee)
    assert "A000000677010114" in raw
    assert decode(raw).payee == payee


@pytest.mark.parametrize(
    ("text", "satang"), [("1", 100), ("0.01", 1), ("0.1", 10), ("12.5", 1250), ("9999999999.99", AMOUNT_SATANG_MAX)]
)
def test_amounts_of_none_one_or_two_decimals_are_read_exactly(text: str, satang: int) -> None:
    """Integer satang; nothing is rounded."""
    assert decode(terms(MOBILE, f"54{len(text):02d}{text}")).amount_satang == satang


def test_a_code_without_initiation_is_static() -> None:
    """Tag 01 is optional."""
    assert decode(code(MOBILE, "5303764", "5802TH")).dynamic is False


def test_an_amount_makes_a_code_dynamic_unless_told_otherwise() -> None:
    """The default of the banks' own encoders; either may be asked for."""
    payee = Transfer(mobile("0801234567"))
    assert decode(encode(payee)).dynamic is False
    assert decode(encode(payee, amount_satang=1)).dynamic is True
    assert decode(encode(payee, amount_satang=1, dynamic=False)).dynamic is False
    assert decode(encode(payee, dynamic=True)).dynamic is True


GOOD = PUBLISHED[0][0]
DEFECTS = [
    ("", Defect.EMPTY),
    (terms(MOBILE, "80" + "99" + "x" * 99, *(f"{tag}99" + "x" * 99 for tag in range(81, 86))), Defect.TOO_LONG),
    (GOOD.replace("TH", "TĦ"), Defect.NON_ASCII),
    (GOOD + "\n", Defect.NON_ASCII),
    (GOOD.replace("66801", "6680\u0661"), Defect.NON_ASCII),
    ("0002010x0211", Defect.BAD_TAG),
    ("00020101-211", Defect.BAD_LENGTH),
    ("0002010100", Defect.BAD_LENGTH),
    ("0002010²0211", Defect.NON_ASCII),
    ("000201010", Defect.TRUNCATED),
    ("00020101021", Defect.TRUNCATED),
    (GOOD[:-1], Defect.TRUNCATED),
    (GOOD[:-4], Defect.TRUNCATED),
    (GOOD[:-8], Defect.MISSING_TAG),
    (terms("29370016A00000067701011101140066801234567"), Defect.OVERLAPPING_LENGTH),
    (terms("29390016A0000006770101110113006680123456701"), Defect.OVERLAPPING_LENGTH),
    (terms(MOBILE, "62080709POST"), Defect.OVERLAPPING_LENGTH),
    (terms("29370016A0000006770101110x130066801234567"), Defect.BAD_TAG),
    (terms(MOBILE, "5303764"), Defect.DUPLICATE_TAG),
    (terms("29540016A0000006770101110113006680123456701130066801234568"), Defect.DUPLICATE_TAG),
    (terms(MOBILE, "62140703POS0703POS"), Defect.DUPLICATE_TAG),
    (code("010211", MOBILE, "5802TH"), Defect.MISSING_TAG),
    (code("010211", MOBILE, "5303764"), Defect.MISSING_TAG),
    (code("010211", "5303764", "5802TH"), Defect.MISSING_TAG),
    (terms("29200016A000000677010111"), Defect.MISSING_TAG),
    (terms("291701130066801234567"), Defect.MISSING_TAG),
    (terms("30270016A0000006770101120203R11"), Defect.MISSING_TAG),
    (terms("30390016A0000006770101120115012345678901234"), Defect.MISSING_TAG),
    (terms("29370016A00000067701011401130066801234567"), Defect.MISSING_TAG),
    (terms("29510016A0000006770101110113006680123456705100123456789"), Defect.UNKNOWN_AID),
    (terms("29370016A00000067701011201130066801234567"), Defect.UNKNOWN_AID),
    (terms("30370016A00000067701011101130066801234567"), Defect.UNKNOWN_AID),
    (terms("31200016A000000677019999"), Defect.UNKNOWN_AID),
    (terms(BILL, "31200016A000000677019999"), Defect.UNKNOWN_AID),
    (terms(MOBILE, BILL), Defect.AMBIGUOUS_PAYEE),
    (terms("29540016A0000006770101110113006680123456702131111111111111"), Defect.AMBIGUOUS_PAYEE),
    (terms("29360016A0000006770101110112006680123456"), Defect.BAD_PROXY),
    (terms("29370016A0000006770101110113006680123456x"), Defect.BAD_PROXY),
    (terms("29370016A00000067701011103130066801234567"), Defect.BAD_PROXY),
    (terms("29270016A0000006770101110403014"), Defect.BAD_PROXY),
    (terms("29460016A000000677010114011300668012345670505SHORT"), Defect.BAD_REFERENCE),
    (terms("30450016A000000677010112011401234567890123" + "0203R11"), Defect.BAD_BILLER),
    (terms("30640016A0000006770101120115012345678901234" + "0221" + "R" * 21), Defect.BAD_REFERENCE),
    (terms(MOBILE, "54051.001"), Defect.TOO_MANY_DECIMALS),
    (terms(MOBILE, "54051.000"), Defect.TOO_MANY_DECIMALS),
    (terms(MOBILE, "54010"), Defect.ZERO_AMOUNT),
    (terms(MOBILE, "54040.00"), Defect.ZERO_AMOUNT),
    (terms(MOBILE, "54021."), Defect.BAD_AMOUNT),
    (terms(MOBILE, "5402.1"), Defect.BAD_AMOUNT),
    (terms(MOBILE, "5402-1"), Defect.BAD_AMOUNT),
    (terms(MOBILE, "5402+1"), Defect.BAD_AMOUNT),
    (terms(MOBILE, "54031e3"), Defect.BAD_AMOUNT),
    (terms(MOBILE, "54041,50"), Defect.BAD_AMOUNT),
    (terms(MOBILE, "5402 1"), Defect.BAD_AMOUNT),
    (terms(MOBILE, "541112345678901"), Defect.BAD_AMOUNT),
    (code("010213", MOBILE, "5303764", "5802TH"), Defect.BAD_INITIATION),
    (code("010211", MOBILE, "5303840", "5802TH"), Defect.FOREIGN_CURRENCY),
    (code("010211", MOBILE, "5303764", "5802SG"), Defect.FOREIGN_COUNTRY),
    (terms(MOBILE, "550202", "5604" + "5.00"), Defect.SURCHARGE),
    ("010211" + GOOD, Defect.DUPLICATE_TAG),
    ("010211" + GOOD[:6] + GOOD[12:], Defect.MISPLACED_TAG),
    (GOOD + "5904SHOP", Defect.MISPLACED_TAG),
    (GOOD[:-8] + "6305" + "61971", Defect.BAD_LENGTH),
    ("000202" + GOOD[6:], Defect.UNSUPPORTED_FORMAT),
    (GOOD[:-4] + "6198", Defect.BAD_CRC),
    (PUBLISHED[5][0][:-4] + "7c0f", Defect.BAD_CRC),
    ("004000060000010103002021900021231231212000115102TH91049C30", Defect.MISSING_TAG),
]


@pytest.mark.parametrize(("raw", "defect"), DEFECTS)
def test_every_malformed_code_is_refused_with_the_name_of_its_defect(raw: str, defect: Defect) -> None:
    """One error type, one stable code for each."""
    with pytest.raises(BadQr) as refused:
        decode(raw)
    assert (refused.value.code, refused.value.defect) == (defect.value, defect)


def test_the_longest_code_is_read() -> None:
    """The bound itself is allowed; one more is not."""
    filling = [f"{tag}99" + "x" * 99 for tag in range(80, 84)]
    room = LENGTH_MAX - len(terms(MOBILE, *filling)) - 4
    longest = terms(MOBILE, *filling, f"84{room:02d}" + "x" * room)
    assert len(longest) == LENGTH_MAX
    assert decode(longest).amount_satang is None
    with pytest.raises(BadQr) as refused:
        decode(terms(MOBILE, *filling, f"84{room + 1:02d}" + "x" * (room + 1)))
    assert refused.value.defect is Defect.TOO_LONG


def test_a_payment_of_another_amount_than_the_code_says_is_refused() -> None:
    """The payer names the amount only where the code leaves it open."""
    payee = Transfer(mobile("0801234567"))
    assert amount_to_pay(decode(encode(payee)), 500) == 500
    assert amount_to_pay(decode(encode(payee, amount_satang=500)), 500) == 500
    with pytest.raises(BadQr) as refused:
        amount_to_pay(decode(encode(payee, amount_satang=501)), 500)
    assert refused.value.defect is Defect.AMOUNT_MISMATCH


@pytest.mark.parametrize("amount_satang", [0, -1, AMOUNT_SATANG_MAX + 1])
def test_an_amount_that_no_code_can_carry_is_not_written(amount_satang: int) -> None:
    """Thirteen characters, and more than nothing."""
    with pytest.raises(BadQr) as refused:
        encode(Transfer(mobile("0801234567")), amount_satang=amount_satang)
    assert refused.value.defect is Defect.AMOUNT_OUT_OF_RANGE


@pytest.mark.parametrize(
    ("elements", "defect"),
    [
        ((("00", "A000000677010113"), ("01", "x" * 80)), Defect.BAD_LENGTH),
        ((("00", "A000000677010113"), ("01", "ก")), Defect.NON_ASCII),
        ((("00", "A000000677010113"), ("1", "x")), Defect.BAD_TAG),
        ((("00", "A000000677010111"),), Defect.UNKNOWN_AID),
        ((("01", "x"),), Defect.MISSING_TAG),
    ],
)
def test_an_opaque_payee_that_could_not_be_read_back_is_not_written(
    elements: tuple[tuple[str, str], ...], defect: Defect
) -> None:
    """Everything written can be read."""
    with pytest.raises(BadQr) as refused:
        encode(Innovation(elements))
    assert refused.value.defect is defect


@pytest.mark.parametrize("raw", [row[0] for row in PUBLISHED])
def test_nothing_personal_shows_in_a_representation_or_a_refusal(raw: str) -> None:
    """Logs print both."""
    shown = repr(decode(raw))
    assert raw not in shown
    for secret in ("66801234567", "1111111111111", "140000801111111", "1234567890", "CUSTOMER001", "SCB"):
        assert secret not in shown
    with pytest.raises(BadQr) as refused:
        decode(raw[:-4] + "0000")
    assert "66801234567" not in str(refused.value)


DIGITS = "0123456789"
TEXT = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=20)
ALNUM = "ABCXYZabcxyz" + DIGITS
PROXIES = st.one_of(
    st.builds(Proxy, st.just(ProxyKind.MOBILE), st.text(DIGITS, min_size=13, max_size=13)),
    st.builds(Proxy, st.just(ProxyKind.NATIONAL_ID), st.text(DIGITS, min_size=13, max_size=13)),
    st.builds(Proxy, st.just(ProxyKind.EWALLET), st.text(DIGITS, min_size=15, max_size=15)),
    st.builds(bank_account, st.text(DIGITS, min_size=3, max_size=3), st.text(ALNUM, min_size=1, max_size=40)),
)
PAYEES = st.one_of(
    st.builds(Transfer, PROXIES, st.none() | st.text(ALNUM, min_size=10, max_size=10)),
    st.builds(
        Bill,
        st.text(DIGITS, min_size=13, max_size=13) | st.text(DIGITS, min_size=15, max_size=15),
        TEXT,
        st.none() | TEXT,
        st.none() | TEXT,
        st.booleans(),
    ),
    st.builds(lambda value: Innovation((("00", "A000000677010113"), ("01", value))), TEXT),
)
AMOUNTS = st.none() | st.integers(1, AMOUNT_SATANG_MAX)
CODES = st.builds(
    lambda payee, amount_satang, dynamic: encode(payee, amount_satang=amount_satang, dynamic=dynamic),
    PAYEES,
    AMOUNTS,
    st.booleans(),
)


@given(payee=PAYEES, amount_satang=AMOUNTS, dynamic=st.booleans())
def test_what_is_written_is_read_back(*, payee: Payee, amount_satang: int | None, dynamic: bool) -> None:
    """Decoding inverts encoding, and encoding again changes no byte."""
    raw = encode(payee, amount_satang=amount_satang, dynamic=dynamic)
    read = decode(raw)
    assert (read.payee, read.amount_satang, read.dynamic) == (payee, amount_satang, dynamic)
    assert encode(read.payee, amount_satang=read.amount_satang, dynamic=read.dynamic) == raw


@given(st.text(max_size=600) | st.text(DIGITS, max_size=120) | st.binary(max_size=90).map(lambda raw: raw.hex()))
def test_arbitrary_text_is_read_or_refused(text: str) -> None:
    """Nothing but `BadQr` ever comes out."""
    with suppress(BadQr):
        assert decode(text).raw == text


@given(CODES, st.data())
def test_a_code_with_one_character_changed_is_refused(raw: str, data: st.DataObject) -> None:
    """The checksum finds every such slip, wherever it is, and nothing else than `BadQr` comes out."""
    position = data.draw(st.integers(0, len(raw) - 1))
    other = data.draw(st.characters())
    assume(other != raw[position])
    with pytest.raises(BadQr):
        decode(raw[:position] + other + raw[position + 1 :])


@given(CODES, st.data())
def test_a_code_cut_short_is_refused(raw: str, data: st.DataObject) -> None:
    """Every proper beginning lacks its checksum."""
    with pytest.raises(BadQr):
        decode(raw[: data.draw(st.integers(0, len(raw) - 1))])


@given(CODES, st.data())
def test_mutations_under_a_right_checksum_are_read_or_refused(raw: str, data: st.DataObject) -> None:
    """A checksum made for the mutated code lets the mutation reach every later check."""
    start = data.draw(st.integers(0, len(raw) - 8))
    stop = data.draw(st.integers(start, len(raw) - 8))
    filling = data.draw(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=12))
    body = raw[:start] + filling + raw[stop:-4]
    mutated = body + crc16_hex(body)
    try:
        read = decode(mutated)
    except BadQr:
        return
    assert read.raw == mutated
    again = decode(encode(read.payee, amount_satang=read.amount_satang, dynamic=read.dynamic))
    assert (again.payee, again.amount_satang) == (read.payee, read.amount_satang)
