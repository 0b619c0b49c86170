"""The checksum of an image as its maker publishes it, in all the forms that makers use."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from hosts.images import web
from hosts.images.catalogue import Checksum
from hosts.images.errors import ImageError, ImageErrorCode

MAX_LIST_BYTES = 4 * 1024 * 1024
HEX_DIGITS = {"sha256": 64, "sha512": 128}

_GNU = re.compile(r"\\?([0-9A-Fa-f]+)\s+\*?(?:\./)?(\S+)")
_BSD = re.compile(r"(SHA-?(?:256|512))\s*\((.+)\)\s*=\s*([0-9A-Fa-f]+)")


def parse_checksums(text: str, checksum: Checksum) -> str:
    """The digest, in small hex digits, that a maker's list gives for `checksum.file`.

    Understands `digest  name`, `digest *name`, `SHA256 (name) = digest`, a list
    inside a PGP signature, and a file with nothing but the digest.
    Raises ImageError(CHECKSUM_MISSING) if there is none, or two that differ.
    """
    digits = HEX_DIGITS[checksum.algorithm]
    found: set[str] = set()
    for line in (line.strip() for line in text.splitlines()):
        if bsd := _BSD.fullmatch(line):
            algorithm, name, digest = bsd.groups()
            if algorithm.replace("-", "").lower() != checksum.algorithm:
                continue
        elif gnu := _GNU.fullmatch(line):
            digest, name = gnu.groups()
        else:
            continue
        if len(digest) == digits and re.fullmatch(checksum.file, name.rsplit("/", 1)[-1]):
            found.add(digest.lower())
    if not found and re.fullmatch(rf"\s*[0-9A-Fa-f]{{{digits}}}\s*", text):
        found.add(text.strip().lower())
    if len(found) != 1:
        problem = "differing checksums" if found else "no checksum"
        raise ImageError(
            ImageErrorCode.CHECKSUM_MISSING,
            f"{checksum.url} has {problem} ({checksum.algorithm}) for {checksum.file}",
        )
    return found.pop()


def published_digest(checksum: Checksum, *, timeout: float) -> str:
    """Fetches the maker's list and returns the digest for the image.

    Raises what `web.get` raises, and ImageError(CHECKSUM_MISSING).
    """
    if checksum.digest:
        return checksum.digest
    with web.get(checksum.url, timeout=timeout) as response:
        content = response.read(MAX_LIST_BYTES + 1)
    if len(content) > MAX_LIST_BYTES:
        raise ImageError(
            ImageErrorCode.CHECKSUM_MISSING, f"{checksum.url} is too large for a checksum list"
        )
    return parse_checksums(content.decode("utf-8", "replace"), checksum)


def file_digest(path: Path, algorithm: str) -> str:
    """The digest of a file in small hex digits."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, algorithm).hexdigest()
