"""The catalogue of systems: a YAML file with a fixed shape, checked when it is read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

import yaml

from hosts.images.errors import ImageError, ImageErrorCode

CATALOGUE = Path(__file__).with_name("catalogue.yaml")
ARCHITECTURES = ("x86", "arm")
ALGORITHMS = ("sha256", "sha512")
BUILDS = ("tiny", "debian-12")

_SLUG = re.compile(r"[a-z0-9][a-z0-9.-]{0,62}")
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")


@dataclass(frozen=True, slots=True)
class Checksum:
    """Where the maker of an image publishes its checksum.

    `file` is a regular expression that must match a whole name in that list.
    With a `digest`, which somebody knows already, no list is asked for.
    """

    url: str
    algorithm: str  # "sha256" or "sha512"
    file: str
    digest: str = ""

    @property
    def source(self) -> str:
        """Who says so."""
        return self.url or "whoever asked for it"


@dataclass(frozen=True, slots=True)
class CatalogueImage:
    """A system on offer. Either `url` and `checksum` are set, or `build`."""

    slug: str
    name: str
    os_flavor: str
    os_version: str
    architecture: str
    min_disk_gib: int
    min_memory_mib: int
    default_user: str
    agent: bool = False
    url: str | None = None
    checksum: Checksum | None = None
    build: str | None = None


def load_catalogue(path: Path = CATALOGUE) -> tuple[CatalogueImage, ...]:
    """The entries in the order of the file.

    Raises ImageError(CATALOGUE) that names file, entry and field.
    """
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ImageError(ImageErrorCode.CATALOGUE, f"{path.name}: {error}") from error
    if not isinstance(entries, list) or not entries:
        _refuse(path.name, "must be a list of entries")
    images = tuple(
        _Entry(path.name, number, entry).image() for number, entry in enumerate(entries, start=1)
    )
    seen: set[str] = set()
    for image in images:
        if image.slug in seen:
            _refuse(f"{path.name}: {image.slug}", "slug: is used twice")
        seen.add(image.slug)
    return images


def _refuse(where: str, what: str) -> NoReturn:
    raise ImageError(ImageErrorCode.CATALOGUE, f"{where}: {what}")


class _Entry:
    """One entry while it is read: takes field after field, and knows how to complain."""

    def __init__(self, file: str, number: int, values: Any) -> None:
        self.where = f"{file}: entry {number}"
        if not isinstance(values, Mapping):
            _refuse(self.where, "must be a mapping")
        self.left: dict[str, Any] = dict(values)
        if isinstance(slug := values.get("slug"), str):
            self.where = f"{file}: {slug}"

    def image(self) -> CatalogueImage:
        slug = self.text("slug")
        if not _SLUG.fullmatch(slug):
            self.refuse("slug", "only small letters, digits, dots and dashes")
        default_user = self.text("default_user")
        if not _USER.fullmatch(default_user):
            self.refuse("default_user", "is no user name")
        url, checksum = self.source()
        image = CatalogueImage(
            slug=slug,
            name=self.text("name"),
            os_flavor=self.text("os_flavor"),
            os_version=self.text("os_version"),
            architecture=self.one_of("architecture", ARCHITECTURES, default="x86"),
            min_disk_gib=self.number("min_disk_gib"),
            min_memory_mib=self.number("min_memory_mib"),
            default_user=default_user,
            agent=self.flag("agent"),
            url=url,
            checksum=checksum,
            build=self.one_of("build", BUILDS) if url is None else None,
        )
        if self.left:
            self.refuse(", ".join(map(str, self.left)), "is not a field of the catalogue")
        return image

    def source(self) -> tuple[str | None, Checksum | None]:
        """Url and checksum; (None, None) for an entry that is built here."""
        if "build" in self.left:
            if "url" in self.left or "checksum" in self.left:
                self.refuse("build", "stands alone: no url and no checksum")
            return None, None
        url = self.url("url", self.text("url"))
        given = self.left.pop("checksum", None)
        if not isinstance(given, Mapping):
            self.refuse("checksum", "is missing: url and algorithm")
        if unknown := set(given) - {"url", "algorithm", "file"}:
            self.refuse("checksum", f"has no field {', '.join(sorted(map(str, unknown)))}")
        algorithm = given.get("algorithm")
        if algorithm not in ALGORITHMS:
            self.refuse("checksum.algorithm", f"must be one of {', '.join(ALGORITHMS)}")
        pattern = given.get("file", re.escape(url.rsplit("/", 1)[-1]))
        try:
            re.compile(pattern)
        except (re.error, TypeError):
            self.refuse("checksum.file", "is no regular expression")
        return url, Checksum(self.url("checksum.url", given.get("url")), algorithm, pattern)

    def text(self, field: str) -> str:
        value = self.left.pop(field, None)
        if not isinstance(value, str) or not value.strip():
            # 12 without quotes is a number in YAML, and 22.10 would lose its zero.
            self.refuse(field, "must be text in quotes" if value is not None else "is missing")
        return value

    def number(self, field: str) -> int:
        value = self.left.pop(field, None)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            self.refuse(field, "must be a whole number above zero")
        return value

    def flag(self, field: str) -> bool:
        value = self.left.pop(field, False)
        if not isinstance(value, bool):
            self.refuse(field, "must be true or false")
        return value

    def one_of(self, field: str, allowed: tuple[str, ...], default: str | None = None) -> str:
        value = self.left.pop(field, default)
        if value not in allowed:
            self.refuse(field, f"must be one of {', '.join(allowed)}")
        return str(value)

    def url(self, field: str, value: Any) -> str:
        parts = urlsplit(value) if isinstance(value, str) else None
        if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
            self.refuse(field, "must be an http or https address")
        return str(value)

    def refuse(self, field: str, what: str) -> NoReturn:
        _refuse(self.where, f"{field}: {what}")
