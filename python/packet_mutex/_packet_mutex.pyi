"""The extension module; use :mod:`packet_mutex`."""

import os
from asyncio import AbstractEventLoop, Future
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self, Unpack, final

from typing_extensions import disjoint_base

from ._settings import Settings

__all__ = [
    "SETTINGS",
    "EventLoop",
    "Events",
    "ManualClock",
    "Mutex",
    "Request",
    "Server",
    "Sleep",
    "Trace",
    "Turn",
    "after_fork_in_child",
    "at_exit",
    "connect",
    "run_command",
]

SETTINGS: tuple[str, ...]
"""The names of all settings."""

def run_command(args: Sequence[str | os.PathLike[str]]) -> int:
    """Runs the command ``packet-mutex`` with these arguments, of which the first is its own name. Returns its exit code."""

def connect(url: str) -> None:
    """Uses the mutexes behind the server at this URL from now on."""

def after_fork_in_child() -> None:
    """For ``os.register_at_fork``: the parent's mutexes are refused from now on."""

def at_exit() -> None:
    """For ``atexit``: from now on no task is woken and no line is logged."""

@final
class ManualClock:
    """A clock that stands still until it is told to advance, for tests in virtual time."""

    def __new__(cls) -> Self: ...
    def advance(self, seconds: float) -> None:
        """Advances by this many seconds and rings each alarm on the way."""

    def advance_to(self, nanoseconds: int) -> None:
        """Advances to a time in nanoseconds, counted from the clock's zero, and rings each alarm on the way."""

    def set(self, nanoseconds: int) -> None:
        """Shows a time in nanoseconds from now on. The alarms until then ring late, when the clock advances."""

    @property
    def next_alarm(self) -> int | None:
        """The time of the next alarm in nanoseconds."""

@final
class EventLoop:
    """Wakes the waiting tasks of one event loop."""

    def __new__(cls, event_loop: AbstractEventLoop) -> Self: ...
    def wake(self) -> None:
        """Wakes the tasks that are ready. Runs in the loop."""

@final
class Events:
    """A reader of one mutex's events, as lines of JSON."""

    def take(self) -> list[str]:
        """Takes all new events, without waiting."""

    def wait(self, timeout: float | None = None) -> list[str]:
        """Takes all new events; waits up to ``timeout`` seconds for the first."""

@final
class Server:
    """Serves the process's mutex at a socket until it is closed. See :func:`serve`."""

    def __new__(
        cls,
        url: str | None,
        roster: str | os.PathLike[str] | None,
        state: str | os.PathLike[str] | None,
        http: str | None,
        lease: float,
    ) -> Self: ...
    @property
    def url(self) -> str:
        """The URL at which it listens."""

    @property
    def page(self) -> str | None:
        """The URL of the page, if there is one."""

    def close(self) -> None:
        """Closes all connections. The process's own threads and tasks keep the mutex."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        raised: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

@final
class Trace:
    """Writes the events of a mutex to a file, a line of JSON each, until it is closed. See :meth:`Mutex.trace`."""

    def __new__(cls, mutex: Mutex, path: str | os.PathLike[str]) -> Self: ...
    def close(self) -> None:
        """Writes what has happened until now, and ends. Raises ``OSError`` if something could not be written."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        raised: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

@final
class Request:
    """The request of a task that waits."""

    def poll(self, event_loop: EventLoop) -> Future[None] | None:
        """Returns a future to wait for before the next call, or ``None`` if the answer is there."""

    def finish(self) -> None:
        """Takes the turn, or raises why there is none."""

    def withdraw(self) -> None:
        """Takes the request back. A grant that was not taken yet is declined."""

@final
class Sleep:
    """A task's sleep inside its turn."""

    def poll(self, event_loop: EventLoop) -> Future[None] | None:
        """Returns a future to wait for before the next call, or ``None`` if the sleep is over."""

    @property
    def whole(self) -> bool:
        """Whether it slept the whole time."""

