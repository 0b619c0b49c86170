"""Public keys, as people paste them: what is one, what is not, and its fingerprints.

Only the key itself is kept, in the form `type base64`: no options, which could
run commands for whoever signs in, and no comment.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from typing import NoReturn

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec

from vpspanel.errors import Refused

MAX_TEXT = 16_384
MIN_RSA_BITS = 2048
MAX_RSA_BITS = 16_384

CURVES: dict[str, ec.EllipticCurve] = {
    "nistp256": ec.SECP256R1(),
    "nistp384": ec.SECP384R1(),
    "nistp521": ec.SECP521R1(),
}
KEY_TYPES = (
    "ssh-ed25519",
    "ssh-rsa",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
)

_PRIVATE = re.compile(
    r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----|PuTTY-User-Key-File-|b3BlbnNzaC1rZXktdjE"
)
_SOME_TYPE = re.compile(r"(?:^|\s)((?:sk-)?(?:ssh|ecdsa)-[a-z0-9-]+(?:@openssh\.com)?)\s")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


@dataclass(frozen=True, slots=True)
class ParsedKey:
    """A key that OpenSSH accepts in authorized_keys."""

    key_type: str
    public_key: str
    comment: str
    fingerprint_md5: str
    fingerprint_sha256: str


def parse_public_key(text: str) -> ParsedKey:
    """One public key in OpenSSH's form. Raises `Refused` with what is wrong with it."""
    text = text.strip().lstrip("\ufeff").strip()
    _refuse_other_things(text)
    key_type, encoded, comment = _split(text)
    blob = _decode(encoded)
    reader = _Reader(blob)
    if reader.text() != key_type:
        _refuse(f"The key says {key_type} but holds another type. Please copy it again.")
    _check(key_type, reader)
    reader.end()
    # The digest names a key as hcloud does; nothing is protected by it.
    md5 = hashlib.md5(blob, usedforsecurity=False).hexdigest()
    sha256 = base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")
    return ParsedKey(
        key_type=key_type,
        public_key=f"{key_type} {base64.b64encode(blob).decode()}",
        comment=_CONTROL.sub("", comment).strip()[:80],
        fingerprint_md5=":".join(md5[at : at + 2] for at in range(0, 32, 2)),
        fingerprint_sha256=f"SHA256:{sha256}",
    )


def is_private_key(text: str) -> bool:
    """True for what must not be kept, shown or sent back."""
    return _PRIVATE.search(text) is not None


def _refuse(message: str) -> NoReturn:
    raise Refused("invalid_input", message, field="public_key")


def _refuse_other_things(text: str) -> None:
    if not text:
        _refuse("Paste a public key, for example the contents of ~/.ssh/id_ed25519.pub.")
    if is_private_key(text):
        _refuse(
            "This is a private key. It was not stored, but it has left your computer: treat it as "
            "exposed and make a new pair. What belongs here is the public half, the file that "
            "ends in .pub."
        )
    if len(text) > MAX_TEXT:
        _refuse("This is far too long for a public key.")
    if "BEGIN SSH2 PUBLIC KEY" in text or "-----BEGIN" in text:
        _refuse(
            "This key is in another format. Convert it with: ssh-keygen -i -f key.pub "
            "(add -m PKCS8 if it begins with BEGIN PUBLIC KEY)."
        )


def _split(text: str) -> tuple[str, str, str]:
    """(type, base64, comment); a key that a terminal has broken into lines is put together."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if sum(line.split()[0] in KEY_TYPES for line in lines) > 1:
        _refuse("These are several keys. Please add them one at a time.")
    first = lines[0].split()[0]
    joined = "".join(f"{line} " if line == first else line for line in lines)
    if first not in KEY_TYPES:
        _refuse_type(first, joined)
    parts = joined.split(None, 2)
    if len(parts) < 2:
        _refuse("The key itself is missing after its type. Please copy the whole line.")
    return parts[0], parts[1], parts[2] if len(parts) > 2 else ""


def _refuse_type(first: str, text: str) -> NoReturn:
    if first.endswith("-cert-v01@openssh.com"):
        _refuse(
            "This is a certificate. Add the plain public key, the file without -cert in its name."
        )
    if first == "ssh-dss":
        _refuse("DSA keys are no longer accepted by OpenSSH. Make a new one: ssh-keygen -t ed25519")
    found = _SOME_TYPE.search(f"{text} ")
    if found and found.group(1) in KEY_TYPES and found.start(1) > 0:
        _refuse(
            "Options in front of the key, such as command= or from=, are not accepted. "
            f"Paste it from {found.group(1)} on."
        )
    _refuse(
        "This is not an OpenSSH public key. It begins with ssh-ed25519, ssh-rsa, ecdsa-sha2-… or "
        "sk-… and is one line."
    )


def _decode(encoded: str) -> bytes:
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        _refuse("A part of the key is missing or altered. Please copy the whole line again.")


class _Reader:
    """Fields of the wire format of RFC 4251: each is a length in 4 bytes, then the bytes."""

    def __init__(self, blob: bytes) -> None:
        self._blob = blob
        self._at = 0

    def field(self) -> bytes:
        start = self._at + 4
        if start > len(self._blob):
            self._broken()
        self._at = start + int.from_bytes(self._blob[start - 4 : start], "big")
        if self._at > len(self._blob):
            self._broken()
        return self._blob[start : self._at]

    def text(self) -> str:
        return self.field().decode("ascii", "replace")

    def number(self) -> int:
        raw = self.field()
        padded = raw[:1] == b"\0" and not (len(raw) > 1 and raw[1] & 0x80)
        if not raw or raw[0] & 0x80 or padded:
            self._broken()
        return int.from_bytes(raw, "big")

    def end(self) -> None:
        if self._at != len(self._blob):
            self._broken()

    def _broken(self) -> NoReturn:
        _refuse("A part of the key is missing or altered. Please copy the whole line again.")


def _check(key_type: str, reader: _Reader) -> None:
    if key_type == "ssh-rsa":
        _check_rsa(reader)
    elif "ed25519" in key_type:
        if len(reader.field()) != 32:
            _refuse("This Ed25519 key has a wrong length. Please copy the whole line again.")
    else:
        _check_curve(key_type, reader)
    if key_type.startswith("sk-") and not reader.text():
        _refuse("This security key names no application. Please copy the whole line again.")


def _check_rsa(reader: _Reader) -> None:
    exponent, modulus = reader.number(), reader.number()
    bits = modulus.bit_length()
    if bits < MIN_RSA_BITS:
        _refuse(
            f"This RSA key has {bits} bits; at least {MIN_RSA_BITS} are needed. "
            "Make a new one: ssh-keygen -t ed25519"
        )
    if bits > MAX_RSA_BITS:
        _refuse(f"This RSA key has {bits} bits; OpenSSH accepts at most {MAX_RSA_BITS}.")
    if exponent < 3 or exponent % 2 == 0 or modulus % 2 == 0:
        _refuse("This is not a valid RSA key.")


def _check_curve(key_type: str, reader: _Reader) -> None:
    name = reader.text()
    if name not in CURVES or not key_type.removesuffix("@openssh.com").endswith(name):
        _refuse("The key's curve does not match its type. Please copy it again.")
    try:
        ec.EllipticCurvePublicKey.from_encoded_point(CURVES[name], reader.field())
    except (ValueError, UnsupportedAlgorithm):
        _refuse("This is not a valid point on the key's curve. Please copy it again.")
