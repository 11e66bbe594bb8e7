"""Turns, for ``with`` and ``async with``."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Protocol, Self
from weakref import WeakKeyDictionary

from . import _packet_mutex as _core

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Future
    from types import TracebackType

_event_loops: WeakKeyDictionary[AbstractEventLoop, _core.EventLoop] = WeakKeyDictionary()


class _Polled(Protocol):
    def poll(self, event_loop: _core.EventLoop) -> Future[None] | None: ...


async def _until_ready(polled: _Polled) -> None:
    # Imported here, so that programs without asyncio do not pay for it.
    from asyncio import get_running_loop

    loop = get_running_loop()
    event_loop = _event_loops.get(loop)
    if event_loop is None:
        event_loop = _event_loops[loop] = _core.EventLoop(loop)
    while (future := polled.poll(event_loop)) is not None:
        await future


async def _answer(request: _core.Request) -> None:
    try:
        await _until_ready(request)
    except BaseException:
        request.withdraw()
        raise
    request.finish()


class Turn(_core.Turn):
    """An ask for turns of one module; while the caller holds one, that turn.

    It is true while the caller holds the turn. Threads and tasks may share the object: what it says and does is about the
    caller's own turn.
    """

    __slots__ = ()

    async def __aenter__(self) -> Self:
        return await self._acquire(self._owner(), None)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.__exit__(kind, value, traceback)

    # The owner is the task that calls, even if another task awaits what the call returns, as `wait_for` of Python 3.11 makes
    # it do. So these are functions that take the owner at once, not coroutines.

    def acquire_async(self, timeout: float | None = None) -> Coroutine[Any, Any, Self]:
        """Waits for the turn without stopping the event loop. Cancelling takes the ask back, and a grant that the task has not
        seen yet goes to the next."""
        return self._acquire(self._task_owner(), timeout)

    def yield_async(self, timeout: float | None = None) -> Coroutine[Any, Any, None]:
        """Gives the turn away and asks again, as :meth:`yield_now` does."""
        return self._reacquire(self._task_owner(), timeout)

    def sleep_async(self, seconds: float) -> Coroutine[Any, Any, bool]:
        """Sleeps inside the turn, as :meth:`sleep` does."""
        return self._sleep(self._task_owner(), seconds)

    def _task_owner(self) -> int | None:
        from asyncio import current_task

        try:
            return self._owner() if current_task() else None
        except RuntimeError:  # no event loop runs yet
            return None

    async def _acquire(self, owner: int | None, timeout: float | None) -> Self:
        await _answer(self._begin(self._owner() if owner is None else owner, timeout))
        return self

    async def _reacquire(self, owner: int | None, timeout: float | None) -> None:
        await _answer(self._begin_again(self._owner() if owner is None else owner, timeout))

    async def _sleep(self, owner: int | None, seconds: float) -> bool:
        sleep = self._begin_sleep(self._owner() if owner is None else owner, seconds)
        await _until_ready(sleep)
        return sleep.whole
