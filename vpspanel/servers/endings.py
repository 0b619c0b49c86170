"""The end of a server: everything it held goes back, once.

Called only inside the transaction that ends its last action, after the host
has confirmed that nothing of it is left.
"""

from __future__ import annotations

from django.utils import timezone

from hosts.services import release_capacity
from vpspanel.accounts.services import release_server_slot
from vpspanel.servers.models import NO_SECRETS, Lifecycle, PowerSeen, Server
from vpspanel.servers.public_net import let_go_of_addresses


def bury(server_id: int, *, failed_reason: str = "", keep: list[int] | None = None) -> bool:
    """Mark it deleted and give back the account's slot, room and addresses.

    In the order in which an order takes them, so that the two never wait for
    each other. Addresses of `keep`, which are ids, stay the project's in any
    case. False if it had been buried before; then nothing changes.
    """
    buried = (
        Server.objects.filter(pk=server_id)
        .exclude(lifecycle=Lifecycle.DELETED)
        .update(
            lifecycle=Lifecycle.DELETED,
            deleted_at=timezone.now(),
            failed_reason=failed_reason[:300],
            power_seen=PowerSeen.UNKNOWN,
            seed_secret_since=None,
            rescue_enabled=False,
            in_rescue=False,
            **NO_SECRETS,
        )
    )
    if not buried:
        return False
    server = Server.objects.select_related("project").get(pk=server_id)
    release_server_slot(server.project.account_id)
    release_capacity(server.uuid)
    let_go_of_addresses(server, keep=keep)
    return True
