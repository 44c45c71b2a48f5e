"""SBP payment links: what they ask for, and what every malformed one is refused for."""

from contextlib import suppress

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from adapters.crc import crc16_hex
from adapters.qp.link import LENGTH_MAX, BadLink, LinkDefect, LinkType, SbpLink, build, deep_link, parse

PUBLISHED = [
    (
        "https://qr.nspk.ru/AD100004BAL7227F9BNP6KNE007J9B3K?type=02&bank=100000000007&sum=1&cur=RUB&crc=AB75",
        "AD100004BAL7227F9BNP6KNE007J9B3K",
        "100000000007",
        1,
    ),
    (
        "https://qr.nspk.ru/AD10004MV5CJ3D638358RO81129CE63P?type=02&bank=100000000004&sum=30510&cur=RUB&crc=B754",
        "AD10004MV5CJ3D638358RO81129CE63P",
        "100000000004",
        30_510,
    ),
]
QRC_ID = "AS10000123456789ABCDEFGHIJKLMNOP"
BANK = "100000000007"
STATIC = f"https://qr.nspk.ru/{QRC_ID}?type=01&bank={BANK}"
DYNAMIC = f"https://qr.nspk.ru/{QRC_ID}?type=02&bank={BANK}"


def signed(covered: str, rest: str = "") -> str:
    """The link with its checksum, and whatever follows it."""
    return f"{covered}&crc={crc16_hex(covered)}{rest}"


@pytest.mark.parametrize(("raw", "qrc_id", "bank", "kopecks"), PUBLISHED)
def test_published_links_are_read_and_written_byte_for_byte(raw: str, qrc_id: str, bank: str, kopecks: int) -> None:
    """Real links of two banks."""
    link = SbpLink(raw, qrc_id, LinkType.DYNAMIC, bank, kopecks)
    assert parse(raw) == link
    assert build(qrc_id=qrc_id, bank=bank, amount_kopecks=kopecks, dynamic=True) == link


@pytest.mark.parametrize(("raw", "qrc_id", "bank", "kopecks"), PUBLISHED)
def test_the_link_of_a_banks_app_keeps_the_checksum_of_the_plain_one(
    raw: str, qrc_id: str, bank: str, kopecks: int
) -> None:
    """Only the scheme differs, and it names the payer's bank, not the participant in the link."""
    deep = deep_link(parse(raw), payer_bank="100000000111")
    assert deep == raw.replace("https", "bank100000000111")
    read = parse(deep)
    assert (read.raw, read.qrc_id, read.bank, read.amount_kopecks) == (deep, qrc_id, bank, kopecks)


def test_a_static_link_needs_no_amount() -> None:
    """Whoever pays names it."""
    link = build(qrc_id=QRC_ID, bank=BANK, amount_kopecks=None, dynamic=False)
    assert link.raw == signed(STATIC)
    assert (link.type, link.amount_kopecks) == (LinkType.STATIC, None)
    assert build(qrc_id=QRC_ID, bank=BANK, amount_kopecks=500, dynamic=False).amount_kopecks == 500


@pytest.mark.parametrize("rest", ["&sum=500", "&sum=500&cur=RUB", "&cur=RUB&sum=500"])
def test_a_static_link_may_carry_its_amount_behind_the_checksum(rest: str) -> None:
    """Sites append it; the checksum covers what stands before it."""
    link = parse(signed(STATIC, rest))
    assert (link.type, link.amount_kopecks) == (LinkType.STATIC, 500)


def test_a_parameter_that_the_checksum_covers_is_let_through() -> None:
    """The scheme may grow; order is never changed."""
    raw = signed(f"https://qr.nspk.ru/{QRC_ID}?bank={BANK}&new=1&type=02&cur=RUB&sum=7")
    link = parse(raw)
    assert (link.amount_kopecks, link.raw) == (7, raw)


def test_a_test_bench_writes_hexadecimal_ids() -> None:
    """32 of any letters and digits."""
    assert build(qrc_id="0123456789abcdef" * 2, bank=BANK, amount_kopecks=1, dynamic=True).qrc_id.endswith("abcdef")


