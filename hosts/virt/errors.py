"""What can go wrong on a host, sorted by whose turn it is.

`VirtError.code` is stable: the engine, the pages and the API branch on it.
`retryable` says whether the same call may succeed later without anybody
changing anything.
"""

from __future__ import annotations


class VirtError(Exception):
    """A host refused or failed a call. `str()` is for staff, never for customers."""

    code = "host_error"
    retryable = False

    def __init__(self, message: str, *, code: str | None = None, retryable: bool | None = None):
        super().__init__(message)
        if code is not None:
            self.code = code
        if retryable is not None:
            self.retryable = retryable


class HostUnreachable(VirtError):
    """No answer: the connection is down, or the breaker is open."""

    code = "host_unreachable"
    retryable = True


class WrongHost(HostUnreachable):
    """Something answers at the address that is not the host: its SSH key or certificate is another.

    For actions the host is away; staff are alarmed.
    """


class CallTimeout(VirtError):
    """The call outlived its deadline. Its outcome is unknown: look before repeating."""

    code = "host_timeout"
    retryable = True


class HostDegraded(VirtError):
    """The guest is a phantom (paused, "starting up", no QEMU): calling into it would hang."""

    code = "host_degraded"
    retryable = False


class NotFound(VirtError):
    """No such domain, volume, pool, network or filter."""

    code = "not_found"


class AlreadyExists(VirtError):
    """The name or UUID is taken by something that is not what we asked for."""

    code = "already_exists"


class ForeignObject(VirtError):
    """The domain exists but does not carry our metadata: it is never touched."""

    code = "foreign_object"


class DiskFull(VirtError):
    """The pool has no room left."""

    code = "disk_full"
    retryable = True


class InvalidState(VirtError):
    """The guest is not in a state that allows the call (start of a running guest …)."""

    code = "invalid_state"


class StillMoving(VirtError):
    """An earlier move of the guest is not cleared up yet. Its hosts do that by themselves."""

    code = "still_moving"
    retryable = True


class Unsupported(VirtError):
    """This host, or its libvirt driver, cannot do it."""

    code = "unsupported"


class AgentUnavailable(VirtError):
    """The guest agent is not configured or does not answer."""

    code = "agent_unavailable"


class ConsoleBusy(VirtError):
    """Somebody else holds the serial console."""

    code = "console_busy"
