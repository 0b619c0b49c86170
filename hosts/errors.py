"""Why the machine room cannot serve: each with a stable code."""

from __future__ import annotations


class MachineRoomError(Exception):
    """Base class; `str()` is a sentence for staff."""

    code = "machine_room_error"


class NoCapacity(MachineRoomError):
    """No accepting, reachable host has room for this."""

    code = "no_capacity"


class NoAddress(MachineRoomError):
    """No pool of the location has a free address of this family."""

    code = "no_address"


class EnrolError(MachineRoomError):
    """The host cannot be enrolled; the sentence says why and what to do."""

    code = "enrol_refused"


class StagingBusy(MachineRoomError):
    """Somebody else is copying this image to this pool right now; look again in a moment."""

    code = "staging_busy"


class LibraryFull(MachineRoomError):
    """The image library has no room for this file."""

    code = "library_full"
