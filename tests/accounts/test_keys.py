"""Which keys are accepted, how they are named, and what is said about the others."""

from __future__ import annotations

import base64
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from vpspanel.accounts.keys import parse_public_key
from vpspanel.errors import Refused

ED25519 = (
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl alice@laptop"
)


def field(*parts: bytes) -> bytes:
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def line(key_type: str, *parts: bytes) -> str:
    blob = field(key_type.encode(), *parts)
    return f"{key_type} {base64.b64encode(blob).decode()}"


def security_key(key_type: str) -> str:
    """What ssh-keygen -t ed25519-sk writes; a token is needed to make a real one."""
    if key_type.startswith("sk-ssh"):
        raw = ed25519.Ed25519PrivateKey.generate().public_key().public_bytes_raw()
        return line(key_type, raw, b"ssh:")
    numbers = ec.generate_private_key(ec.SECP256R1()).public_key().public_numbers()
    point = b"\x04" + numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big")
    return line(key_type, b"nistp256", point, b"ssh:")


def fingerprints(path: Path) -> tuple[str, str]:
    """(MD5, SHA256) as ssh-keygen prints them."""
    printed = []
    for digest in ("md5", "sha256"):
        output = subprocess.run(
            ["ssh-keygen", "-l", "-E", digest, "-f", str(path)],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        printed.append(output.split()[1].removeprefix("MD5:"))
    return printed[0], printed[1]


@pytest.mark.parametrize(
    ("kind", "bits"),
    [
        ("ed25519", "256"),
        ("rsa", "2048"),
        ("rsa", "3072"),
        ("ecdsa", "256"),
        ("ecdsa", "384"),
        ("ecdsa", "521"),
    ],
)
def test_fingerprints_are_those_of_ssh_keygen(tmp_path: Path, kind: str, bits: str) -> None:
    made = tmp_path / "key"
    subprocess.run(
        ["ssh-keygen", "-q", "-t", kind, "-b", bits, "-N", "", "-C", "alice@laptop", "-f", made],
        check=True,
    )
    text = made.with_suffix(".pub").read_text()
    parsed = parse_public_key(text)
    assert (parsed.fingerprint_md5, parsed.fingerprint_sha256) == fingerprints(
        made.with_suffix(".pub")
    )
    assert f"{parsed.public_key} alice@laptop" == text.strip()
    assert parsed.comment == "alice@laptop"
    with pytest.raises(Refused) as refusal:
        parse_public_key(made.read_text())
    assert "private key" in refusal.value.message
    assert "exposed" in refusal.value.message


@pytest.mark.parametrize(
    "key_type", ["sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com"]
)
def test_security_keys_are_accepted(tmp_path: Path, key_type: str) -> None:
    text = security_key(key_type)
    path = tmp_path / "key.pub"
    path.write_text(f"{text} token\n")
    parsed = parse_public_key(f"{text} token")
    assert parsed.key_type == key_type
    assert (parsed.fingerprint_md5, parsed.fingerprint_sha256) == fingerprints(path)


def test_line_breaks_of_a_terminal_are_mended() -> None:
    whole = parse_public_key(ED25519)
    head, rest = ED25519[:40], ED25519[40:]
    for pasted in (
        f"\r\n  {ED25519}\r\n",
        f"{head}\n{rest}",
        f"{head}\r\n   {rest}",
        ED25519.replace(" ", "\n", 1),
    ):
        assert parse_public_key(pasted).public_key == whole.public_key


def test_a_comment_keeps_no_control_characters() -> None:
    assert parse_public_key(f"{ED25519}\x1b[31m\u202e red").comment == "alice@laptop[31m red"


def certificate() -> str:
    return "ssh-ed25519-cert-v01@openssh.com AAAAIHNzaC1lZDI1NTE5 alice"


WRONG = {
    "empty": ("", "Paste a public key"),
    "words": ("hello world", "not an OpenSSH public key"),
    "certificate": (certificate(), "certificate"),
    "options": (f'command="/bin/sh" {ED25519}', "Options in front"),
    "restrict": (f"restrict,pty {ED25519}", "Options in front"),
    "dsa": ("ssh-dss AAAAB3NzaC1kc3MAAACBAP", "DSA"),
    "two": (f"{ED25519}\n{ED25519}", "one at a time"),
    "cut": (ED25519.removesuffix(" alice@laptop")[:-8], "missing or altered"),
    "no key": ("ssh-ed25519", "missing after its type"),
    "not base64": ("ssh-ed25519 AAAA!!!!", "missing or altered"),
    "other type inside": ("ssh-rsa " + ED25519.split()[1], "another type"),
    "short ed25519": (line("ssh-ed25519", b"x" * 31), "wrong length"),
    "more behind": (line("ssh-ed25519", b"x" * 32, b"more"), "missing or altered"),
    "rsa 1024": (line("ssh-rsa", b"\x01\x00\x01", b"\x00" + b"\xff" * 128), "1024 bits"),
    "rsa huge": (line("ssh-rsa", b"\x01\x00\x01", b"\x00" + b"\xff" * 2500), "at most"),
    "rsa even": (
        line("ssh-rsa", b"\x01\x00\x01", b"\x00" + b"\xff" * 255 + b"\xfe"),
        "not a valid",
    ),
    "rsa negative": (line("ssh-rsa", b"\x01\x00\x01", b"\xff" * 256), "missing or altered"),
    "rsa exponent 1": (line("ssh-rsa", b"\x01", b"\x00" + b"\xff" * 256), "not a valid RSA"),
    "point not on curve": (
        line("ecdsa-sha2-nistp256", b"nistp256", b"\x04" + b"\x01" * 64),
        "not a valid point",
    ),
    "wrong curve": (
        line("ecdsa-sha2-nistp256", b"nistp384", b"\x04" + b"\x01" * 96),
        "curve does not match",
    ),
    "no application": (line("sk-ssh-ed25519@openssh.com", b"x" * 32, b""), "no application"),
    "putty": ("PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none", "private key"),
    "pem private": ("-----BEGIN EC PRIVATE KEY-----\nMHc", "private key"),
    "bare private": ("b3BlbnNzaC1rZXktdjEAAAAABG5vbmU", "private key"),
    "pem public": ("-----BEGIN PUBLIC KEY-----\nMFkw", "another format"),
    "ssh2": ("---- BEGIN SSH2 PUBLIC KEY ----\nAAAA", "another format"),
    "long": ("ssh-rsa " + "A" * 20_000, "too long"),
}


@pytest.mark.parametrize(("text", "said"), WRONG.values(), ids=WRONG.keys())
def test_what_is_no_key_is_refused_with_a_reason(text: str, said: str) -> None:
    with pytest.raises(Refused) as refusal:
        parse_public_key(text)
    assert said in refusal.value.message
    assert refusal.value.field == "public_key"
    assert refusal.value.code == "invalid_input"
