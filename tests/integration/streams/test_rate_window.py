"""The sliding window against a log that forgets nothing, on histories of a clock that the test sets."""

from collections.abc import Sequence
from fractions import Fraction
from importlib.resources import files
from itertools import pairwise

import redis as redis_sync
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.streams.rate import REQUESTS_MAX

SLICES = 20
_DRIVER = """
local window_s, stored, replies = tonumber(ARGV[1]), false, {}
for i = 2, #ARGV, 2 do
  local window = open_window(stored, window_s, tonumber(ARGV[i]), tonumber(ARGV[i + 1]))
  local passes = has_room(window)
  if passes then
    take_one(window)
    stored = pack_window(window)
  end
  replies[#replies + 1] = passes and 1 or 0
  replies[#replies + 1] = left_in(window)
  replies[#replies + 1] = wait_ms(window)
  replies[#replies + 1] = life_ms(window)
end
replies[#replies + 1] = stored and string.len(stored) or 0
return replies
"""
"""Plays requests, each under a limit and at a time in µs, on one window; says after each what a client would hear."""
_TEXT = (files("shared.streams") / "lua" / "rate_window.lua").read_text("utf-8") + _DRIVER
_SETTINGS = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)

Played = list[tuple[bool, int, int]]
"""Per request: whether it passed, what was left, and the wait in ms."""


def play(client: redis_sync.Redis, window_s: int, history: Sequence[tuple[int, int]]) -> Played:
    """Play (limit, µs) on an empty window."""
    *flat, size = client.eval(_TEXT, 0, window_s, *(word for pair in history for word in pair))
    assert size in (0, 92)
    on_time = all(earlier <= later for (_, earlier), (_, later) in pairwise(history))
    assert all(0 < life <= window_s * 1050 + 1 for life in flat[3::4]) or not on_time
    return [(bool(flag), left, wait) for flag, left, wait in zip(flat[::4], flat[1::4], flat[2::4], strict=True)]


@st.composite
def histories(draw: st.DrawFn) -> tuple[int, int, list[int]]:
    """Give a window in seconds, a limit, and when requests come: in bursts, in trickles, on the edges of slices."""
    window_s = draw(st.sampled_from([1, 2, 10, 3600]))
    slice_us = window_s * 1_000_000 // SLICES
    limit = draw(st.integers(1, 12))
    now = 1_790_000_000_000_000 + draw(st.integers(0, slice_us))
    times = []
    gap = st.one_of(
        st.integers(0, 3),
        st.integers(0, slice_us),
        st.integers(0, slice_us * SLICES * 2),
        st.sampled_from([slice_us, slice_us * SLICES, slice_us * (SLICES + 1)]).flatmap(
            lambda edge: st.integers(edge - 1, edge + 1)
        ),
    )
    for _ in range(draw(st.integers(1, 60))):
        now += draw(gap)
        times.append(now)
    return window_s, limit, times


@_SETTINGS
@given(histories())
def test_no_window_ever_sees_more_and_nobody_is_refused_within_a_twentieth_of_their_due(
    redis_url: str, history: tuple[int, int, list[int]]
) -> None:
    """The bound is exact, whatever the window's start; the generosity is 1/1.05 of it at least."""
    window_s, limit, times = history
    window_us = window_s * 1_000_000
    with redis_sync.Redis.from_url(redis_url) as client:
        played = play(client, window_s, [(limit, now) for now in times])
    log: list[int] = []
    for now, (passes, left, _) in zip(times, played, strict=True):
        if passes:
            log.append(now)
            assert sum(now - window_us < at <= now for at in log) <= limit
            assert left <= limit - sum(now - window_us < at for at in log)
        else:
            assert left == 0
            assert sum(now - window_us * Fraction(21, 20) < at for at in log) >= limit


@_SETTINGS
@given(histories())
def test_whoever_waits_as_told_is_let_through_and_whoever_comes_sooner_is_not(
    redis_url: str, history: tuple[int, int, list[int]]
) -> None:
    """So a gateway may refuse by itself until then, and a client need not guess."""
    window_s, limit, times = history
    with redis_sync.Redis.from_url(redis_url) as client:
        played = play(client, window_s, [(limit, now) for now in times])
        refused = [number for number, (passes, _, _) in enumerate(played) if not passes]
        for number in refused[:3]:
            told_us, before = played[number][2] * 1000, [(limit, now) for now in times[: number + 1]]
            assert 0 < told_us <= window_s * 1_050_000 + 1000
            assert play(client, window_s, [*before, (limit, times[number] + told_us)])[-1][0]
            # Waits are told in whole ms, rounded up.
            assert not play(client, window_s, [*before, (limit, times[number] + told_us - 1000)])[-1][0]


def test_a_limit_that_changes_counts_what_was_let_through_before(redis_url: str) -> None:
    """Raised, it lets more through at once; lowered, it waits until so few are left in the window."""
    start = 1_790_000_000_000_000
    with redis_sync.Redis.from_url(redis_url) as client:
        raised = play(client, 10, [(2, start), (2, start), (2, start), (3, start), (3, start)])
        lowered = play(client, 10, [(3, start), (3, start + 5_000_000), (3, start + 6_000_000), (1, start + 7_000_000)])
    assert [passes for passes, _, _ in raised] == [True, True, False, True, False]
    assert [passes for passes, _, _ in lowered] == [True, True, True, False]
    assert lowered[-1][1:] == (0, 9500)  # until the third one's slice has left


def test_a_clock_set_back_forgets_nothing(redis_url: str) -> None:
    """Time stands still until it has caught up; set back by more than a window, it begins anew."""
    start = 1_790_000_000_000_000
    with redis_sync.Redis.from_url(redis_url) as client:
        short = play(client, 10, [(1, start), (1, start - 9_000_000)])
        long = play(client, 10, [(1, start), (1, start - 60_000_000), (1, start - 60_000_000)])
    assert [passes for passes, _, _ in short] == [True, False]
    assert [passes for passes, _, _ in long] == [True, True, False]


def test_a_window_counts_as_far_as_a_limit_goes() -> None:
    """Four bytes a slice hold the largest limit."""
    assert REQUESTS_MAX < 1 << 32
