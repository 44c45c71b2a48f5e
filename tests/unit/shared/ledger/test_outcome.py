"""The crash algebra, held against a table of every status, phase and place in a chain."""

import itertools

import pytest
from tigerbeetle import CreateTransferStatus as Status

from shared.errors import InvariantViolation
from shared.ids import Phase
from shared.ledger.outcome import ChainOutcome, Verdict, chain_outcome

PHASES = (Phase.MOVE, Phase.POST, Phase.VOID, Phase.LIMIT, Phase.CREDIT, Phase.SUSPENSE, Phase.BURN)

# How to read the tables: one column a phase, in the order above.
#   done      in the books                            confirm   in the books, if a look-up finds every id
#   declined  never happened, never will              stuck     refused, decides nothing, pages
#   posted    the hold had been posted                voided    the hold had been given back
#   voided!   the same, and that is a critical break  burned    the attempt can never happen
#   commit    the attempt had committed               -         contradiction
# A status that is not in a table is a contradiction in every phase.

ALONE = """
                                  MOVE     POST    VOID    LIMIT   CREDIT  SUSPENSE  BURN
CREATED                           done     done    done    done    done    done      -
EXISTS                            done     done    done    done    done    done      -
EXCEEDS_CREDITS                   declined stuck   stuck   stuck   stuck   stuck     -
EXCEEDS_DEBITS                    declined stuck   stuck   stuck   stuck   stuck     -
DEBIT_ACCOUNT_NOT_FOUND           declined stuck   stuck   stuck   stuck   stuck     burned
CREDIT_ACCOUNT_NOT_FOUND          declined stuck   stuck   stuck   stuck   stuck     -
DEBIT_ACCOUNT_ALREADY_CLOSED      declined stuck   stuck   stuck   stuck   stuck     -
CREDIT_ACCOUNT_ALREADY_CLOSED     declined stuck   stuck   stuck   stuck   stuck     -
PENDING_TRANSFER_NOT_FOUND        declined stuck   stuck   stuck   stuck   stuck     -
ID_ALREADY_FAILED                 declined stuck   stuck   stuck   stuck   stuck     burned
PENDING_TRANSFER_ALREADY_POSTED   -        posted  posted  posted  -       -         -
PENDING_TRANSFER_ALREADY_VOIDED   -        voided! voided  voided! -       -         -
EXISTS_WITH_DIFFERENT_FLAGS             -  -       -       -       -       -         commit
EXISTS_WITH_DIFFERENT_PENDING_ID        -  -       -       -       -       -         commit
EXISTS_WITH_DIFFERENT_TIMEOUT           -  -       -       -       -       -         commit
EXISTS_WITH_DIFFERENT_DEBIT_ACCOUNT_ID  -  -       -       -       -       -         commit
EXISTS_WITH_DIFFERENT_CREDIT_ACCOUNT_ID -  -       -       -       -       -         commit
EXISTS_WITH_DIFFERENT_AMOUNT            -  -       -       -       -       -         commit
EXISTS_WITH_DIFFERENT_USER_DATA_128     -  -       -       -       -       -         commit
EXISTS_WITH_DIFFERENT_USER_DATA_64      -  -       -       -       -       -         commit
EXISTS_WITH_DIFFERENT_USER_DATA_32      -  -       -       -       -       -         commit
EXISTS_WITH_DIFFERENT_LEDGER            -  -       -       -       -       -         commit
EXISTS_WITH_DIFFERENT_CODE              -  -       -       -       -       -         commit
"""

FIRST_OF_SEVERAL = """
                                  MOVE     POST    VOID    LIMIT   CREDIT  SUSPENSE  BURN
EXISTS                            confirm  confirm confirm confirm confirm confirm   -
EXCEEDS_CREDITS                   declined stuck   stuck   stuck   stuck   stuck     -
EXCEEDS_DEBITS                    declined stuck   stuck   stuck   stuck   stuck     -
DEBIT_ACCOUNT_NOT_FOUND           declined stuck   stuck   stuck   stuck   stuck     -
CREDIT_ACCOUNT_NOT_FOUND          declined stuck   stuck   stuck   stuck   stuck     -
DEBIT_ACCOUNT_ALREADY_CLOSED      declined stuck   stuck   stuck   stuck   stuck     -
CREDIT_ACCOUNT_ALREADY_CLOSED     declined stuck   stuck   stuck   stuck   stuck     -
PENDING_TRANSFER_NOT_FOUND        declined stuck   stuck   stuck   stuck   stuck     -
ID_ALREADY_FAILED                 declined stuck   stuck   stuck   stuck   stuck     -
PENDING_TRANSFER_ALREADY_POSTED   -        posted  posted  posted  -       -         -
PENDING_TRANSFER_ALREADY_VOIDED   -        voided! voided  voided! -       -         -
"""

LATER_OF_SEVERAL = """
                                  MOVE     POST    VOID    LIMIT   CREDIT  SUSPENSE  BURN
EXCEEDS_CREDITS                   declined stuck   stuck   stuck   stuck   stuck     -
EXCEEDS_DEBITS                    declined stuck   stuck   stuck   stuck   stuck     -
DEBIT_ACCOUNT_NOT_FOUND           declined stuck   stuck   stuck   stuck   stuck     -
CREDIT_ACCOUNT_NOT_FOUND          declined stuck   stuck   stuck   stuck   stuck     -
DEBIT_ACCOUNT_ALREADY_CLOSED      declined stuck   stuck   stuck   stuck   stuck     -
CREDIT_ACCOUNT_ALREADY_CLOSED     declined stuck   stuck   stuck   stuck   stuck     -
PENDING_TRANSFER_NOT_FOUND        declined stuck   stuck   stuck   stuck   stuck     -
ID_ALREADY_FAILED                 declined stuck   stuck   stuck   stuck   stuck     -
"""

