"""The secrets of API tokens: made, recognised, digested. Pure.

`vpsp_` (`vpsr_` for a reseller's), 53 random letters and digits, and six that
are a checksum of the rest: 64 in all, which is what hcloud clients insist on.
The prefix lets scanners find a token that was published by mistake; the
checksum lets them, and the panel, drop what merely looks like one without
asking the database.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import string
import zlib

PREFIX, RESELLER_PREFIX = "vpsp_", "vpsr_"
RANDOM, CHECKSUM = 53, 6  # letters and digits; the random ones make 315 bits
_ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
_SHAPE = re.compile(rf"(?:{PREFIX}|{RESELLER_PREFIX})[0-9A-Za-z]{{{RANDOM + CHECKSUM}}}")


def new_secret(prefix: str = PREFIX) -> str:
    """A fresh secret."""
    body = prefix + "".join(secrets.choice(_ALPHABET) for _ in range(RANDOM))
    return body + _checksum(body)


def is_secret(text: str) -> bool:
    """Whether it has the form of a secret, checksum included."""
    return bool(_SHAPE.fullmatch(text)) and _checksum(text[:-CHECKSUM]) == text[-CHECKSUM:]


def digest(secret: str) -> str:
    """SHA-256 in hex: of so many random bits nobody finds the original."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _checksum(body: str) -> str:
    """CRC-32 in six digits of base 62."""
    rest, digits = zlib.crc32(body.encode()), ""
    for _ in range(CHECKSUM):
        rest, digit = divmod(rest, len(_ALPHABET))
        digits = _ALPHABET[digit] + digits
    return digits
