from __future__ import annotations

import contextlib
import itertools
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import packet_mutex as pm
import pytest

ROOT = Path(__file__).parents[2]
FIRST_ROSTER = pm.default_mutex().roster
_numbers = itertools.count()

# A shell starts what runs in its background with Ctrl-C ignored; here it is part of what is tested.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="run the long tests at their full length")


@pytest.fixture
def full(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--full"))


@pytest.fixture(autouse=True)
def fresh(tmp_path: Path) -> Iterator[None]:
    """The process's mutex as it was at first, but without the delay; afterwards nobody holds it or waits."""
    roster = tmp_path / "first.toml"
    roster.write_text(FIRST_ROSTER)
    pm.configure(roster=roster, handover_delay=0)
    pm.PacketMutex.reset()
    yield
    status = pm.get_packet_mutex_status()
    assert status["current_holder"] is None
    assert status["waiting_modules"] == []


@pytest.fixture
def mutex() -> pm.Mutex:
    """A mutex of its own, without delay."""
    return pm.Mutex(f"test{next(_numbers)}", handover_delay=0)


@pytest.fixture
def clocked() -> tuple[pm.Mutex, pm.ManualClock]:
    """A mutex in virtual time, with the first roster."""
    clock = pm.ManualClock()
    return pm.Mutex("clocked", clock=clock), clock


@contextlib.contextmanager
def held(module: str, mutex: pm.Mutex | None = None) -> Iterator[threading.Thread]:
    """Another thread holds the mutex."""
    mutex = mutex or pm.default_mutex()
    ready, done = threading.Event(), threading.Event()

    def hold() -> None:
        with mutex.turn(module):
            ready.set()
            done.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    assert ready.wait(10)
    try:
        yield thread
    finally:
        done.set()
        thread.join()


class Asker(threading.Thread):
    """A thread that asks, and what came of it."""

    def __init__(self, ask: Callable[[], object]) -> None:
        super().__init__(daemon=True)
        self.ask = ask
        self.result: object = None
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self.result = self.ask()
        except BaseException as error:
            self.error = error

    def outcome(self, timeout: float = 30) -> object:
        self.join(timeout)
        assert not self.is_alive(), "still waits"
        if self.error:
            raise self.error
        return self.result


def until(true: Callable[[], object], timeout: float = 10) -> None:
    end = time.monotonic() + timeout
    while not true():
        assert time.monotonic() < end, "did not come true"
        time.sleep(0.001)


def waits(module: str, mutex: pm.Mutex | None = None) -> Callable[[], bool]:
    mutex = mutex or pm.default_mutex()
    return lambda: module in mutex.status()["waiting_modules"]
