"""Checksum lists, in the forms that the makers of images publish."""

from __future__ import annotations

import pytest

from hosts.images.catalogue import Checksum
from hosts.images.checksums import parse_checksums
from hosts.images.errors import ImageError, ImageErrorCode

A, B, LONG = "a" * 64, "b" * 64, "c" * 128
SIGNED = "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n"
SIGNATURE = "-----BEGIN PGP SIGNATURE-----\nabc\n"
URL = "https://images.example.org/SUMS"


@pytest.mark.parametrize(
    ("text", "algorithm", "file", "digest"),
    [
        (f"{B}  other.img\n{A}  disk.img\n", "sha256", r"disk\.img", A),
        (f"{B} *other.img\n{A} *disk.img\n", "sha256", r"disk\.img", A),
        (f"{LONG}  disk.img\n", "sha512", r"disk\.img", LONG),
        (f"# disk.img: 9 bytes\nSHA256 (disk.img) = {A}\n", "sha256", r"disk\.img", A),
        (f"{A}\n", "sha256", r"disk\.img", A),
        (f"{A}  ./images/disk.img\n", "sha256", r"disk\.img", A),
        (f"{A.upper()}  disk.img\n", "sha256", r"disk\.img", A),
        (f"{A}  disk-2026.img\n", "sha256", r"disk(-[0-9]+)?\.img", A),
        (f"{B}  my-disk.img\n{A}  disk.img\n", "sha256", r"disk\.img", A),
        (f"{A}  disk.img\r\n{A}  disk.img\r\n", "sha256", r"disk\.img", A),
        (f"{SIGNED}SHA256 (disk.img) = {A}\n{SIGNATURE}", "sha256", r"disk\.img", A),
    ],
)
def test_the_digest_is_found(text: str, algorithm: str, file: str, digest: str) -> None:
    assert parse_checksums(text, Checksum(URL, algorithm, file)) == digest


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<html>404</html>",
        f"{A}  other.img\n",
        f"{A}  disk.img.sig\n",
        f"{'a' * 40}  disk.img\n",
        f"SHA512 (disk.img) = {LONG}\n",
        f"{A}  disk.img\n{B}  disk.img\n",
        f"{A}\n{B}\n",
    ],
)
def test_no_digest_or_two_are_refused(text: str) -> None:
    with pytest.raises(ImageError) as caught:
        parse_checksums(text, Checksum(URL, "sha256", r"disk\.img"))
    assert caught.value.code == ImageErrorCode.CHECKSUM_MISSING
    assert URL in caught.value.message
