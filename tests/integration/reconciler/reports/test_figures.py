"""A report's figures, against a history that is known to the last minor unit, on both ledgers."""

import asyncio

from reconciler.reports.contents import Balance, FeeTotal, OperationTotal, PspTotal
from reconciler.reports.formats import write_json
from reconciler.reports.reading import make_report
from tests.integration.reconciler.reports.history import History


async def two_days(history: History) -> None:
    """Money comes in, is passed on for a fee and partly leaves; the second day pays out what the first one held."""
    await history.deposit(100_000)
    await history.transfer(30_000, fee=150)
    held = await history.withdraw(20_000)
    doubtful = await history.withdraw(5_000, state="IN_DOUBT")
    await history.end_day()
    await history.settle(held, [19_500, 19_500])
    await history.give_back(doubtful, 2)
    await history.deposit(7_000, "JPY")
    await history.end_day()
    await history.transfer(1_000)


async def test_every_figure_is_what_happened(history: History) -> None:
    """The first day: balances, operations, PSPs and fees."""
    await two_days(history)
    report = await history.report(0)
    assert report.period.complete
    assert [line.account for line in report.balances] == [
        "fee:house:THB", "psp:ipps:THB", "psp:qp:THB", "transit:THB", "user:*:THB",
    ]  # fmt: skip
    by_name = {line.account: line for line in report.balances}
    assert by_name["user:*:THB"] == Balance("user:*:THB", "THB", 0, 30_150, 130_000, 99_850, 25_000, 0)
    assert by_name["psp:ipps:THB"] == Balance("psp:ipps:THB", "THB", 0, 0, 0, 0, 0, 25_000)
    assert by_name["fee:house:THB"].closing_minor == 150
    assert report.operations == (
        OperationTotal("", "P2P_TRANSFER", "THB", 1, 30_000, 150, 0, 0, 0, 0),
        OperationTotal("ipps", "IPPS_WITHDRAWAL", "THB", 0, 0, 0, 2, 25_000, 0, 0),
        OperationTotal("qp", "QP_TOPUP", "THB", 1, 100_000, 0, 0, 0, 0, 0),
    )
    assert report.psps == (
        PspTotal("ipps", "THB", 0, 0, 0, 0, 0, 0),
        PspTotal("qp", "THB", 0, 1, 100_000, 0, 0, 100_000),
    )
    assert report.fees == (FeeTotal("fee:house:THB", "P2P_TRANSFER", "", "THB", 1, 150),)
    assert [check for check in report.checks if not check.holds] == []


async def test_a_day_opens_with_what_the_one_before_closed_with(history: History) -> None:
    """And what moved in between explains every account; holds and posts have days of their own."""
    await two_days(history)
    first, second = await history.report(0), await history.report(1)
    closing = {line.account: line.closing_minor for line in first.balances}
    for line in second.balances:
        assert line.opening_minor == closing.get(line.account, 0)
        assert line.closing_minor == line.opening_minor + line.credits_minor - line.debits_minor
        assert (line.held_minor, line.due_minor) == (0, 0)
    by_name = {line.account: line for line in second.balances}
    assert by_name["user:*:THB"] == Balance("user:*:THB", "THB", 99_850, 19_500, 0, 80_350, 0, 0)
    assert by_name["transit:THB"].closing_minor == 0
    paid, given_up = 19_500, 5_000
    assert OperationTotal("ipps", "IPPS_WITHDRAWAL", "THB", 1, paid, 0, 0, 0, 1, given_up) in second.operations
    assert PspTotal("ipps", "THB", 0, 0, 0, 1, paid, -paid) in second.psps
    assert second.exponents == {"JPY": 0, "THB": 2}
    assert second.holds


async def test_what_was_open_when_the_day_ended_is_told_though_it_has_ended_since(history: History) -> None:
    """The first day's withdrawals were settled and given back on the second."""
    await two_days(history)
    first, second = await history.report(0), await history.report(1)
    assert first.open_intents is not None
    assert [(line.state, line.psp, line.intents, line.amount_minor) for line in first.open_intents] == [
        ("AUTHORIZED", "ipps", 1, 20_000),
        ("IN_DOUBT", "ipps", 1, 5_000),
    ]
    assert second.open_intents == ()


async def test_a_past_day_reads_the_same_whatever_has_happened_since(history: History) -> None:
    """Byte for byte, counted in other pages by another process, with later days and later endings."""
    await two_days(history)
    before = write_json(await history.report(0))
    for _ in range(3):
        await history.transfer(10)
        await history.end_day()
    await history.transfer(10)
    await history.digest(page=3).to_the_end()
    assert write_json(await make_report(history.pool, history.day(0))) == before


async def test_the_ledger_decides_which_day_a_late_event_belongs_to(history: History) -> None:
    """A payment that the log hears of after midnight counts for the day in which its money moved."""
    intent = await history.deposit(5_000)
    await history.end_day()
    await history.transfer(1)
    await history.pool.execute(
        "INSERT INTO pm.intent_event (intent_id, seq, from_state, to_state) VALUES ($1, 2, 'AUTHORIZED', 'SETTLED')",
        intent,
    )
    report = await history.report(0)
    assert [line.amount_minor for line in report.operations] == [5_000]


async def test_a_chain_across_midnight_belongs_to_one_day(history: History) -> None:
    """The day that it began in, whole: transit stands at zero when the day ends."""
    await history.deposit(5_000)
    await history.transfer(700, fee=5)
    await history.end_day(before_last=3)
    await history.transfer(300)
    first, second = await history.report(0), await history.report(1)
    assert first.period.complete
    assert [line.closing_minor for line in first.balances if line.account == "transit:THB"] == [0]
    assert [line.amount_minor for line in first.operations] == [700, 5_000]
    assert [line.amount_minor for line in second.operations] == [300]
    assert first.holds
    assert second.holds


async def test_two_digests_at_once_count_nothing_twice(history: History) -> None:
    """They walk the same pages; whoever comes second counts nothing."""
    await two_days(history)
    await asyncio.gather(*(history.digest(page=5).to_the_end() for _ in range(3)))
    for number in (0, 1):
        report = await make_report(history.pool, history.day(number))
        assert report.holds
    first = await make_report(history.pool, history.day(0))
    assert [line.amount_minor for line in first.operations] == [30_000, 0, 100_000]


async def test_the_digest_and_the_ledger_say_the_same_of_every_account(history: History) -> None:
    """What was added up page by page is what the ledger keeps as a balance."""
    await two_days(history)
    report = await history.report(2)
    assert not report.period.complete
    # The shared server's transit has seen other tests' holds.
    house = {line.account: line for line in report.balances if line.account.split(":")[0] in ("psp", "fee")}
    rows = await history.pool.fetch("SELECT name, id FROM pm.tb_account_map WHERE name = ANY ($1)", list(house))
    accounts = {account.id: account for account in await history.ledger.lookup_accounts([r["id"].int for r in rows])}
    assert len(accounts) == len(house)
    for row in rows:
        account, line = accounts[row["id"].int], house[row["name"]]
        assert account.credits_posted - account.debits_posted == line.closing_minor
        assert (account.debits_pending, account.credits_pending) == (line.held_minor, line.due_minor)
