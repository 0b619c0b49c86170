"""What can go wrong with an image, as one exception with a code that callers can act on."""

from __future__ import annotations

import enum


class ImageErrorCode(enum.StrEnum):
    """Why an image was refused, not fetched or not built."""

    # download
    BAD_URL = "bad_url"
    UNREACHABLE = "unreachable"
    HTTP_ERROR = "http_error"
    TIMEOUT = "timeout"
    TOO_LARGE = "too_large"
    CHECKSUM_MISSING = "checksum_missing"
    CHECKSUM_MISMATCH = "checksum_mismatch"
    DISK_FULL = "disk_full"
    STORAGE = "storage"
    CANCELLED = "cancelled"
    # inspect
    UNKNOWN_FORMAT = "unknown_format"
    FORMAT_MISMATCH = "format_mismatch"
    CORRUPT = "corrupt"
    BACKING_FILE = "backing_file"
    DATA_FILE = "data_file"
    ENCRYPTED = "encrypted"
    UNKNOWN_FEATURE = "unknown_feature"
    SIZE = "size"
    LIMIT = "limit"
    # catalogue
    CATALOGUE = "catalogue"
    # build
    NEEDS_ROOT = "needs_root"
    MISSING_PACKAGE = "missing_package"
    BUILD_FAILED = "build_failed"


#: Trying again later can help with these, and with no other.
RETRYABLE = frozenset(
    {
        ImageErrorCode.UNREACHABLE,
        ImageErrorCode.HTTP_ERROR,
        ImageErrorCode.TIMEOUT,
        ImageErrorCode.DISK_FULL,
    }
)


class ImageError(Exception):
    """An image could not be fetched, trusted or built.

    `message` is one sentence for staff; it never holds file contents.
    """

    def __init__(self, code: ImageErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    @property
    def retryable(self) -> bool:
        return self.code in RETRYABLE

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"
