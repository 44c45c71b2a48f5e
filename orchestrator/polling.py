"""When to ask a PSP again about an open intent; pure.

The pauses grow from `first_s` by `factor` up to `max_s`. Once all pauses together have reached `until_s`, what is
still open is asked about every `max_s`, for as long as it stays open: a doubt is never given up. This module must
never read a clock.
"""

from math import ceil, log
from typing import Final

from shared.psp import OperationRules, PollSchedule

PAUSE_MAX_S: Final = 86_400
"""However long the PSP would like to be left alone, an open intent is looked at once a day."""


def next_poll_s(schedule: PollSchedule, polls: int, retry_after_s: int | None = None) -> int:
    """Return in how many seconds to ask next.

    Args:
        schedule: the manifest's.
        polls: how often it was asked already.
        retry_after_s: when the PSP wants to be asked again, if it said so; it may put the question off, never forward.
    """
    pause_s = schedule.max_s if _elapsed_s(schedule, polls) >= schedule.until_s else _pause_s(schedule, polls)
    return min(PAUSE_MAX_S, max(1, round(pause_s), retry_after_s or 0))


AFTERMATH_S: Final = 3_600
"""How long after its time a code is still asked about: a payment that was under way may end late."""


def watch_s(rules: OperationRules, schedule: PollSchedule, *, static: bool, ttl_s: int | None = None) -> int:
    """Return for how long after its acceptance a decided intent of money in is still asked about, every `max_s`.

    A code can be paid late, twice, or any number of times if it is static, and the callback that would say so may be
    lost. Of money out nothing more can come.
    """
    if rules.direction == "out":
        return 0
    if static:
        return schedule.until_s
    return (ttl_s or rules.ttl_s) + AFTERMATH_S


def _pause_s(schedule: PollSchedule, polls: int) -> float:
    if polls >= _growing(schedule):
        return schedule.max_s
    return float(schedule.first_s * schedule.factor**polls)


def _elapsed_s(schedule: PollSchedule, polls: int) -> float:
    growing = min(polls, _growing(schedule))
    if schedule.factor == 1:
        return polls * schedule.first_s
    grown = schedule.first_s * (schedule.factor**growing - 1) / (schedule.factor - 1)
    return float(grown + (polls - growing) * schedule.max_s)


def _growing(schedule: PollSchedule) -> float:
    """Return how many pauses are shorter than `max_s`; all of them, where they do not grow."""
    if schedule.first_s >= schedule.max_s:
        return 0
    if schedule.factor == 1:
        return float("inf")
    return ceil(log(schedule.max_s / schedule.first_s) / log(schedule.factor))
