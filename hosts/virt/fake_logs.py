"""What simulated guests wrote to their serial ports: their boots, and what tests let them say."""

from __future__ import annotations

import sqlite3

from hosts.virt.fake_shell import boot_messages

KEPT = 256 * 1024


def log_boot(db: sqlite3.Connection, uuid: str) -> None:
    """The guest has started: its log has what it writes while it boots."""
    (name,) = db.execute("SELECT name FROM domain WHERE uuid = ?", (uuid,)).fetchone()
    add_to_log(db, uuid, "".join(text for _, text in boot_messages(name)).encode())


def add_to_log(db: sqlite3.Connection, uuid: str, text: bytes) -> None:
    """Of more than is kept, the oldest goes."""
    db.execute(
        "INSERT OR REPLACE INTO serial_log (uuid, text) VALUES (?, ?)",
        (uuid, (log_of(db, uuid) + text)[-KEPT:]),
    )


def log_of(db: sqlite3.Connection, uuid: str) -> bytes:
    row = db.execute("SELECT text FROM serial_log WHERE uuid = ?", (uuid,)).fetchone()
    return bytes(row["text"]) if row else b""


def delete_log(db: sqlite3.Connection, uuid: str) -> bool:
    return db.execute("DELETE FROM serial_log WHERE uuid = ?", (uuid,)).rowcount > 0
