"""Lines of settlement files: what they say, and why a line makes no sense."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.ipps.settlement_file import SETTLEMENT as IPPS
from adapters.qp.settlement_file import SETTLEMENT as QP
from shared.settlement.layout import LINE_BYTES_MAX, Amounts, Column, Value
from shared.settlement.lines import BadFile, Batch, LineReader

GOOD = (
    b"D" + b"REF000000000001" + b"TXN00000000000000001" + b"SETTLED   " + b" " * 20 + b"000000000012345THB00000000500"
)
GOOD += b"20261120101112"
NAMES = b"order,paymentId,kind,status,amount,currency,fee,occurredAt"
PAID = b"O1,P1,PAYMENT,ACCEPTED,30510,RUB,214,2026-11-20T09:15:00.000Z"


def qp(*lines: bytes) -> Batch:
    """Read lines of QP."""
    return LineReader(QP).read([NAMES, *lines], 1)


def test_a_fixed_line_says_who_what_and_when() -> None:
    """Bangkok is seven hours ahead."""
    batch = LineReader(IPPS).read([b"HIPPS20261120", GOOD, b"T000000001000000000000012345"], 1)
    assert (batch.numbers, batch.references, batch.transactions) == ([2], ["REF000000000001"], ["TXN00000000000000001"])
    assert (batch.means, batch.amounts, batch.currencies, batch.fees) == (["paid"], [12_345], ["THB"], [500])
    assert batch.times == [datetime(2026, 11, 20, 3, 11, 12, tzinfo=UTC)]
    assert (batch.keys, batch.odd) == (["TXN00000000000000001:paid"], [False])
    assert (batch.trailers, batch.counted, batch.refused) == ([(1, 12_345)], 1, [])


def test_a_csv_line_says_who_what_and_when() -> None:
    """Columns are found by their names; others are passed over."""
    batch = qp(PAID, b"#TOTAL,1,30510")
    assert (batch.numbers, batch.references, batch.transactions) == ([2], ["O1"], ["P1"])
    assert (batch.means, batch.amounts, batch.fees, batch.odd) == (["paid"], [30_510], [214], [False])
    assert batch.times == [datetime(2026, 11, 20, 9, 15, tzinfo=UTC)]
    assert batch.trailers == [(1, 30_510)]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (PAID.replace(b"30510", b"30510.00"), "amount"),
        (PAID.replace(b"30510", b"-1"), "amount"),
        (PAID.replace(b"30510", b"0"), "amount"),
        (PAID.replace(b"30510", b""), "amount"),
        (PAID.replace(b"30510", b"9" * 19), "amount"),
        (PAID.replace(b"30510", b"9" * 5000), "amount"),
        (PAID.replace(b"30510", "\uff13".encode()), "amount"),
        (PAID.replace(b"RUB", b"XXQ"), "currency"),
        (PAID.replace(b"RUB", b"rub"), "currency"),
        (PAID.replace(b"ACCEPTED", b"MAYBE"), "unknown_status"),
        (PAID.replace(b"214", b"x"), "fee"),
        (PAID.replace(b"214", b"9" * 19), "fee"),
        (PAID.replace(b"2026-11-20T09", b"yesterday"), "at"),
        (PAID.replace(b"2026-11-20T09:15:00.000Z", b"9999-12-31T23:59:59-01:00"), "at"),
        (PAID.replace(b"2026-11-20T09:15:00.000Z", b"0001-01-01T00:00:00Z"), "at"),
        (PAID.replace(b"O1", b"O 1"), "reference"),
        (PAID.replace(b"P1", b"P" * 65), "transaction"),
        (PAID.replace(b"O1,P1", b","), "names_nothing"),
        (PAID + b",more", "wrong_length"),
        (b"O1,P1", "wrong_length"),
        (b'"' + PAID, "quotes"),
        (PAID.replace(b"O1", b"\xff"), "not_text"),
        (b"x" * (LINE_BYTES_MAX + 1), "too_long"),
    ],
)
def test_a_line_that_makes_no_sense_is_named_and_the_next_is_read(line: bytes, reason: str) -> None:
    """By number and reason, never by what stands in it."""
    batch = qp(line, PAID)
    assert batch.refused == [(2, reason)]
    assert (batch.numbers, batch.counted) == ([3], 2)


@pytest.mark.parametrize(
    ("line", "reason"),
    [(GOOD[:-1], "wrong_length"), (b"X" + GOOD[1:], "unknown_mark"), (GOOD[:-14] + b"20261320101112", "at")],
)
def test_a_fixed_line_of_another_length_or_mark_makes_no_sense(line: bytes, reason: str) -> None:
    """Shifted by one place, every value would be another."""
    assert LineReader(IPPS).read([line], 7).refused == [(7, reason)]


def test_a_fee_that_is_off_makes_a_line_odd() -> None:
    """It is looked at again; within the tolerance it is not."""
    assert qp(PAID.replace(b"214", b"215")).odd == [False]
    assert qp(PAID.replace(b"214", b"216")).odd == [True]
    assert qp(PAID.replace(b"214", b"")).odd == [False]


def test_quoted_values_are_read_and_a_mark_left_open_swallows_nothing() -> None:
    """The next line is a line of its own."""
    batch = qp(b'"O1","P1","a, b",ACCEPTED,30510,RUB,214,', b'"O2,P2', PAID.replace(b"P1", b"P3"))
    assert (batch.transactions, batch.refused) == (["P1", "P3"], [(3, "quotes")])


@pytest.mark.parametrize(
    ("text", "minor"), [(b"305.10", 30_510), (b"305", 30_500), (b"305.1", 30_510), (b"305.", None), (b".10", None)]
)
def test_decimal_amounts_are_read_by_their_currency(text: bytes, minor: int | None) -> None:
    """Never through a float."""
    reader = LineReader(replace(QP, amounts=Amounts.DECIMAL))
    batch = reader.read([NAMES, PAID.replace(b"30510", text).replace(b"214", b"2.14")], 1)
    assert batch.amounts == ([] if minor is None else [minor])


def test_a_file_that_does_not_name_its_columns_is_another_file() -> None:
    """Nothing of it is read."""
    with pytest.raises(BadFile, match="fee"):
        LineReader(QP).read([NAMES.replace(b"fee", b"tax"), PAID], 1)


def test_a_line_about_a_whole_batch_is_told_from_its_members() -> None:
    """It names the batch and nothing else; no payment can have its key."""
    layout = replace(QP, columns={**QP.columns, Value.BATCH: Column("kind")})
    batch = LineReader(layout).read([NAMES, PAID, PAID.replace(b"O1,P1", b",")], 1)
    assert batch.batches == ["PAYMENT", "PAYMENT"]
    assert batch.keys == ["P1:paid", "batch PAYMENT:paid"]


@given(st.lists(st.binary(max_size=200).filter(lambda line: b"\n" not in line), max_size=20))
def test_no_bytes_break_the_reader(lines: list[bytes]) -> None:
    """Every line is a payment, a reason, or none of a payment's business."""
    for layout, first in ((QP, [NAMES]), (IPPS, [])):
        batch = LineReader(layout).read([*first, *lines], 1)
        assert len(batch.numbers) + len(batch.refused) == batch.counted
        assert len({len(column) for column in (batch.keys, batch.means, batch.amounts, batch.times, batch.odd)}) == 1


@pytest.mark.parametrize("trailer", [b'#TOTAL,"1,30510', b"#TOTAL," + b"9" * 5000 + b",30510"])
def test_a_trailer_that_makes_no_sense_ends_no_reader(trailer: bytes) -> None:
    """It counts otherwise than anybody can, so that the file differs from what it says of itself."""
    count, _ = qp(PAID, trailer).trailers[0]
    assert count == -1


def test_a_line_of_names_that_cannot_be_taken_apart_is_of_no_file_of_ours() -> None:
    """The file is refused; nothing else is."""
    with pytest.raises(BadFile, match="names no columns"):
        LineReader(QP).read([b'"' + NAMES, PAID], 1)
