"""Turns: what ``with`` and ``async with`` hold."""

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
    # asyncio is imported by whoever runs this, and by nobody else.
    from asyncio import get_running_loop

    loop = get_running_loop()
    event_loop = _event_loops.get(loop)
    if event_loop is None:
        event_loop = _event_loops[loop] = _core.EventLoop(loop)
    while (future := polled.poll(event_loop)) is not None:
        await future


class Turn(_core.Turn):
    """An ask for turns of one module; while the caller holds one, that turn.

    It is true while the caller holds it and false once it is released. It may be shared by threads and tasks: what it
    says and does is about the caller's own turn.
    """

    __slots__ = ()

    async def __aenter__(self) -> Self:
        return await self._take(self._owner(), None)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.__exit__(kind, value, traceback)

    def acquire_async(self, timeout: float | None = None) -> Coroutine[Any, Any, Self]:
        """Waits for the turn without stopping the event loop.

        The turn is the caller's, even if the result is awaited in another task, as ``asyncio.wait_for`` may do.
        Cancelling withdraws the ask; a grant that was decided already is given on.
        """
        from asyncio import current_task

        try:
            owner = self._owner() if current_task() else None
        except RuntimeError:  # no event loop runs yet
            owner = None
        return self._take(owner, timeout)

    async def yield_async(self, timeout: float | None = None) -> None:
        """Gives the turn away and waits for the next one, as :meth:`yield_now` does."""
        await self._answer(self._begin_again(timeout))

    async def sleep_async(self, seconds: float) -> bool:
        """Sleeps inside the turn, as :meth:`sleep` does."""
        sleep = self._begin_sleep(seconds)
        await _until_ready(sleep)
        return sleep.whole

    async def _take(self, owner: int | None, timeout: float | None) -> Self:
        await self._answer(self._begin(self._owner() if owner is None else owner, timeout))
        return self

    async def _answer(self, request: _core.Request) -> None:
        try:
            await _until_ready(request)
        except BaseException:
            request.withdraw()
            raise
        request.finish()
