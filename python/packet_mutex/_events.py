"""The event log, as an iterator or through a callback."""

from __future__ import annotations

import json
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from . import _packet_mutex as _core

Event = dict[str, Any]
"""One event: the fields of its JSON, but with ``token`` as a number."""


def _read(line: str) -> Event:
    event: Event = json.loads(line)
    if event.get("token") is not None:
        event["token"] = int(event["token"])
    return event


class Events(Iterator[Event]):
    """A reader of one mutex's events. Each reader reads every event once; iterating waits for the next one.

    The mutex keeps a limited number of events. A reader that is too late finds a ``dropped`` event that counts the missing ones.
    """

    def __init__(self, core: _core.Events) -> None:
        self._core = core
        self._read: deque[Event] = deque()

    def take(self) -> list[Event]:
        """Takes all new events, without waiting."""
        self._read.extend(map(_read, self._core.take()))
        events = list(self._read)
        self._read.clear()
        return events

    def wait(self, timeout: float | None = None) -> list[Event]:
        """Takes all new events; waits up to ``timeout`` seconds for the first."""
        if not self._read:
            self._read.extend(map(_read, self._core.wait(timeout)))
        return self.take()

    def __next__(self) -> Event:
        while not self._read:
            self._read.extend(map(_read, self._core.wait(None)))
        return self._read.popleft()


class Subscription:
    """Calls a callback with each event, in a thread of its own, until it is closed."""

    def __init__(self, core: _core.Events, callback: Callable[[Event], object]) -> None:
        self._events = Events(core)
        self._callback = callback
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="packet-mutex-events", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        last = False
        while not last:
            # Read before the events are: those that happened before `close` was called are still handed over.
            last = self._closed.is_set()
            # A short wait, because `close` cannot end it.
            for event in self._events.take() if last else self._events.wait(0.05):
                try:
                    self._callback(event)
                except Exception:
                    logging.getLogger("packet_mutex").exception("an event callback failed")

    def close(self) -> None:
        """Ends the subscription after the events until now were handed over."""
        self._closed.set()
        # A callback may close its own subscription, and a thread cannot join itself.
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def __enter__(self) -> Subscription:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
