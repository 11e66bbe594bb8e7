"""Mutexes: the process's own one, and others with names."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from types import MethodType
from typing import TYPE_CHECKING, Any, Protocol, overload

from . import _packet_mutex as _core
from ._events import Event, Events, Subscription
from ._turn import Turn

if TYPE_CHECKING:
    from typing import Unpack

    from ._settings import Settings


class Mutex(_core.Mutex):
    """A mutex with a name. Everywhere in the process, the name stands for the same mutex.

    If the process's mutexes are behind a server (see :func:`configure`), this is the mutex of this name there. Settings are
    those of :func:`configure`; a mutex that exists already must have the same ones. With a ``clock``, for tests, the mutex is
    a new one that no name finds.
    """

    __slots__ = ()

    def turn(
        self,
        module: str,
        timeout: float | None = None,
        *,
        urgent: bool = False,
        valid_if: Callable[[], object] | None = None,
    ) -> Turn:
        """Returns an ask for a turn, for ``with`` or ``async with``.

        An ``urgent`` ask goes ahead of all that are not urgent and skips the delay. ``valid_if`` is called once, inside the
        turn. If it returns something false, the turn is declined and :class:`NoLongerValid` is raised.
        """
        return Turn(module, timeout, urgent=urgent, valid_if=valid_if, mutex=self)

    def status(self) -> dict[str, Any]:
        """Returns a consistent snapshot: who holds, who waits, when the next grant can come.

        ``last_action_time`` is on the scale of :func:`time.monotonic`. Before the first turn has ended, it and
        ``time_since_last_action`` are ``None``.
        """
        status: dict[str, Any] = json.loads(self._status())
        holder, last = status["holder"], status["last"]
        if holder is not None:
            holder["token"] = int(holder["token"])
        since = None if last is None else last["ended"]
        status["current_holder"] = None if holder is None else holder["module"]
        status["waiting_modules"] = [waiter["module"] for waiter in status["waiters"]]
        status["last_action_time"] = None if since is None else time.monotonic() - since
        status["time_since_last_action"] = since
        return status

    def events(self, *, so_far: bool = False) -> Events:
        """Returns a reader of the events from now on; with ``so_far``, also of those that are still kept."""
        return Events(self._events(so_far=so_far))

    def trace(self, path: str | os.PathLike[str]) -> _core.Trace:
        """Writes the events to a file until the trace is closed or its ``with`` is left. It begins with those still kept.

        ``python -m packet_mutex report FILE`` shows the file as a timeline.
        """
        return _core.Trace(self, path)

    def on_event(self, callback: Callable[[Event], object]) -> Subscription:
        """Calls ``callback`` with each event from now on, in a thread of its own. A slow callback delays no grant."""
        return Subscription(self._events(), callback)


_default: Mutex | None = None


def default_mutex() -> Mutex:
    """Returns the process's own mutex, which :class:`PacketMutex` uses."""
    global _default
    if _default is None:
        _default = Mutex("main")
    return _default


class _AcquireByName(Protocol):
    def __call__(self, module: str, timeout: float | None = None) -> bool: ...


class _AcquireOwn(Protocol):
    def __call__(self, blocking: bool = True, timeout: float | None = None) -> bool: ...


class _Acquire:
    """``PacketMutex.acquire("fisher")`` of the class, ``m.acquire()`` of an object."""

    @overload
    def __get__(self, instance: None, owner: type) -> _AcquireByName: ...
    @overload
    def __get__(self, instance: Turn, owner: type) -> _AcquireOwn: ...
    def __get__(self, instance: Turn | None, owner: type) -> _AcquireByName | _AcquireOwn:
        if instance is None:
            return acquire_packet_mutex
        return MethodType(_core.Turn.acquire, instance)


class _Release:
    """``PacketMutex.release("fisher")`` of the class, ``m.release()`` of an object."""

    @overload
    def __get__(self, instance: None, owner: type) -> Callable[[str], bool]: ...
    @overload
    def __get__(self, instance: Turn, owner: type) -> Callable[[], bool]: ...
    def __get__(
        self, instance: Turn | None, owner: type
    ) -> Callable[[str], bool] | Callable[[], bool]:
        if instance is None:
            return release_packet_mutex
        return MethodType(_core.Turn.release, instance)


class PacketMutex(Turn):
    """One module's way into the process's mutex.

    ``with PacketMutex("fisher") as turn: ...`` waits for a turn for at most ``timeout`` seconds, by default 30. If the turn is
    not granted, :class:`PacketMutexTimeout` is raised and the block does not run.
    """

    __slots__ = ()

    acquire = _Acquire()
    release = _Release()

    @staticmethod
    def get_status() -> dict[str, Any]:
        """Returns the status of the process's mutex, as :meth:`Mutex.status` does."""
        return default_mutex().status()

    @staticmethod
    def reset() -> None:
        """For tests: ends the caller's own turn, cancels what waits, clears the counts and forgets the delay."""
        default_mutex().reset()


def acquire_packet_mutex(module: str, timeout: float | None = None) -> bool:
    """Waits for a turn of the module. Returns whether it was granted. End it with :func:`release_packet_mutex`."""
    return default_mutex().acquire(module, timeout)


def release_packet_mutex(module: str) -> bool:
    """Ends the caller's newest turn of the module. Returns ``False``, and logs a warning, if the caller has none."""
    return default_mutex().release(module)


def get_packet_mutex_status() -> dict[str, Any]:
    """Returns the status of the process's mutex, as :meth:`Mutex.status` does."""
    return default_mutex().status()


def configure(*, url: str | None = None, **settings: Unpack[Settings]) -> None:
    """Changes settings of the process's mutex. Those that are not given stay as they are.

    The settings are ``handover_delay``, ``timeout``, ``aging`` (``0`` switches it off), ``priorities``, ``groups``, and
    ``roster``, a file on top of which the others are applied. What waits keeps its place, and no running delay gets shorter.

    With a ``url``, the process's mutexes are those of a server from now on: ``unix:/path`` or ``tcp://host:port``, with
    ``#name`` if the process's own mutex is not ``main``. Call it before a mutex is used. Without it, the environment variable
    ``PACKET_MUTEX_URL`` decides.
    """
    if url is not None:
        _core.connect(url)
    if url is None or any(setting is not None for setting in settings.values()):
        default_mutex().configure(**settings)


def serve(
    url: str | None = None,
    *,
    roster: str | os.PathLike[str] | None = None,
    state: str | os.PathLike[str] | None = None,
    http: str | None = None,
    lease: float = 10,
) -> _core.Server:
    """Serves the process's own mutex at a socket, so that other processes share it with the threads and tasks of this one.

    Call it before the mutex is used. It serves until it is closed or its ``with`` is left. ``url`` is where it listens and
    ``state`` the directory where tokens are stored; the defaults are those of ``packet-mutex serve``. ``http`` is the address
    of a page that shows the mutex, ``lease`` how many seconds a turn over TCP lasts without a heartbeat. The secret is
    ``PACKET_MUTEX_SECRET`` in the environment.
    """
    return _core.Server(url, roster, state, http, lease)
