"""The panel's SSH key, and which host keys it believes.

The records are the truth; `known_hosts` on each machine of the panel is
written from them. A host key counts only after staff compared its fingerprint.
"""

from __future__ import annotations

from django.db import transaction

from hosts.models_fleet import KnownHostKey
from hosts.virt import ssh
from hosts.virt.ssh import HostKey


def panel_key() -> str:
    """The public half of the panel's key, for `authorized_keys` of each host."""
    return _home().public_key()


def known_key(uri: str) -> KnownHostKey | None:
    """The confirmed key of the machine at this address. Raises `ValueError` if it names none."""
    return KnownHostKey.objects.filter(place=ssh.place_of(uri)).first()


def needs_confirmation(uri: str) -> bool:
    """Whether staff must confirm a host key before the panel connects to this address."""
    return ssh.uses_home(uri) and known_key(uri) is None


def confirm_key(uri: str, key: HostKey, *, by: str) -> KnownHostKey:
    """From now on the machine at this address is the one with this key, and no other."""
    row, _ = KnownHostKey.objects.update_or_create(
        place=ssh.place_of(uri),
        defaults={
            "public_key": key.public_key,
            "fingerprint": key.fingerprint,
            "confirmed_by": by[:200],
        },
    )
    transaction.on_commit(write_known_hosts)
    return row


def write_known_hosts() -> None:
    """Bring this machine's file to what the records say; cheap if nothing has changed."""
    rows = KnownHostKey.objects.values_list("place", "public_key")
    _home().trust(f"{place} {key}" for place, key in rows)


def _home() -> ssh.Home:
    home = ssh.home()
    if home is None:
        raise RuntimeError("hosts.apps says where the panel's keys lie; it has not run")
    return home
