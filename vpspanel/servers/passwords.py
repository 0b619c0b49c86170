"""Root passwords: made, hashed for crypt(3)."""

from __future__ import annotations

import ctypes
import secrets

# Every Debian has this library (login itself needs it); Python's own modules
# for it are deprecated or need a compiler to install.
_libcrypt = ctypes.CDLL("libcrypt.so.1")
_libcrypt.crypt_gensalt_rn.restype = ctypes.c_char_p
_libcrypt.crypt_rn.restype = ctypes.c_char_p
_SHA512 = b"$6$"

# No look-alikes (0O, 1lI): people type these into consoles.
ALPHABET = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"
LENGTH = 20  # 116 bits


def new_password() -> str:
    """20 random letters and digits without look-alikes."""
    return "".join(secrets.choice(ALPHABET) for _ in range(LENGTH))


def crypt_hash(password: str) -> str:
    """The SHA-512 crypt(3) hash, which every distribution's libc and busybox understand."""
    noise, salt = secrets.token_bytes(16), ctypes.create_string_buffer(192)
    work = ctypes.create_string_buffer(32768)  # sizeof(struct crypt_data)
    default_rounds = ctypes.c_ulong(0)
    setting = _libcrypt.crypt_gensalt_rn(
        _SHA512, default_rounds, noise, len(noise), salt, len(salt)
    )
    hashed = _libcrypt.crypt_rn(password.encode(), setting, work, len(work))
    if not hashed:
        raise ValueError("libcrypt cannot hash this password")
    return str(hashed.decode())
