"""What libvirt's errors mean to us: one table, and the few messages that a code does not tell.

Not in errors.py, so that the panel can be shown on a simulated host on a
machine without libvirt's Python module.
"""

from __future__ import annotations

import errno

import libvirt

from hosts.virt.errors import (
    AgentUnavailable,
    AlreadyExists,
    CallTimeout,
    ConsoleBusy,
    DiskFull,
    HostUnreachable,
    InvalidState,
    NotFound,
    StillMoving,
    Unsupported,
    VirtError,
    WrongHost,
)

BY_CODE: dict[int, type[VirtError]] = {
    libvirt.VIR_ERR_NO_DOMAIN: NotFound,
    libvirt.VIR_ERR_NO_STORAGE_POOL: NotFound,
    libvirt.VIR_ERR_NO_STORAGE_VOL: NotFound,
    libvirt.VIR_ERR_NO_NETWORK: NotFound,
    libvirt.VIR_ERR_NO_NWFILTER: NotFound,
    libvirt.VIR_ERR_DOM_EXIST: AlreadyExists,
    libvirt.VIR_ERR_NETWORK_EXIST: AlreadyExists,
    libvirt.VIR_ERR_STORAGE_VOL_EXIST: AlreadyExists,
    libvirt.VIR_ERR_OPERATION_INVALID: InvalidState,
    libvirt.VIR_ERR_OPERATION_TIMEOUT: CallTimeout,
    libvirt.VIR_ERR_NO_SUPPORT: Unsupported,
    libvirt.VIR_ERR_OPERATION_UNSUPPORTED: Unsupported,
    libvirt.VIR_ERR_CONFIG_UNSUPPORTED: Unsupported,
    libvirt.VIR_ERR_AGENT_UNRESPONSIVE: AgentUnavailable,
    libvirt.VIR_ERR_AGENT_UNSYNCED: AgentUnavailable,
    libvirt.VIR_ERR_RPC: HostUnreachable,
    libvirt.VIR_ERR_INVALID_CONN: HostUnreachable,
    libvirt.VIR_ERR_NO_CONNECT: HostUnreachable,
    libvirt.VIR_ERR_AUTH_FAILED: HostUnreachable,
    libvirt.VIR_ERR_AUTH_CANCELLED: HostUnreachable,
    libvirt.VIR_ERR_AUTH_UNAVAILABLE: HostUnreachable,
    libvirt.VIR_ERR_SSH: HostUnreachable,
    libvirt.VIR_ERR_LIBSSH: HostUnreachable,
    libvirt.VIR_ERR_GNUTLS_ERROR: HostUnreachable,
}

# libvirt reports these under general codes; the words have been the same for many versions.
BY_MESSAGE: tuple[tuple[str, type[VirtError]], ...] = (
    ("no space left on device", DiskFull),
    ("active console session exists", ConsoleBusy),
    ("guest agent is not configured", AgentUnavailable),
    ("guest agent is not connected", AgentUnavailable),
    ("guest agent is not available", AgentUnavailable),
    ("guest agent command failed", AgentUnavailable),
    ("unable to execute qemu agent command", AgentUnavailable),
    ("already exists", AlreadyExists),
    ("storage volume not found", NotFound),
    ("unsupported flags", Unsupported),
    ("nwfilter is in use", InvalidState),
    ("another migration job is already running", StillMoving),
    ("client socket is closed", HostUnreachable),
    ("connection closed due to keepalive timeout", HostUnreachable),
    ("cannot recv data", HostUnreachable),
    ("end of file while reading data", HostUnreachable),
    ("received hangup event on socket", HostUnreachable),
)

# Without these the code tells more than the words could.
SPECIFIC = {
    libvirt.VIR_ERR_NO_DOMAIN,
    libvirt.VIR_ERR_NO_STORAGE_POOL,
    libvirt.VIR_ERR_NO_STORAGE_VOL,
    libvirt.VIR_ERR_NO_NETWORK,
    libvirt.VIR_ERR_NO_NWFILTER,
}

# The definition itself is wrong: nothing but a change of our code makes the next try better.
BAD_DEFINITION = {
    libvirt.VIR_ERR_XML_ERROR,
    libvirt.VIR_ERR_XML_DETAIL,
    libvirt.VIR_ERR_XML_INVALID_SCHEMA,
}


# What ssh and GnuTLS say, through libvirt, of somebody who cannot prove to be the host.
WRONG_HOST = (
    "host key verification failed",
    "remote host identification has changed",
    "failed to verify peer's certificate",
    "does not match the hostname",
    "certificate failed validation",
)


def unreachable(uri: str, said: str) -> HostUnreachable:
    """Why no connection came about, in the words of `said`."""
    lowered = said.lower()
    if any(words in lowered for words in WRONG_HOST):
        return WrongHost(
            f"{uri}: what answers there cannot prove to be this host (its SSH host key or "
            "certificate is not the one that staff confirmed). Nothing is sent to it."
        )
    return HostUnreachable(f"{uri}: {said}")


def translate(error: libvirt.libvirtError) -> VirtError:
    """The `VirtError` that says what `error` means. Its text is libvirt's, for staff only."""
    message = error.get_error_message() or str(error)
    code = error.get_error_code()
    if error.get_int1() == errno.ENOSPC and code == libvirt.VIR_ERR_SYSTEM_ERROR:
        return DiskFull(message)
    if code not in SPECIFIC:
        lowered = message.lower()
        for words, kind in BY_MESSAGE:
            if words in lowered:
                return kind(message)
    if code in BY_CODE:
        return BY_CODE[code](message)
    if code == libvirt.VIR_ERR_SYSTEM_ERROR and error.get_error_domain() == libvirt.VIR_FROM_RPC:
        return HostUnreachable(message)
    if code == libvirt.VIR_ERR_RESOURCE_BUSY:
        return VirtError(message, code="resource_busy", retryable=True)
    if code in BAD_DEFINITION:
        return VirtError(message, code="bad_definition")
    return VirtError(message)
