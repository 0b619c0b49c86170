"""Secrets that must come back: sealed with the keys of this installation.

The first of `SEAL_KEYS` seals; each of them unseals, so that a key can be
retired by putting a new one in front.
"""

from __future__ import annotations

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings


class SealError(Exception):
    """None of the keys opens it: another installation sealed it, or it was altered."""


def _fernet() -> MultiFernet:
    return MultiFernet([Fernet(key) for key in settings.SEAL_KEYS])


def seal(secret: bytes | str) -> bytes:
    """The secret, encrypted and authenticated."""
    plain = secret.encode() if isinstance(secret, str) else secret
    return _fernet().encrypt(plain)


def unseal(sealed: bytes | memoryview) -> str:
    """The secret as text. Raises `SealError`; PostgreSQL hands out a memoryview."""
    try:
        return _fernet().decrypt(bytes(sealed)).decode()
    except InvalidToken:
        raise SealError("no key opens this secret") from None
