"""SSH keys."""

from __future__ import annotations

from typing import TypedDict

from vpspanel.accounts.models import SSHKey
from vpspanel.api.shapes.plain import Labels, moment


class KeyShape(TypedDict):
    """A public key."""

    id: int
    name: str
    fingerprint: str
    public_key: str
    labels: Labels
    created: str


def key_shape(key: SSHKey) -> KeyShape:
    """A public key."""
    return KeyShape(
        id=key.pk,
        name=key.name,
        fingerprint=key.fingerprint,
        public_key=key.public_key,
        labels=key.labels,
        created=moment(key.created),
    )
