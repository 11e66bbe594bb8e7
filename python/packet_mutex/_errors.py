"""The errors of the mutex. Whatever the error, the caller does not hold the mutex."""

from __future__ import annotations

from typing import Any, ClassVar


class PacketMutexError(Exception):
    """Any error of the mutex. It says what happened, who holds the mutex, and what to do."""

    kind: ClassVar[str] = "error"
    """The kind, which is the same in Rust, in the protocol and in the event log."""

    def __init__(self, message: str = "", **details: Any) -> None:
        super().__init__(message)
        self.__dict__.update(details)

    def __reduce__(self) -> tuple[Any, ...]:
        # Without this, pickling for another process loses the details.
        return type(self), self.args, self.__dict__


class PacketMutexTimeout(PacketMutexError, TimeoutError):
    """The turn was not granted in time."""

    kind = "timeout"
    waited: float
    """How long the ask waited, in seconds."""
    holder: str | None
    """The module that holds the mutex."""
    held: float | None
    """How long it has held the mutex, in seconds."""
    ahead: int
    """How many asks were ahead."""
    delay_left: float
    """How much of the handover delay was left, in seconds."""
    paused: str | None
    """The reason of the pause that held the ask back."""


class WouldDeadlock(PacketMutexError):
    """The caller would wait for itself: it holds a turn of another group, or a task of its own event loop does."""

    kind = "would_deadlock"
    holds: str
    """The module that holds the mutex."""
    asked: str
    """The module that was asked for."""


class Refused(PacketMutexError):
    """The mutex refuses, and waiting does not change that."""

    kind = "refused"


class Cancelled(PacketMutexError):
    """The module's waiting asks were cancelled."""

    kind = "cancelled"


class Disabled(PacketMutexError):
    """The module is disabled."""

    kind = "disabled"
    module: str


class Closed(PacketMutexError):
    """The mutex is closed."""

    kind = "closed"


class NotHolder(PacketMutexError):
    """The caller does not hold the turn. Nothing was changed."""

    kind = "not_holder"
    holder: str | None
    """The module that holds the mutex instead."""


class QueueFull(PacketMutexError):
    """Too many asks are waiting."""

    kind = "queue_full"
    limit: int


class InvalidName(PacketMutexError, ValueError):
    """The text is not a name. Names have 1 to 64 of ``a-z 0-9 _ . -``; upper case counts as lower."""

    kind = "invalid_name"


class UnknownModule(PacketMutexError):
    """The roster is strict and has no such module."""

    kind = "unknown_module"


class NoLongerValid(PacketMutexError):
    """The check ``valid_if`` refused the turn, which was declined."""

    kind = "no_longer_valid"


class Lost(PacketMutexError):
    """The turn is gone: the connection was lost, its owner ended, or its grant was not taken in time."""

    kind = "lost"


class ChannelLost(PacketMutexError):
    """The channel went with a turn that was never ended."""

    kind = "channel_lost"


class Unavailable(PacketMutexError, ConnectionError):
    """The mutex cannot be reached. The server is gone, or this process was forked from the one that uses the mutex."""

    kind = "unavailable"


class Unauthorized(PacketMutexError):
    """The secret is missing or wrong."""

    kind = "unauthorized"


class Unsupported(PacketMutexError):
    """This mutex cannot do that."""

    kind = "unsupported"


class RosterDiffers(PacketMutexError):
    """The mutex exists already, with another roster."""

    kind = "roster_differs"
    fields: list[str]
    """The fields in which the rosters differ."""


class InvalidRoster(PacketMutexError, ValueError):
    """The roster cannot be read or is wrong. The message lists all its errors with their places."""

    kind = "invalid_roster"


BY_KIND: dict[str, type[PacketMutexError]] = {
    error.kind: error
    for error in (
        PacketMutexTimeout,
        WouldDeadlock,
        Refused,
        Cancelled,
        Disabled,
        Closed,
        NotHolder,
        QueueFull,
        InvalidName,
        UnknownModule,
        NoLongerValid,
        Lost,
        ChannelLost,
        Unavailable,
        Unauthorized,
        Unsupported,
        RosterDiffers,
        InvalidRoster,
    )
}