WORDS = {
    "done": (ChainOutcome.DONE, False),
    "confirm": (ChainOutcome.CONFIRM, False),
    "declined": (ChainOutcome.DECLINED, False),
    "stuck": (ChainOutcome.STUCK, True),
    "posted": (ChainOutcome.ALREADY_POSTED, False),
    "voided": (ChainOutcome.ALREADY_VOIDED, False),
    "voided!": (ChainOutcome.ALREADY_VOIDED, True),
    "burned": (ChainOutcome.BURNED, False),
    "commit": (ChainOutcome.HAD_COMMITTED, False),
    "-": None,
}
Cell = tuple[ChainOutcome, bool] | None


def _read(text: str) -> dict[tuple[Phase, Status], Cell]:
    header, *rows = [line.split() for line in text.strip().splitlines()]
    phases = [Phase[name] for name in header]
    assert tuple(phases) == PHASES
    return {
        (phase, Status[name]): WORDS[word] for name, *words in rows for phase, word in zip(phases, words, strict=True)
    }


TABLES = {"alone": _read(ALONE), "first": _read(FIRST_OF_SEVERAL), "later": _read(LATER_OF_SEVERAL)}


def _expected(phase: Phase, statuses: tuple[Status, ...]) -> Cell:
    if len(statuses) == 1:
        return TABLES["alone"].get((phase, statuses[0]))
    if set(statuses) == {Status.CREATED}:
        return (ChainOutcome.DONE, False) if phase is not Phase.BURN else None
    refused = [leg for leg, status in enumerate(statuses) if status is not Status.LINKED_EVENT_FAILED]
    if len(refused) != 1:
        return None
    table = TABLES["first" if refused[0] == 0 else "later"]
    return table.get((phase, statuses[refused[0]]))


def _seen(phase: Phase, statuses: tuple[Status, ...]) -> Cell:
    try:
        verdict = chain_outcome(phase, statuses)
    except InvariantViolation:
        return None
    return verdict.outcome, verdict.critical


def _chains_of_one_to_four() -> list[tuple[Status, ...]]:
    """Every status alone, every pair, and every status at every place of a longer chain that failed for its sake."""
    chains: list[tuple[Status, ...]] = [(status,) for status in Status]
    chains += itertools.product(Status, repeat=2)
    for length, status in itertools.product((3, 4), Status):
        for leg in range(length):
            failed = [Status.LINKED_EVENT_FAILED] * length
            failed[leg] = status
            chains.append(tuple(failed))
            made = [Status.CREATED] * length
            made[leg] = status
            chains.append(tuple(made))
    return chains


@pytest.mark.parametrize("phase", PHASES, ids=lambda phase: phase.name)
def test_every_answer_means_what_the_table_says(phase: Phase) -> None:
    """Every status the client knows, in every phase and at every place, has the outcome the tables give it."""
    for statuses in _chains_of_one_to_four():
        assert _seen(phase, statuses) == _expected(phase, statuses), (phase, statuses)


def test_the_tables_name_every_phase() -> None:
    """A new phase fails here until somebody has said what its answers mean."""
    assert set(PHASES) == set(Phase)


@pytest.mark.parametrize("phase", PHASES, ids=lambda phase: phase.name)
def test_a_missing_answer_is_unknown_and_nothing_else(phase: Phase) -> None:
    """No answer decides nothing in any phase."""
    assert chain_outcome(phase, ()) == Verdict(ChainOutcome.UNKNOWN)


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (Status.EXCEEDS_CREDITS, "insufficient_funds"),
        (Status.EXCEEDS_DEBITS, "exceeds_debits"),
        (Status.DEBIT_ACCOUNT_NOT_FOUND, "unknown_account"),
        (Status.CREDIT_ACCOUNT_NOT_FOUND, "unknown_account"),
        (Status.DEBIT_ACCOUNT_ALREADY_CLOSED, "account_closed"),
        (Status.CREDIT_ACCOUNT_ALREADY_CLOSED, "account_closed"),
        (Status.PENDING_TRANSFER_NOT_FOUND, "hold_not_found"),
        (Status.ID_ALREADY_FAILED, "attempt_burned"),
    ],
)
def test_a_decline_names_the_leg_and_a_stable_code(status: Status, code: str) -> None:
    """The code is what callers see for ever; the leg says whose account it was."""
    statuses = (Status.LINKED_EVENT_FAILED, status, Status.LINKED_EVENT_FAILED)
    assert chain_outcome(Phase.MOVE, statuses) == Verdict(ChainOutcome.DECLINED, code, leg=1)


def test_a_violation_names_the_subject() -> None:
    """Whoever is paged reads whose chain it was."""
    with pytest.raises(InvariantViolation, match=r"intent 7, MOVE: leg 0 cannot get EXISTS_WITH_DIFFERENT_AMOUNT"):
        chain_outcome(Phase.MOVE, (Status.EXISTS_WITH_DIFFERENT_AMOUNT,), subject="intent 7")
