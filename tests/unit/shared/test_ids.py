"""Identifiers: what is laid out in them comes back out, and nothing ever runs over into its neighbour."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import BadInput, InvariantViolation
from shared.ids import (
    ATTEMPT_MAX,
    LEG_MAX,
    LEGS_PER_PLAN_MAX,
    PARTITIONS_MAX,
    IntentId,
    Phase,
    account_id,
    intent_id,
    parse_intent_id,
    partition_of,
    split_transfer_id,
    transfer_id,
    unix_ms_of,
)

UNIX_US = st.integers(0, ((1 << 48) - 1) * 1000 + 999)
PARTITION = st.integers(0, PARTITIONS_MAX - 1)
ENTROPY = st.integers(0, (1 << 128) - 1)
INTENT = st.builds(intent_id, UNIX_US, PARTITION, ENTROPY)
ATTEMPT = st.integers(1, ATTEMPT_MAX)
PHASE = st.sampled_from([phase for phase in Phase if phase is not Phase.BURN])
LEG = st.integers(0, LEG_MAX)
PLACE = st.tuples(ATTEMPT, PHASE, LEG)


@given(UNIX_US, PARTITION, ENTROPY)
def test_an_intent_id_gives_back_its_time_and_its_partition(unix_us: int, partition: int, entropy: int) -> None:
    """An id alone finds its slot and its month."""
    intent = intent_id(unix_us, partition, entropy)
    assert unix_ms_of(intent) == unix_us // 1000
    assert partition_of(intent) == partition


@given(INTENT)
def test_an_intent_id_is_a_valid_uuid_of_version_7_with_room_below(intent: IntentId) -> None:
    """Other people's tools sort and print it as what it is."""
    assert intent.version == 7
    assert intent.variant == "specified in RFC 4122"
    assert intent.int & 0xFFFF == 0


@given(INTENT)
def test_an_intent_id_survives_its_text(intent: IntentId) -> None:
    """What the client was told reads back as the same id, in either case of letters."""
    assert parse_intent_id(str(intent)) == intent
    assert parse_intent_id(str(intent).upper()) == intent


@given(UNIX_US, UNIX_US, PARTITION, PARTITION, ENTROPY, ENTROPY)
def test_intent_ids_sort_by_time(
    early_us: int, late_us: int, partition: int, other_partition: int, entropy: int, other_entropy: int
) -> None:
    """Trees and ledgers reward it; a millisecond decides, whatever the rest of the id says."""
    early = intent_id(early_us, partition, entropy)
    late = intent_id(late_us, other_partition, other_entropy)
    if early_us // 1000 < late_us // 1000:
        assert early.int < late.int


@given(UNIX_US, PARTITION, st.integers(0, (1 << 38) - 1), st.integers(0, (1 << 38) - 1))
def test_all_38_random_bits_tell_two_ids_apart(unix_us: int, partition: int, entropy: int, other: int) -> None:
    """Two gateways in one microsecond differ by their randomness alone."""
    assert (intent_id(unix_us, partition, entropy) == intent_id(unix_us, partition, other)) == (entropy == other)


@given(UNIX_US, PARTITION, ENTROPY)
def test_entropy_never_reaches_another_field(unix_us: int, partition: int, entropy: int) -> None:
    """A wide random number fills its 38 bits and no more."""
    bare = intent_id(unix_us, partition, 0).int
    assert (intent_id(unix_us, partition, entropy).int ^ bare) & ~(((1 << 38) - 1) << 24) == 0


@pytest.mark.parametrize("unix_us", [-1, (1 << 48) * 1000])
def test_a_clock_outside_48_bits_is_refused(unix_us: int) -> None:
    """Wrapped, it would name another millennium's month."""
    with pytest.raises(InvariantViolation, match="clock"):
        intent_id(unix_us, 0, 0)


@pytest.mark.parametrize("partition", [-1, PARTITIONS_MAX])
def test_a_partition_outside_8_bits_is_refused(partition: int) -> None:
    """Wrapped, it would name another stream."""
    with pytest.raises(InvariantViolation, match="partition"):
        intent_id(0, partition, 0)


