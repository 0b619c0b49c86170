"""From a host's address, as staff know it, to the URI that libvirt opens."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote, urlsplit

from hosts.virt import ssh

_certificates: dict[str, Path] = {}


def use_certificates(directory: Path) -> None:
    """Where cacert.pem, clientcert.pem and clientkey.pem for hosts over TLS lie."""
    _certificates["directory"] = directory


def openable(uri: str) -> str:
    """`uri` with the panel's own key or certificates, and told never to ask on a terminal.

    Makes the SSH key pair if there is none yet.
    """
    if not ssh.is_ssh(uri):
        directory = _certificates.get("directory")
        if urlsplit(uri).scheme.endswith("+tls") and directory is not None:
            return _with(uri, "pkipath", str(directory))
        return uri
    home = ssh.home()
    if home is not None and ssh.uses_home(uri):
        home.prepare()
        uri = _with(uri, "command", str(home.command))
    return _with(uri, "no_tty", "1")


def _with(uri: str, option: str, value: str) -> str:
    """The URI with this option, unless it says something of its own."""
    parts = urlsplit(uri)
    if f"{option}=" in parts.query:
        return uri
    added = f"{option}={quote(value)}"
    return parts._replace(query=f"{parts.query}&{added}" if parts.query else added).geturl()


def is_local(uri: str) -> bool:
    """Whether libvirt is spoken to over a UNIX socket, which can also carry file descriptors."""
    parts = urlsplit(uri)
    return not parts.netloc and parts.scheme.partition("+")[2] in ("", "unix")
