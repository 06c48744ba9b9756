"""Whether a job is tried again, and after which gap."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .attempts import Outcome
    from .model import Job, RetryOptions

MAX_INTERRUPTIONS = 3
"""After this many ends of the process while it ran, a job is not started again."""

_LONGEST_ASKED_MS = 30 * 86_400_000
"""A handler can ask for no longer gap than 30 days."""


def may_retry(job: Job, outcome: Outcome) -> bool:
    """Whether the job's options allow another attempt; interruptions do not count against them."""
    return outcome.retryable and job.tries < job.options.retry.max_attempts


def gap_ms(job: Job, outcome: Outcome) -> int:
    """The gap before the next attempt, in milliseconds: full jitter, but not less than the handler asked for."""
    longest = longest_gap_ms(job.options.retry, job.tries)
    return max(random.randint(0, longest), _asked_ms(outcome.retry_after_ms))  # noqa: S311 - jitter is no secret


def longest_gap_ms(retry: RetryOptions, attempts: int) -> int:
    """The bound of the gap after this many attempts: exponential, with a cap."""
    try:
        grown = retry.initial_delay_ms * retry.factor ** (attempts - 1)
    except OverflowError:
        return retry.max_delay_ms
    return min(retry.max_delay_ms, int(grown))


def _asked_ms(asked: object) -> int:
    """A handler's wish: whatever it is, it must not keep the job from going on."""
    if not isinstance(asked, int | float) or asked != asked:  # only NaN differs from itself
        return 0
    return int(min(max(asked, 0), _LONGEST_ASKED_MS))
