"""Living in an interpreter: signals, forks, exits, reloads, sub-interpreters."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time

import packet_mutex as pm
import pytest
from conftest import Asker, held, until, waits
from packet_mutex import PacketMutex

POSIX = os.name == "posix"


def python(code: str, *args: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """Runs a program of its own."""
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(code), *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout)


def test_waiting_releases_the_interpreter():
    with held("runemaker"):
        asker = Asker(lambda: PacketMutex.acquire("fisher", timeout=0.3))
        until(waits("fisher"))
        counted, end = 0, time.monotonic() + 0.1
        while time.monotonic() < end:
            counted += 1
        assert counted > 1000
        assert asker.outcome() is False


def interrupt_after(seconds: float) -> threading.Timer:
    timer = threading.Timer(seconds, lambda: signal.raise_signal(signal.SIGINT))
    if POSIX:
        timer = threading.Timer(seconds, lambda: os.kill(os.getpid(), signal.SIGINT))
    timer.start()
    return timer


@pytest.mark.parametrize("form", ["with", "acquire", "by name", "yield", "sleep", "would deadlock", "events"])
def test_ctrl_c_is_served_within_a_tenth_of_a_second(form):
    holding = form in ("yield", "sleep", "would deadlock")
    asked = []

    def wait() -> None:
        if form == "with":
            with PacketMutex("fisher"):
                pytest.fail("ran without the mutex")
        elif form == "acquire":
            PacketMutex("fisher").acquire()
        elif form == "by name":
            PacketMutex.acquire("fisher")
        elif form == "events":
            events = pm.default_mutex().events()
            events.take()
            while True:
                next(events)
        else:
            with PacketMutex("fisher") as turn:
                if form == "sleep":
                    turn.sleep(30)
                elif form == "would deadlock":
                    PacketMutex.acquire("eater")
                else:
                    asked.append(Asker(hold_for_long))
                    until(waits("runemaker"))
                    turn.yield_now()

    done = threading.Event()

    def hold_for_long() -> None:
        with PacketMutex("runemaker"):
            done.wait(30)

    if not holding and form != "events":
        asked.append(Asker(hold_for_long))
        until(lambda: PacketMutex.get_status()["current_holder"] == "runemaker")
    start = time.monotonic()
    timer = interrupt_after(0.2)
    with pytest.raises(KeyboardInterrupt):
        wait()
    served = time.monotonic() - start - 0.2
    timer.join()
    # The tenth of a second is the promise; the rest is for a machine that has other things to do.
    assert served < 0.1 + 0.4
    assert PacketMutex.get_status()["waiting_modules"] == []
    done.set()
    for asker in asked:
        asker.outcome()


@pytest.mark.skipif(not POSIX, reason="signals to oneself")
def test_interrupts_at_random_moments(full):
    """Six modules run, one in the main thread; it is interrupted wherever it is. Nothing stays behind, nobody hangs."""
    wanted, seconds = (10_000, 1200.0) if full else (1_000, 15.0)
    chance = random.Random(7)
    # With aging, for these modules ask so often that strict priorities would starve the lower ones.
    pm.configure(handover_delay=0.0002, aging=0.001)
    stop = threading.Event()
    inside: list[str] = []

    def act(module: str) -> None:
        while not stop.is_set():
            with PacketMutex(module, timeout=30):
                assert inside == []
                inside.append(module)
                time.sleep(0.0003)
                inside.pop()
            time.sleep(0.0005)

    modules = ["runemaker", "trainer", "auto_loot", "stacker", "eater"]
    askers = [Asker(lambda m=m: act(m)) for m in modules]
    interrupted, over = 0, threading.Event()

    def handler(*_: object) -> None:
        raise KeyboardInterrupt

    main = threading.main_thread().ident
    armed = threading.Event()

    def interrupter() -> None:
        while not over.is_set():
            if armed.wait(0.1):
                time.sleep(0.002 * chance.random())
                armed.clear()
                signal.pthread_kill(main, signal.SIGINT)

    thread = threading.Thread(target=interrupter)
    before = signal.signal(signal.SIGINT, handler)
    thread.start()
    end = time.monotonic() + seconds
    try:
        while interrupted < wanted and time.monotonic() < end:
            try:
                armed.set()
                while True:
                    with PacketMutex("fisher", timeout=30) as turn:
                        # The block may be left at any moment; what it notes must be in order all the same.
                        assert inside == []
                        turn.token
            except KeyboardInterrupt:
                interrupted += 1
    finally:
        over.set()
        thread.join()
        stop.set()
        signal.signal(signal.SIGINT, before)
    for asker in askers:
        asker.outcome()
    assert interrupted == wanted or not full
    assert interrupted > 100
    status = PacketMutex.get_status()
    assert status["current_holder"] is None and status["waiters"] == []
    assert not status["abandoned"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_fork():
    done = python(
        """
        import os, sys, warnings
        import packet_mutex as pm
        other = pm.Mutex("other")
        m = pm.PacketMutex("fisher")
        trace = other.trace(os.devnull)
        def child():
            assert not m and m.token is None
            for ask in (m.__enter__, m.acquire, m.release, pm.PacketMutex.get_status, pm.PacketMutex.reset,
                        lambda: pm.PacketMutex.acquire("fisher"), lambda: pm.PacketMutex("eater"),
                        lambda: other.acquire("fisher"), other.events, lambda: other.pause("x"),
                        lambda: other.turn("fisher"), lambda: pm.Mutex("third"), trace.close):
                try:
                    ask()
                except pm.Unavailable as error:
                    assert isinstance(error, ConnectionError) and "forked" in str(error)
                else:
                    os._exit(1)
            return 0
        with m:
            pid = os.fork()
            if pid == 0:
                code = child()
                m.__exit__(None, None, None)  # leaving the block does nothing
                sys.exit(code)                # and the child ends in the usual way
            assert os.waitpid(pid, 0)[1] == 0
            assert m and pm.PacketMutex.get_status()["current_holder"] == "fisher"
        print("good")
        """
    )
    assert (done.stdout, done.stderr, done.returncode) == ("good\n", "", 0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_fork_before_the_first_use():
    done = python(
        """
        import os
        import packet_mutex as pm
        if os.fork() == 0:
            with pm.PacketMutex("fisher"):
                os._exit(7)
        assert os.waitstatus_to_exitcode(os.wait()[1]) == 7
        """
    )
    assert done.returncode == 0, done.stderr


def use_it() -> str:
    with PacketMutex("fisher") as turn:
        return f"{bool(turn)} {turn.token}"


@pytest.mark.parametrize("method", [m for m in multiprocessing.get_all_start_methods() if m != "fork"])
def test_spawn_and_forkserver(method):
    with PacketMutex("fisher"):
        context = multiprocessing.get_context(method)
        with context.Pool(1) as pool:
            assert pool.apply(use_it) == "True 1"


@pytest.mark.parametrize("form", ["thread", "events", "task"])
def test_daemon_threads_that_wait_at_exit(form):
    done = python(
        """
        import asyncio, sys, threading, time
        from packet_mutex import PacketMutex, default_mutex
        def wait():
            if sys.argv[1] == "thread":
                PacketMutex.acquire("eater")
            elif sys.argv[1] == "events":
                for _ in default_mutex().events(): pass
            else:
                asyncio.run(task())
        async def task():
            async with PacketMutex("eater"): pass
        PacketMutex.acquire("fisher")
        threads = [threading.Thread(target=wait, daemon=True) for _ in range(8)]
        for thread in threads: thread.start()
        default_mutex().on_event(print)
        time.sleep(0.2)
        """,
        form,
        timeout=20,
    )
    assert done.returncode == 0, done.stderr
    assert "panicked" not in done.stderr and "Fatal" not in done.stderr


def test_reload():
    with PacketMutex("fisher"):
        again = importlib.reload(pm)
        assert again.PacketMutex.get_status()["current_holder"] == "fisher"
        with again.PacketMutex("fisher") as turn:
            assert turn


def test_importing_anew_is_refused_clearly_or_works():
    done = python(
        """
        import sys
        import packet_mutex
        for name in [name for name in sys.modules if name.startswith("packet_mutex")]:
            del sys.modules[name]
        try:
            import packet_mutex
            with packet_mutex.PacketMutex("fisher"): pass
            print("works")
        except ImportError as error:
            print(error)
        """
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "works\n" or "once per interpreter" in done.stdout


def test_sub_interpreters_are_refused_clearly():
    done = python(
        """
        try:
            import _interpreters as interpreters
        except ImportError:
            import _xxsubinterpreters as interpreters
        import packet_mutex
        code = '''
        try:
            import packet_mutex
        except ImportError as error:
            assert "subinterpreter" in str(error), error
        else:
            raise SystemExit("was not refused")
        '''
        import textwrap
        id = interpreters.create()
        result = interpreters.run_string(id, textwrap.dedent(code))
        assert result is None, result
        print("good")
        """
    )
    assert done.stdout == "good\n", done.stderr


def test_asyncio_is_not_imported_for_threads():
    done = python(
        """
        import sys
        from packet_mutex import PacketMutex
        with PacketMutex("fisher"): pass
        assert "asyncio" not in sys.modules
        """
    )
    assert done.returncode == 0, done.stderr


def test_the_command():
    def command(*args: str) -> subprocess.CompletedProcess[str]:
        run = [sys.executable, "-m", "packet_mutex", *args]
        return subprocess.run(run, capture_output=True, text=True, timeout=60)

    version = command("--version")
    assert version.returncode == 0 and version.stdout.startswith("packet-mutex ")
    assert "Usage: packet-mutex" in command("--help").stdout
    bad = command("check", "no-such-file.toml")
    assert bad.returncode == 2 and "no-such-file.toml" in bad.stderr