GOOD = PUBLISHED[0][0]
DEFECTS = [
    ("", LinkDefect.EMPTY),
    (GOOD + "&x=" + "1" * LENGTH_MAX, LinkDefect.TOO_LONG),
    (GOOD + "\n", LinkDefect.NON_ASCII),
    (GOOD.replace("RUB", "РУБ"), LinkDefect.NON_ASCII),
    ("hello", LinkDefect.NOT_A_LINK),
    (GOOD.replace("https", "http"), LinkDefect.NOT_A_LINK),
    (GOOD.replace("https", "bank1"), LinkDefect.NOT_A_LINK),
    (GOOD.replace("?", "/"), LinkDefect.NOT_A_LINK),
    (GOOD.replace("qr.nspk.ru", "qr.nspk.ru.example"), LinkDefect.FOREIGN_HOST),
    (GOOD.replace("qr.nspk.ru", "sub.nspk.ru"), LinkDefect.UNSUPPORTED_TYPE),
    (GOOD.replace("9B3K", "9B3"), LinkDefect.BAD_QRC_ID),
    (GOOD.replace("9B3K", "9B3-"), LinkDefect.BAD_QRC_ID),
    (GOOD.replace("AB75", "AB76"), LinkDefect.BAD_CRC),
    (GOOD.replace("AB75", "ab75"), LinkDefect.BAD_CRC),
    (GOOD.replace("AB75", "AB7"), LinkDefect.BAD_CRC),
    (GOOD.replace("AB75", ""), LinkDefect.BAD_CRC),
    (GOOD.replace("sum=1", "sum=2"), LinkDefect.BAD_CRC),
    (GOOD[: GOOD.index("&crc")], LinkDefect.MISSING_PARAMETER),
    (signed(f"https://qr.nspk.ru/{QRC_ID}?bank={BANK}&sum=1&cur=RUB"), LinkDefect.MISSING_PARAMETER),
    (signed(f"https://qr.nspk.ru/{QRC_ID}?type=01"), LinkDefect.MISSING_PARAMETER),
    (signed(DYNAMIC), LinkDefect.MISSING_PARAMETER),
    (signed(DYNAMIC + "&cur=RUB"), LinkDefect.MISSING_PARAMETER),
    (signed(DYNAMIC, "&sum=500"), LinkDefect.UNCOVERED_PARAMETER),
    (signed(STATIC, "&bank=100000000004"), LinkDefect.UNCOVERED_PARAMETER),
    (signed(STATIC, "&crc=0000"), LinkDefect.UNCOVERED_PARAMETER),
    (signed(STATIC + "&sum=1&cur=RUB", "&sum=2"), LinkDefect.DUPLICATE_PARAMETER),
    (signed(STATIC, "&sum=1&sum=2"), LinkDefect.DUPLICATE_PARAMETER),
    (signed(DYNAMIC + "&sum=1&sum=2&cur=RUB"), LinkDefect.DUPLICATE_PARAMETER),
    (signed(STATIC, "&"), LinkDefect.BAD_PARAMETER),
    (signed(STATIC + "&sum"), LinkDefect.BAD_PARAMETER),
    (signed(STATIC + "&sum="), LinkDefect.BAD_PARAMETER),
    (signed(STATIC + "&&cur=RUB"), LinkDefect.BAD_PARAMETER),
    (signed(STATIC.replace("type=01", "type=03")), LinkDefect.UNSUPPORTED_TYPE),
    (signed(STATIC.replace(BANK, "10000007")), LinkDefect.BAD_BANK),
    (signed(DYNAMIC + "&sum=0&cur=RUB"), LinkDefect.BAD_AMOUNT),
    (signed(DYNAMIC + "&sum=-1&cur=RUB"), LinkDefect.BAD_AMOUNT),
    (signed(DYNAMIC + "&sum=1.5&cur=RUB"), LinkDefect.BAD_AMOUNT),
    (signed(DYNAMIC + "&sum=007&cur=RUB"), LinkDefect.BAD_AMOUNT),
    (signed(DYNAMIC + "&sum=1" + "0" * 12 + "&cur=RUB"), LinkDefect.BAD_AMOUNT),
    (signed(DYNAMIC + "&sum=1&cur=USD"), LinkDefect.FOREIGN_CURRENCY),
    (signed(DYNAMIC + "&sum=1"), LinkDefect.FOREIGN_CURRENCY),
    (signed(STATIC, "&sum=1&cur=USD"), LinkDefect.FOREIGN_CURRENCY),
]


