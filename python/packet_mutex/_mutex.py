"""Mutexes: the process's own one, and others with names."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Mapping
from types import MethodType
from typing import Any, Protocol, overload

from . import _packet_mutex as _core
from ._events import Event, Events, Subscription
from ._turn import Turn


def _settings(
    roster: str | os.PathLike[str] | None,
    handover_delay: float | None,
    timeout: float | None,
    priorities: Mapping[str, int] | None,
    groups: Mapping[str, Iterable[str]] | None,
    aging: float | None,
) -> dict[str, Any]:
    return {
        "roster": roster,
        "handover_delay": handover_delay,
        "timeout": timeout,
        "priorities": None if priorities is None else dict(priorities),
        "groups": None if groups is None else {group: list(names) for group, names in groups.items()},
        "aging": aging,
    }


class Mutex(_core.Mutex):
    """A mutex with a name; all of the process finds the same one under it.

    Where the process's mutexes are behind a server (see :func:`configure`), it is the one of this name there. The settings are
    those of :func:`configure`; one that is there already must have the same. With a ``clock``, for tests, it is a mutex of its own.
    """

    __slots__ = ()

    def __new__(
        cls,
        name: str,
        *,
        roster: str | os.PathLike[str] | None = None,
        handover_delay: float | None = None,
        timeout: float | None = None,
        priorities: Mapping[str, int] | None = None,
        groups: Mapping[str, Iterable[str]] | None = None,
        aging: float | None = None,
        clock: _core.ManualClock | None = None,
    ) -> Mutex:
        settings = _settings(roster, handover_delay, timeout, priorities, groups, aging)
        return super().__new__(cls, name, clock=clock, settings=settings)

    def configure(
        self,
        *,
        handover_delay: float | None = None,
        timeout: float | None = None,
        priorities: Mapping[str, int] | None = None,
        groups: Mapping[str, Iterable[str]] | None = None,
        aging: float | None = None,
        roster: str | os.PathLike[str] | None = None,
    ) -> None:
        """Changes settings; what is not given stays. ``roster`` is a file to begin from, ``aging=0`` switches it off.

        What waits keeps its place in time, and no delay that runs gets shorter.
        """
        self._configure(_settings(roster, handover_delay, timeout, priorities, groups, aging))

    def turn(
        self,
        module: str,
        timeout: float | None = None,
        *,
        urgent: bool = False,
        valid_if: Callable[[], object] | None = None,
    ) -> Turn:
        """An ask for a turn, for ``with`` or ``async with``.

        ``urgent`` goes ahead of all that are not and skips the delay. ``valid_if`` is called once inside the turn; if it
        says no, the turn is declined and :class:`NoLongerValid` raised.
        """
        return Turn(module, timeout, urgent=urgent, valid_if=valid_if, mutex=self)

    def status(self) -> dict[str, Any]:
        """A consistent snapshot: who holds, who waits, when the next grant can come.

        ``last_action_time`` is on the scale of :func:`time.monotonic`; it and ``time_since_last_action`` are ``None``
        before the first turn has ended.
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
        """A reader of the events from now on, or also of those that are still kept."""
        return Events(self._events(so_far=so_far))

    def trace(self, path: str | os.PathLike[str]) -> _core.Trace:
        """Writes all events to this file, from those that are still kept, until it is closed or its ``with`` is left.

        ``python -m packet_mutex report FILE`` shows it as a timeline.
        """
        return _core.Trace(self, path)

    def on_event(self, callback: Callable[[Event], object]) -> Subscription:
        """Calls back with each event from now on, in a thread of its own. It delays no grant."""
        return Subscription(self._events(), callback)


_default: Mutex | None = None


def default_mutex() -> Mutex:
    """The process's own mutex, the one that :class:`PacketMutex` speaks of."""
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

    ``with PacketMutex("fisher") as turn: ...`` waits for a turn, at most ``timeout`` seconds (30 unless configured). The
    block never runs without it: if it is not granted, :class:`PacketMutexTimeout` is raised.
    """

    __slots__ = ()

    acquire = _Acquire()
    release = _Release()

    @staticmethod
    def get_status() -> dict[str, Any]:
        """The status of the process's mutex, as :meth:`Mutex.status`."""
        return default_mutex().status()

    @staticmethod
    def reset() -> None:
        """For tests: ends the caller's own turn, cancels the waiters, clears the counts, forgets the delay."""
        default_mutex().reset()


def acquire_packet_mutex(module: str, timeout: float | None = None) -> bool:
    """Waits for a turn of the module; whether it was granted. End it with :func:`release_packet_mutex`."""
    return default_mutex().acquire(module, timeout)


def release_packet_mutex(module: str) -> bool:
    """Ends the caller's turn of the module. ``False``, and a warning, if it has none; nothing is changed then."""
    return default_mutex().release(module)


def get_packet_mutex_status() -> dict[str, Any]:
    """The status of the process's mutex, as :meth:`Mutex.status`."""
    return default_mutex().status()


def configure(
    *,
    url: str | None = None,
    handover_delay: float | None = None,
    timeout: float | None = None,
    priorities: Mapping[str, int] | None = None,
    groups: Mapping[str, Iterable[str]] | None = None,
    aging: float | None = None,
    roster: str | os.PathLike[str] | None = None,
) -> None:
    """Changes settings of the process's mutex, as :meth:`Mutex.configure`.

    With a ``url``, the process's mutex is from now on the one there, behind a server: ``unix:/path`` or
    ``tcp://host:port``, with ``#name`` if it is not ``main``; so are those that :class:`Mutex` names. That must come before a
    mutex is used. Without it, the environment's ``PACKET_MUTEX_URL`` counts.
    """
    if url is not None:
        _core.connect(url)
    settings = (handover_delay, timeout, priorities, groups, aging, roster)
    if url is None or any(setting is not None for setting in settings):
        default_mutex().configure(
            handover_delay=handover_delay,
            timeout=timeout,
            priorities=priorities,
            groups=groups,
            aging=aging,
            roster=roster,
        )


def serve(
    url: str | None = None,
    *,
    roster: str | os.PathLike[str] | None = None,
    state: str | os.PathLike[str] | None = None,
    http: str | None = None,
    lease: float = 10,
) -> _core.Server:
    """Puts the process's own mutex behind a socket: other processes share it with the threads and tasks of this one.

    It must come before the mutex is used, and lasts until it is closed or its ``with`` is left. ``url`` and ``state``, where the
    tokens are stored, are those of ``packet-mutex serve`` if they are not given; so are ``http``, the address of a page to look at,
    ``lease``, and ``PACKET_MUTEX_SECRET`` in the environment.
    """
    return _core.Server(url, roster, state, http, lease)
