"""The event log, as an iterator and as callbacks."""

from __future__ import annotations

import json
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from . import _packet_mutex as _core

Event = dict[str, Any]
"""One event: the fields of its JSON, with ``token`` as a number."""


def _read(line: str) -> Event:
    event: Event = json.loads(line)
    if event.get("token") is not None:
        event["token"] = int(event["token"])
    return event


class Events(Iterator[Event]):
    """A reader of one mutex's events. Iterating waits for the next one; each reader reads every event once.

    The mutex keeps a bounded number of events. Who reads too late finds a ``dropped`` event with their count.
    """

    def __init__(self, core: _core.Events) -> None:
        self._core = core
        self._read: deque[Event] = deque()

    def take(self) -> list[Event]:
        """All new events, without waiting."""
        self._read.extend(map(_read, self._core.take()))
        events = list(self._read)
        self._read.clear()
        return events

    def wait(self, timeout: float | None = None) -> list[Event]:
        """All new events; waits up to so many seconds for the first."""
        if not self._read:
            self._read.extend(map(_read, self._core.wait(timeout)))
        return self.take()

    def __next__(self) -> Event:
        while not self._read:
            self._read.extend(map(_read, self._core.wait(None)))
        return self._read.popleft()


class Subscription:
    """Hands events to a callback, in a thread of its own, until it is closed."""

    def __init__(self, core: _core.Events, callback: Callable[[Event], object]) -> None:
        self._events = Events(core)
        self._callback = callback
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="packet-mutex-events", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        last = False
        while not last:
            # The flag is read before the events, so that those from before it was set are not missed.
            last = self._closed.is_set()
            for event in self._events.take() if last else self._events.wait(0.05):
                try:
                    self._callback(event)
                except Exception:
                    logging.getLogger("packet_mutex").exception("an event callback failed")

    def close(self) -> None:
        """Stops it, once it has handed over the events until now."""
        self._closed.set()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def __enter__(self) -> Subscription:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
