"""Images for real boots: built once for each machine, not for each run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from django.conf import settings

from hosts.images.build import BuiltImage, build_tiny


@pytest.fixture(scope="session")
def image_folder() -> Path:
    """Where the panel keeps what it builds: in VPSPANEL_IMAGES, or var/images of this copy."""
    return Path(os.environ.get("VPSPANEL_IMAGES", settings.BASE_DIR / "var" / "images")) / "build"


@pytest.fixture(scope="session")
def tiny(image_folder: Path) -> BuiltImage:
    return build_tiny(image_folder)