@given(INTENT, PLACE)
def test_a_transfer_id_gives_back_its_intent_and_its_place(intent: IntentId, place: tuple[int, Phase, int]) -> None:
    """From a line in the ledger back to the intent that caused it."""
    attempt, phase, leg = place
    assert split_transfer_id(transfer_id(intent, attempt=attempt, phase=phase, leg=leg)) == (intent, *place)


@given(INTENT, INTENT, PLACE, PLACE)
def test_no_two_places_share_a_transfer_id(
    intent: IntentId, other: IntentId, place: tuple[int, Phase, int], other_place: tuple[int, Phase, int]
) -> None:
    """One leg must never be taken for another attempt's, phase's or intent's money."""
    first = transfer_id(intent, attempt=place[0], phase=place[1], leg=place[2])
    second = transfer_id(other, attempt=other_place[0], phase=other_place[1], leg=other_place[2])
    assert (first == second) == ((intent, place) == (other, other_place))


def test_every_place_of_one_intent_has_its_own_transfer_id() -> None:
    """All of them, counted: every attempt, phase and leg."""
    intent = intent_id(1, 2, 3)
    phases = [phase for phase in Phase if phase is not Phase.BURN]
    made = {
        transfer_id(intent, attempt=attempt, phase=phase, leg=leg)
        for attempt in range(1, ATTEMPT_MAX + 1)
        for phase in phases
        for leg in range(LEG_MAX + 1)
    }
    assert len(made) == ATTEMPT_MAX * len(phases) * (LEG_MAX + 1)
    assert intent.int not in made, "the intent's own id is nobody's transfer"


@given(INTENT, PLACE)
def test_transfer_ids_stay_inside_the_16_bits_below_their_intent(
    intent: IntentId, place: tuple[int, Phase, int]
) -> None:
    """Attempt, phase and leg never carry into the partition."""
    attempt, phase, leg = place
    assert 0 < transfer_id(intent, attempt=attempt, phase=phase, leg=leg) - intent.int < 1 << 16


@pytest.mark.parametrize(
    ("attempt", "phase", "leg"),
    [
        (0, Phase.MOVE, 0),
        (ATTEMPT_MAX + 1, Phase.MOVE, 0),
        (1, Phase.MOVE, LEG_MAX + 1),
        (1, Phase.MOVE, -1),
        (1, Phase.BURN, 0),
    ],
)
def test_an_overflowing_attempt_phase_or_leg_is_refused_not_wrapped(attempt: int, phase: Phase, leg: int) -> None:
    """Leg 128 would be the next phase, attempt 64 the next partition."""
    with pytest.raises(InvariantViolation):
        transfer_id(intent_id(0, 0, 0), attempt=attempt, phase=phase, leg=leg)


@given(INTENT, st.integers(1, 0xFFFF))
def test_a_transfer_id_is_not_an_intent_id(intent: IntentId, low: int) -> None:
    """Neither as a base for transfers nor as the id of a request."""
    wrong = IntentId(UUID(int=intent.int | low))
    with pytest.raises(InvariantViolation):
        transfer_id(wrong, attempt=1, phase=Phase.MOVE, leg=0)
    with pytest.raises(BadInput):
        parse_intent_id(str(wrong))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not-a-uuid",
        "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
        "{00000000-0000-7000-8000-000000000000}",
        "00000000000070008000000000000000",
        "urn:uuid:00000000-0000-7000-8000-000000000000",
        "00000000-0000-4000-8000-000000000000",
    ],
)
def test_what_this_mesh_never_gave_out_is_no_intent_id(text: str) -> None:
    """One id has one spelling, apart from the case of its letters."""
    with pytest.raises(BadInput) as refusal:
        parse_intent_id(text)
    assert refusal.value.code == "bad_intent_id"


def test_a_plan_fits_into_the_legs() -> None:
    """Room is left for what a phase adds beside the plan."""
    assert LEGS_PER_PLAN_MAX <= LEG_MAX


def test_account_ids_are_the_same_for_ever() -> None:
    """Computed once with another implementation of UUIDv5; a change would lose every account."""
    assert account_id("user:alice:THB") == 0x34C7_310F_3FFA_51C3_AD07_0FDC_CBFB_D9E4
