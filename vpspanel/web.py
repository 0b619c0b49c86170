"""The web process: uvicorn, as the panel needs it."""

from __future__ import annotations

import os
import resource
import socket
import sys

import uvicorn
from django.conf import settings

from vpspanel.bounded import BoundedHttp, BoundedWebSocket

# glibc's thresholds move by themselves unless they are set; then each large
# console frame costs an mmap and a munmap. With these a console carries half
# as much again. They must be in the environment before the process starts.
WEB_ENVIRONMENT = {
    "MALLOC_MMAP_THRESHOLD_": str(8 * 1024 * 1024),
    "MALLOC_TRIM_THRESHOLD_": str(32 * 1024 * 1024),
}


OPEN_FILES = 65536  # two for each console; the usual limit of 1,024 is for interactive programs


def web_config(application: str) -> uvicorn.Config:
    """How the panel is served, whatever it listens on.

    Compression of websocket messages is off: it costs more than it saves on
    console streams. Forwarded addresses are believed only behind a proxy.
    """
    return uvicorn.Config(
        application,
        loop="uvloop",
        http=BoundedHttp,
        ws=BoundedWebSocket,
        ws_per_message_deflate=False,
        ws_max_size=1024 * 1024,  # a frame is put together before an endpoint can refuse it
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=settings.ALLAUTH_TRUSTED_PROXY_COUNT > 0,
        timeout_graceful_shutdown=2,
    )


def serve_web(listener: socket.socket, application: str = "vpspanel.asgi:application") -> None:
    """Serve on a socket that listens already, until SIGTERM or SIGINT."""
    allow_many_files()
    uvicorn.Server(web_config(application)).run(sockets=[listener])


def with_web_environment() -> None:
    """Go on with `WEB_ENVIRONMENT`; where it is not there yet, the process begins anew with it."""
    missing = WEB_ENVIRONMENT.keys() - os.environ.keys()
    if missing:
        added = {name: WEB_ENVIRONMENT[name] for name in missing}
        os.execve(sys.executable, sys.orig_argv, {**os.environ, **added})  # noqa: S606 itself


def allow_many_files() -> None:
    """Raise this process's limit of open files as far as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)
    if soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
