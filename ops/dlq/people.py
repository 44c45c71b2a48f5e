"""Who does it: the name that was given, and the person whom the operating system knows.

This module must never take one person for two, and never ask whoever sits at the terminal whether it may.
"""

import os
import pwd
import socket

from ops.audit import actor
from ops.dlq.reach import Reach
from shared.mesh import read_environment


async def person(reach: Reach) -> str:
    """Return who sits at the terminal, ``user@host``.

    In a mesh for production that is the owner of the process, whatever the environment says; what a mesh is for
    stands in its database. Elsewhere LOGNAME counts, as it does for the audit log, so that one person can try what
    needs two.

    Raises:
        Transient, OutcomeUnknown: the database is out of reach.
    """
    if await read_environment(reach.pool) != "production":
        return actor()
    user_id = os.getuid()
    try:
        name = pwd.getpwuid(user_id).pw_name
    except KeyError:
        name = str(user_id)
    return f"{name}@{socket.gethostname()}"


def same_person(one: str, other: str) -> bool:
    """Say whether two names, or two ``user@host``, are of one person; hosts do not make two of them."""
    return _plain(one) == _plain(other)


def _plain(name: str) -> str:
    return name.partition("@")[0].strip().casefold()
