"""Who does it: the name that was given, and the person whom the operating system knows.

This module must never take one person for two.
"""

import os
import pwd
import socket

from ops.audit import actor
from shared.config import StoreSettings


def person(settings: StoreSettings) -> str:
    """Return who sits at the terminal, ``user@host``.

    In production that is the owner of the process, whatever the environment says. Elsewhere LOGNAME counts, as it
    does for the audit log, so that one person can try what needs two.
    """
    if settings.environment != "production":
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
