"""Images built on this machine from Debian packages, for sites without internet.

A builder takes a folder to work in and a progress callback, and returns the finished file at once
if it is there already. `BUILDERS` goes by the name that a catalogue entry gives as `build`.
"""

from collections.abc import Mapping

from hosts.images.build import debian12, tiny
from hosts.images.build.debian12 import build_debian12
from hosts.images.build.recipe import Builder, BuiltImage, Progress
from hosts.images.build.tiny import build_tiny

BUILDERS: Mapping[str, Builder] = {tiny.NAME: build_tiny, debian12.NAME: build_debian12}

#: Debian packages that a machine needs to build all of these.
REQUIRED_PACKAGES = tuple(
    sorted({*tiny.PROGRAMS.values(), *debian12.PROGRAMS.values(), "grub-pc-bin"})
)

__all__ = [
    "BUILDERS",
    "REQUIRED_PACKAGES",
    "Builder",
    "BuiltImage",
    "Progress",
    "build_debian12",
    "build_tiny",
]
