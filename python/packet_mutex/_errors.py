"""The errors of asking for the mutex. Whatever the error, the caller does not have it."""

from __future__ import annotations

from typing import Any, ClassVar


class PacketMutexError(Exception):
    """Any error of the mutex: what happened, who holds, what to do."""

    kind: ClassVar[str] = "error"
    """The kind, by the name that every way in uses."""

    def __init__(self, message: str = "", **details: Any) -> None:
        super().__init__(message)
        self.__dict__.update(details)

    def __reduce__(self) -> tuple[Any, ...]:
        # The details travel with it to other processes.
        return type(self), self.args, self.__dict__


class PacketMutexTimeout(PacketMutexError, TimeoutError):
    """Not granted in time."""

    kind = "timeout"
    waited: float
    """How long it waited, in seconds."""
    holder: str | None
    """The module that holds the mutex."""
    held: float | None
    """For how long it does."""
    ahead: int
    """How many waiters were ahead."""
    delay_left: float
    """How much of the handover delay was left, in seconds."""
    paused: str | None
    """The reason of the pause that held it back."""


class WouldDeadlock(PacketMutexError):
    """The caller, or somebody who cannot go on before it, holds a turn of another group."""

    kind = "would_deadlock"
    holds: str
    """The module whose turn is open."""
    asked: str
    """The module that was asked for."""


class Refused(PacketMutexError):
    """Refused for a reason that waiting does not change."""

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
    """The caller does not hold what it speaks of. Nothing was changed."""

    kind = "not_holder"
    holder: str | None
    """Who holds the mutex instead."""


class QueueFull(PacketMutexError):
    """Too many asks wait."""

    kind = "queue_full"
    limit: int


class InvalidName(PacketMutexError, ValueError):
    """The text is no name: 1 to 64 of ``a-z 0-9 _ . -``, upper case folded."""

    kind = "invalid_name"


class UnknownModule(PacketMutexError):
    """The roster is strict and has no such module."""

    kind = "unknown_module"


class NoLongerValid(PacketMutexError):
    """The check that came with the ask said no inside the turn, which was declined."""

    kind = "no_longer_valid"


class Lost(PacketMutexError):
    """The turn is gone: its owner was lost, or its grant was never taken."""

    kind = "lost"


class ChannelLost(PacketMutexError):
    """The channel went with a turn that was never ended."""

    kind = "channel_lost"


class Unavailable(PacketMutexError, ConnectionError):
    """The mutex cannot be reached, for example because it belongs to the process that this one was forked from."""

    kind = "unavailable"


class Unauthorized(PacketMutexError):
    """The secret is missing or wrong."""

    kind = "unauthorized"


class Unsupported(PacketMutexError):
    """This mutex cannot do that."""

    kind = "unsupported"


class RosterDiffers(PacketMutexError):
    """The mutex has another roster."""

    kind = "roster_differs"
    fields: list[str]
    """The fields that differ."""


class InvalidRoster(PacketMutexError, ValueError):
    """The roster cannot be read or is wrong; all its errors, with their places."""

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
