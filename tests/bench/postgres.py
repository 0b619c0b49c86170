"""A PostgreSQL database for one measurement."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import psycopg
from psycopg import sql

URL = os.environ.get("BENCH_POSTGRES", "postgres://postgres@127.0.0.1:5432")


def missing() -> str:
    """Why there is none; empty if there is."""
    try:
        psycopg.connect(f"{URL}/postgres", connect_timeout=3).close()
    except psycopg.OperationalError as error:
        return str(error).strip().splitlines()[0]
    return ""


@contextlib.contextmanager
def new_database() -> Iterator[str]:
    """The URL of an empty database, which is dropped at the end."""
    name = f"vpspanel_bench_{os.getpid()}"
    _admin("CREATE DATABASE {}", name)
    try:
        yield f"{URL}/{name}"
    finally:
        _admin("DROP DATABASE {} WITH (FORCE)", name)


def _admin(statement: str, name: str) -> None:
    with psycopg.connect(f"{URL}/postgres", autocommit=True) as connection:
        connection.execute(sql.SQL(statement).format(sql.Identifier(name)))
