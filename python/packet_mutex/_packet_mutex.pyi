"""The extension module; use :mod:`packet_mutex`."""

import os
from asyncio import AbstractEventLoop, Future
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self, final

from typing_extensions import disjoint_base

__all__ = [
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

def run_command(args: Sequence[str | os.PathLike[str]]) -> int:
    """Runs the command ``packet-mutex`` with these arguments, the first its own name, and gives its exit code."""

def connect(url: str) -> None:
    """From now on the process's mutexes are those at this URL."""

def after_fork_in_child() -> None:
    """For ``os.register_at_fork``: mutexes of the parent are refused from now on."""

def at_exit() -> None:
    """For ``atexit``: from now on nobody is woken and nothing is written."""

@final
class ManualClock:
    """A clock that stands still until it is told to go on: for tests in virtual time."""

    def __new__(cls) -> Self: ...
    def advance(self, seconds: float) -> None:
        """Goes on by so many seconds, stopping at each alarm on the way to ring it."""

    def advance_to(self, nanoseconds: int) -> None:
        """Goes on to a time in nanoseconds, counted from the clock's zero."""

    def set(self, nanoseconds: int) -> None:
        """Shows a time in nanoseconds from now on; the alarms until then ring late, when it goes on."""

    @property
    def next_alarm(self) -> int | None:
        """The time of the next alarm in nanoseconds."""

@final
class EventLoop:
    """Where the waiting tasks of one event loop are woken."""

    def __new__(cls, event_loop: AbstractEventLoop) -> Self: ...
    def wake(self) -> None:
        """Wakes the tasks that are ready; runs in the loop."""

@final
class Events:
    """A reader of one mutex's events, as lines of JSON."""

    def take(self) -> list[str]:
        """All new events, without waiting."""

    def wait(self, timeout: float | None = None) -> list[str]:
        """All new events; waits up to so many seconds for the first."""

@final
class Server:
    """The process's mutex behind a socket, until it is closed. See :func:`serve`."""

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
        """Where it listens."""

    @property
    def page(self) -> str | None:
        """Where the page is, if there is one."""

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
        """Writes what has happened until now, and ends. Raises ``OSError`` if not all of it could be written."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        raised: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

@final
class Request:
    """A request of a task that waits."""

    def poll(self, event_loop: EventLoop) -> Future[None] | None:
        """A future to wait for before the next call, or ``None`` if the answer is there."""

    def finish(self) -> None:
        """Takes the turn, or raises why there is none."""

    def withdraw(self) -> None:
        """The asker goes away; a grant that it has not taken is declined."""

@final
class Sleep:
    """A sleep of a task inside its turn."""

    def poll(self, event_loop: EventLoop) -> Future[None] | None:
        """A future to wait for before the next call, or ``None`` if the sleep is over."""

    @property
    def whole(self) -> bool:
        """Was it the whole time?"""

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
        """Waits for the turn; if it is not granted, raises why."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        _value: BaseException | None,
        _traceback: TracebackType | None,
    ) -> bool:
        """Ends the turn. The event log says if an exception came through."""

    def __bool__(self) -> bool:
        """Does the caller hold it?"""

    def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:
        """Waits for the turn; whether it was granted. End it with :meth:`release`."""

    def release(self) -> bool:
        """Ends the caller's newest turn of the module. ``False``, and a warning, if it has none."""

    def decline(self) -> None:
        """Ends a turn in which nothing was sent: no delay starts, and the history stays what it was."""

    def acknowledge(self) -> None:
        """Things were put right after an abandoned turn: later turns see no mark."""

    def yield_now(self, timeout: float | None = None) -> None:
        """Gives the turn away and asks again in one step: others come first if they should. It then has a new token."""

    def sleep(self, seconds: float) -> bool:
        """Sleeps inside the turn. ``False`` if it ended early because the turn should be given away."""

    @property
    def module(self) -> str:
        """The name of the module."""

    @property
    def should_yield(self) -> bool:
        """Should the turn be given away soon: does somebody more important wait, or has it lasted too long?"""

    @property
    def token(self) -> int | None:
        """The turn's number, larger than that of every turn before. ``None`` without a turn, and for a pass."""

    @property
    def is_pass(self) -> bool:
        """Is this a pass of a module that is only observed or off, which excludes nobody?"""

    @property
    def depth(self) -> int:
        """How many turns of the caller are open around this one: 0 for a turn of its own."""

    @property
    def waited(self) -> float:
        """How long the ask waited, in seconds."""

    @property
    def others_since_request(self) -> int:
        """How many turns of others came between the ask and the grant. If any, what was read before is stale."""

    @property
    def predecessor_abandoned(self) -> bool:
        """Was a turn before this one abandoned, and has nobody acknowledged it since?"""

    def _owner(self) -> int:
        """The owner that an ask of this moment has."""

    def _begin(self, owner: int, timeout: float | None = None) -> Request:
        """Asks for that owner."""

    def _begin_again(self, owner: int, timeout: float | None = None) -> Request:
        """Gives that owner's turn away and asks again."""

    def _begin_sleep(self, owner: int, seconds: float) -> Sleep:
        """Begins a sleep inside that owner's turn."""

@disjoint_base
class Mutex:
    """A lock that modules share."""

    def __new__(
        cls, name: str, *, clock: ManualClock | None = None, settings: dict[str, Any] | None = None
    ) -> Self: ...
    @property
    def name(self) -> str:
        """The mutex's name."""

    @property
    def roster(self) -> str:
        """The roster in force, as TOML."""

    def acquire(self, module: str, timeout: float | None = None) -> bool:
        """Waits for a turn of the module; whether it was granted. End it with :meth:`release`."""

    def release(self, module: str) -> bool:
        """Ends the caller's newest turn of the module. ``False``, and a warning, if it has none."""

    def cancel(self, module: str) -> None:
        """Ends the module's waiting asks with :class:`Cancelled`."""

    def disable(self, module: str) -> None:
        """Refuses the module's new asks with :class:`Disabled`; what waits, stays."""

    def enable(self, module: str) -> None:
        """Takes the module's asks again."""

    def set_mode(self, module: str, mode: str) -> None:
        """Switches how far the mutex governs the module: ``enforced``, ``observed`` or ``off``."""

    def pause(self, reason: str, *, below: int | None = None, seconds: float | None = None) -> None:
        """Holds back asks of a lower priority than ``below``, or all that are not urgent, and asks a lower holder to
        yield. It ends after so many seconds, or with :meth:`resume`."""

    def resume(self, reason: str | None = None) -> None:
        """Ends the pause with this reason, or all."""

    def close(self) -> None:
        """Ends all waiters with :class:`Closed`, lets the holder finish, and refuses what comes."""

    def reset(self) -> None:
        """For tests: ends the caller's own turn, cancels the waiters, clears the counts, forgets the delay."""

    def _configure(self, settings: dict[str, Any]) -> None:
        """Changes settings of the roster in force."""

    def _status(self) -> str:
        """The status as JSON."""

    def _events(self, *, so_far: bool = False) -> Events:
        """A reader of the events."""
