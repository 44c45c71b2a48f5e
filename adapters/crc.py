"""CRC-16/CCITT-FALSE, the checksum both Thai QR codes and SBP links carry.

Polynomial 0x1021, initial value 0xFFFF, nothing reflected, no final xor; ``123456789`` gives ``29B1``. It finds
slips of the hand and of the camera, never forgery: this module must never be mistaken for a signature.
"""

import binascii
from typing import Final

_INITIAL: Final = 0xFFFF


def crc16_hex(text: str) -> str:
    """Return the checksum of the text's UTF-8 bytes as four upper-case hexadecimal digits."""
    # `crc_hqx` is this very polynomial, and leaves the initial value to its caller.
    return f"{binascii.crc_hqx(text.encode(), _INITIAL):04X}"