@pytest.mark.parametrize(("raw", "defect"), DEFECTS)
def test_every_malformed_link_is_refused_with_the_name_of_its_defect(raw: str, defect: LinkDefect) -> None:
    """One error type, one stable code for each."""
    with pytest.raises(BadLink) as refused:
        parse(raw)
    assert (refused.value.code, refused.value.defect) == (defect.value, defect)


@pytest.mark.parametrize(
    ("qrc_id", "bank", "kopecks", "defect"),
    [
        ("short", BANK, 1, LinkDefect.BAD_QRC_ID),
        ("\ud800" * 32, BANK, 1, LinkDefect.BAD_QRC_ID),
        (QRC_ID, "7", 1, LinkDefect.BAD_BANK),
        (QRC_ID, BANK, 0, LinkDefect.BAD_AMOUNT),
        (QRC_ID, BANK, None, LinkDefect.MISSING_PARAMETER),
    ],
)
def test_a_dynamic_link_that_could_not_be_read_is_not_built(
    qrc_id: str, bank: str, kopecks: int | None, defect: LinkDefect
) -> None:
    """Everything built can be read."""
    with pytest.raises(BadLink) as refused:
        build(qrc_id=qrc_id, bank=bank, amount_kopecks=kopecks, dynamic=True)
    assert refused.value.defect is defect


def test_a_payers_bank_has_twelve_digits() -> None:
    """It becomes part of a scheme."""
    with pytest.raises(BadLink):
        deep_link(parse(GOOD), payer_bank="sber")


LINKS = st.builds(
    lambda qrc_id, bank, kopecks, dynamic: build(
        qrc_id=qrc_id, bank=bank, amount_kopecks=kopecks, dynamic=dynamic and kopecks is not None
    ),
    st.text("0123456789ABCDEFGHIJKLMNOPQRSTUV", min_size=32, max_size=32),
    st.text("0123456789", min_size=12, max_size=12),
    st.none() | st.integers(1, 10**12 - 1),
    st.booleans(),
)


@given(LINKS)
def test_what_is_built_is_read_back(link: SbpLink) -> None:
    """Building from what was read changes no byte."""
    read = parse(link.raw)
    assert read == link
    dynamic = read.type is LinkType.DYNAMIC
    assert build(qrc_id=read.qrc_id, bank=read.bank, amount_kopecks=read.amount_kopecks, dynamic=dynamic) == link


@given(st.text(max_size=600) | st.text("htps:/qr.nku?&=0123456789ABcrcsumbank", max_size=120))
def test_arbitrary_text_is_a_link_or_refused(text: str) -> None:
    """Nothing but `BadLink` comes out."""
    with suppress(BadLink):
        parse(text)


@given(LINKS, st.data())
def test_a_link_with_one_character_changed_is_refused(link: SbpLink, data: st.DataObject) -> None:
    """The checksum finds every such slip."""
    position = data.draw(st.integers(0, len(link.raw) - 1))
    other = data.draw(st.characters())
    assume(other != link.raw[position])
    with pytest.raises(BadLink):
        parse(link.raw[:position] + other + link.raw[position + 1 :])


@given(LINKS, st.data())
def test_mutations_under_a_right_checksum_are_read_or_refused(link: SbpLink, data: st.DataObject) -> None:
    """A checksum made for the mutated link lets the mutation reach every later check."""
    covered = link.raw.partition("&crc=")[0]
    start = data.draw(st.integers(0, len(covered)))
    stop = data.draw(st.integers(start, len(covered)))
    filling = data.draw(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=12))
    mutated = signed(covered[:start] + filling + covered[stop:])
    with suppress(BadLink):
        assert parse(mutated).raw == mutated
