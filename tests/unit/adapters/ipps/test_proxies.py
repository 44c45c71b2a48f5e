"""The names by which PromptPay knows an account."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.ipps.defects import BadQr, Defect
from adapters.ipps.proxies import (
    Proxy,
    ProxyKind,
    bank_account,
    check_national_id,
    ewallet,
    mobile,
    national_id,
    truemoney_wallet,
)


@pytest.mark.parametrize(
    "text",
    [
        "0801234567",
        "080-123-4567",
        "(080) 123 4567",
        "080.123.4567",
        "66801234567",
        "+66801234567",
        "+66 80-123-4567",
        "0066801234567",
        " 0801234567 ",
    ],
)
def test_every_way_to_write_a_mobile_is_one_proxy(text: str) -> None:
    """Thirteen digits, 0066 in front."""
    assert mobile(text) == Proxy(ProxyKind.MOBILE, "0066801234567")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "080123456",
        "08012345678",
        "+1 202 555 0123",
        "66066801234567",
        "080x1234567",
        "080\u06601234567",
        "٠٨٠١٢٣٤٥٦٧",
        "0801234567;0801234568",
        "0000000000000",
    ],
)
def test_what_is_no_thai_mobile_is_refused(text: str) -> None:
    """A digit too few or too many would pay a stranger."""
    with pytest.raises(BadQr) as refused:
        mobile(text)
    assert refused.value.defect is Defect.BAD_PROXY


@given(st.text("0123456789", min_size=9, max_size=9))
def test_a_mobile_that_was_normalised_stays_as_it_is(digits: str) -> None:
    """Normalising twice is normalising once."""
    once = mobile("0" + digits)
    assert once.value == "0066" + digits
    assert mobile(once.value) == once


@given(st.text(max_size=30) | st.text("0123456789+-() .", max_size=20))
def test_any_text_is_a_mobile_or_refused(text: str) -> None:
    """Nothing but `BadQr` comes out."""
    with suppress(BadQr):
        assert len(mobile(text).value) == 13


@pytest.mark.parametrize(
    ("proxy", "kind", "value"),
    [
        (national_id("1-1111-11111-11-1"), ProxyKind.NATIONAL_ID, "1111111111111"),
        (ewallet("140000801111111"), ProxyKind.EWALLET, "140000801111111"),
        (truemoney_wallet("080-111-1111"), ProxyKind.EWALLET, "140066801111111"),
        (bank_account("014", "123-456-7890"), ProxyKind.BANK_ACCOUNT, "0141234567890"),
    ],
)
def test_proxies_hold_their_value_as_it_travels(proxy: Proxy, kind: ProxyKind, value: str) -> None:
    """Separators are people's; the wire has none."""
    assert (proxy.kind, proxy.value) == (kind, value)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (ProxyKind.MOBILE, "0801234567"),
        (ProxyKind.NATIONAL_ID, "123456789012"),
        (ProxyKind.EWALLET, "1234567890123"),
        (ProxyKind.BANK_ACCOUNT, "014"),
        (ProxyKind.BANK_ACCOUNT, "014" + "1" * 41),
        (ProxyKind.BANK_ACCOUNT, "0x41234567890"),
        (ProxyKind.MOBILE, "0066801234567\n"),
    ],
)
def test_a_value_of_another_form_than_its_kind_is_refused(kind: ProxyKind, value: str) -> None:
    """However it was made."""
    with pytest.raises(BadQr) as refused:
        Proxy(kind, value)
    assert refused.value.defect is Defect.BAD_PROXY


def test_a_bank_code_has_three_digits() -> None:
    """Otherwise the account would begin inside it."""
    with pytest.raises(BadQr):
        bank_account("14", "1234567890")


def test_the_check_digit_follows_from_the_twelve_before_it() -> None:
    """Exactly one last digit in ten is right, worked out by hand for one number."""
    # 1·13+2·12+3·11+4·10+5·9+6·8+7·7+8·6+9·5+0·4+1·3+2·2 = 352, remainder 0 by 11, so 11 and thus 1.
    check_national_id("1234567890121")
    for digit in "023456789":
        with pytest.raises(BadQr) as refused:
            check_national_id("123456789012" + digit)
        assert refused.value.defect is Defect.BAD_CHECK_DIGIT


@given(st.text("0123456789", min_size=12, max_size=12))
def test_every_twelve_digits_have_exactly_one_check_digit(twelve: str) -> None:
    """A law of the formula."""
    right = []
    for digit in "0123456789":
        try:
            check_national_id(twelve + digit)
        except BadQr:
            continue
        right.append(digit)
    assert len(right) == 1


def test_codes_are_read_without_their_check_digit_being_right() -> None:
    """Published codes violate it; only whoever pays asks for it."""
    assert national_id("1111111111111").value == "1111111111111"
    with pytest.raises(BadQr):
        check_national_id("1111111111111")


@pytest.mark.parametrize("value", ["", "123456789012", "12345678901211", "123456789012x", "١٢٣٤٥٦٧٨٩٠١٢١"])
def test_a_national_id_of_another_form_has_no_check_digit(value: str) -> None:
    """Thirteen ASCII digits."""
    with pytest.raises(BadQr) as refused:
        check_national_id(value)
    assert refused.value.defect is Defect.BAD_PROXY


def test_a_proxy_does_not_show_its_value() -> None:
    """Logs print representations."""
    assert "66801234567" not in repr(mobile("0801234567"))
