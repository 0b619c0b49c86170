"""Secrets come back with a key of ours and with no other."""

from __future__ import annotations

import pytest
from cryptography.fernet import Fernet
from pytest_django import Settings

from vpspanel.sealing import SealError, seal, unseal


@pytest.fixture(autouse=True)
def _keys(settings: Settings) -> None:
    settings.SEAL_KEYS = [Fernet.generate_key().decode()]


def test_what_was_sealed_comes_back() -> None:
    for secret in ("correct horse ß", b"bytes", "", "x" * 40_000):
        sealed = seal(secret)
        expected = secret.decode() if isinstance(secret, bytes) else secret
        assert unseal(sealed) == expected
        assert unseal(memoryview(sealed)) == expected


def test_nothing_of_the_secret_shows() -> None:
    assert b"horse" not in seal("horse")
    assert seal("horse") != seal("horse")


def test_an_old_key_still_opens_and_the_first_one_seals(settings: Settings) -> None:
    old = settings.SEAL_KEYS[0]
    sealed = seal("secret")
    settings.SEAL_KEYS = [Fernet.generate_key().decode(), old]
    assert unseal(sealed) == "secret"
    sealed_anew = seal("secret")
    settings.SEAL_KEYS = [old]
    with pytest.raises(SealError):
        unseal(sealed_anew)


def test_an_altered_secret_is_refused() -> None:
    sealed = bytearray(seal("secret"))
    sealed[20] ^= 1
    with pytest.raises(SealError):
        unseal(bytes(sealed))
    with pytest.raises(SealError):
        unseal(b"")