@disjoint_base
class Turn:
    """An ask for turns of one module; while the caller holds one, that turn."""

    def __new__(
        cls,
        module: str,
        timeout: float | None = None,
        *,
        urgent: bool = False,
        valid_if: Callable[[], object] | None = None,
        mutex: Mutex | None = None,
    ) -> Self: ...
    def __enter__(self) -> Self:
        """Waits for the turn. If it is not granted, raises why."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        _value: BaseException | None,
        _traceback: TracebackType | None,
    ) -> bool:
        """Ends the turn. The event log says if an exception came through."""

    def __bool__(self) -> bool:
        """Returns whether the caller holds it."""

    def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:
        """Waits for the turn. Returns whether it was granted. End it with :meth:`release`."""

    def release(self) -> bool:
        """Ends the caller's newest turn of the module. Returns ``False``, and logs a warning, if the caller has none."""

    def decline(self) -> None:
        """Ends a turn in which nothing was sent. No delay starts, and the turn before stays the last one."""

    def acknowledge(self) -> None:
        """Says that things were put right after an abandoned turn. Later turns no longer see the mark."""

    def yield_now(self, timeout: float | None = None) -> None:
        """Gives the turn away and asks again in one step, so that others who should come first do. It then has a new token."""

    def sleep(self, seconds: float) -> bool:
        """Sleeps inside the turn. Returns ``False`` if it ended early because the turn should be given away."""

    @property
    def module(self) -> str:
        """The name of the module."""

    @property
    def should_yield(self) -> bool:
        """Whether the turn should be given away soon: somebody more important waits, or it has lasted too long."""

    @property
    def token(self) -> int | None:
        """The turn's number, larger than that of every turn before; ``None`` without a turn and for a pass."""

    @property
    def is_pass(self) -> bool:
        """Whether this is a pass, which excludes nobody: the module is only observed or off."""

    @property
    def depth(self) -> int:
        """How many turns of the caller are open around this one; 0 if it is not nested."""

    @property
    def waited(self) -> float:
        """How long the ask waited, in seconds."""

    @property
    def others_since_request(self) -> int:
        """How many turns of others came between the ask and the grant. If any, what was read before the ask is stale."""

    @property
    def predecessor_abandoned(self) -> bool:
        """Whether a turn before this one was abandoned and nobody has acknowledged it since."""

    def _owner(self) -> int:
        """Returns the owner that an ask would have now."""

    def _begin(self, owner: int, timeout: float | None = None) -> Request:
        """Asks for this owner."""

    def _begin_again(self, owner: int, timeout: float | None = None) -> Request:
        """Gives this owner's turn away and asks again."""

    def _begin_sleep(self, owner: int, seconds: float) -> Sleep:
        """Begins a sleep inside this owner's turn."""

@disjoint_base
class Mutex:
    """A lock that modules share."""

    def __new__(
        cls, name: str, *, clock: ManualClock | None = None, **settings: Unpack[Settings]
    ) -> Self: ...
    @property
    def name(self) -> str:
        """The mutex's name."""

    @property
    def roster(self) -> str:
        """The roster in force, as TOML."""

    def acquire(self, module: str, timeout: float | None = None) -> bool:
        """Waits for a turn of the module. Returns whether it was granted. End it with :meth:`release`."""

    def release(self, module: str) -> bool:
        """Ends the caller's newest turn of the module. Returns ``False``, and logs a warning, if the caller has none."""

    def configure(self, **settings: Unpack[Settings]) -> None:
        """Changes settings, as :func:`configure` does. Those that are not given stay as they are."""

    def cancel(self, module: str) -> None:
        """Ends the module's waiting asks with :class:`Cancelled`."""

    def disable(self, module: str) -> None:
        """Refuses the module's new asks with :class:`Disabled`. What waits already stays."""

    def enable(self, module: str) -> None:
        """Accepts the module's asks again."""

    def set_mode(self, module: str, mode: str) -> None:
        """Sets the module's mode: ``enforced``, ``observed`` or ``off``."""

    def pause(self, reason: str, *, below: int | None = None, seconds: float | None = None) -> None:
        """Holds back asks of a lower priority than ``below``, or all that are not urgent, and asks such a holder to yield.
        It ends after ``seconds``, or with :meth:`resume`."""

    def resume(self, reason: str | None = None) -> None:
        """Ends the pause with this reason, or all pauses."""

    def revoke(self, reason: str) -> None:
        """Takes the open turn away from its holder: the turn is then false, and ends as revoked. The holder may still be acting,
        so the next turn comes after the delay and sees ``predecessor_abandoned``. Raises :class:`NotHolder` if nobody holds it."""

    def close(self) -> None:
        """Ends all waiting asks with :class:`Closed`, lets the holder finish, and refuses all later asks."""

    def reset(self) -> None:
        """For tests: ends the caller's own turn, cancels what waits, clears the counts and forgets the delay."""

    def _status(self) -> str:
        """Returns the status as JSON."""

    def _events(self, *, so_far: bool = False) -> Events:
        """Returns a reader of the events."""
