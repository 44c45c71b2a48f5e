"""The error tree: what a failure says about the world decides what may be done about it.

::

    PaymeshError
    ├── Transient            nothing happened; the same call may be made again
    ├── OutcomeUnknown       it may have happened; ask before doing anything else
    ├── Permanent            it did not happen and never will; stop, compensate
    │   ├── BadInput         the caller's words are at fault
    │   └── Misconfigured    the environment is at fault; the process does not start
    ├── StoreMismatch        this store does not belong to this mesh; nobody may write to it
    └── InvariantViolation   the books contradict themselves; the message is quarantined, the process exits

A decline is a result, not an exception. This module must never import anything of the project.
"""

from typing import NoReturn


class PaymeshError(Exception):
    """Something in Paymesh went wrong."""

    code = "paymesh_error"

    def __init__(self, detail: str | None = None, *, code: str | None = None) -> None:
        super().__init__(detail or self.__doc__)
        if code is not None:
            self.code = code


class Transient(PaymeshError):
    """A dependency was out of reach and nothing happened; try again."""

    code = "transient"


class OutcomeUnknown(PaymeshError):
    """The call may have happened; inquire before doing anything else."""

    code = "outcome_unknown"


class Permanent(PaymeshError):
    """It did not happen and never will; stop and compensate."""

    code = "permanent"


class BadInput(Permanent):
    """The input breaks a rule; nothing was accepted."""

    code = "bad_input"


class Misconfigured(Permanent):
    """The environment does not describe a process that may start."""

    code = "misconfigured"


class StoreMismatch(PaymeshError):
    """This store does not belong to this mesh."""

    code = "store_mismatch"


class InvariantViolation(PaymeshError):
    """The books contradict themselves."""

    code = "invariant_violation"


def violated(detail: str) -> NoReturn:
    """Raise `InvariantViolation`; a function, since `assert` vanishes under ``-O``."""
    raise InvariantViolation(detail)


def require(condition: object, detail: str) -> None:
    """Raise `InvariantViolation` with `detail` unless `condition` holds."""
    if not condition:
        raise InvariantViolation(detail)
