"""The mutex of another process, by its URL: programs of their own, for a process decides once where its mutexes are."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(os.name != "posix", reason="Unix sockets")


@pytest.fixture
def url() -> Iterator[str]:
    # Paths of sockets are short.
    with tempfile.TemporaryDirectory(prefix="pm") as place:
        url = f"unix:{place}/run/socket"
        roster = Path(place, "roster.toml")
        roster.write_text('handover_delay = "0s"\n[modules.fisher]\n[modules.eater]\n')
        command = [sys.executable, "-m", "packet_mutex", "serve", url, "--roster", str(roster), "--state", f"{place}/s"]
        command += ["--mutex", "main", "--mutex", "second"]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
            assert server.stderr is not None
            assert server.stderr.readline().startswith("serving main, second at ")
            yield url
            server.terminate()


def program(code: str, *args: str, environment: str | None = None) -> str:
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(code), *args]
    env = {**os.environ, **({} if environment is None else {"PACKET_MUTEX_URL": environment})}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=env)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_configure_and_the_environment(url: str):
    code = """
        import sys
        import packet_mutex
        from packet_mutex import PacketMutex
        if len(sys.argv) > 1:
            packet_mutex.configure(url=sys.argv[1])
        with PacketMutex("fisher") as turn:
            assert packet_mutex.get_packet_mutex_status()["current_holder"] == "fisher"
            print(turn.token)
        assert packet_mutex.acquire_packet_mutex("eater", 1)
        assert packet_mutex.release_packet_mutex("eater")
    """
    assert program(code, url) == "1"
    assert program(code, environment=url) == "3"


def test_tasks_wait_and_errors_are_the_same(url: str):
    code = """
        import asyncio, sys
        import packet_mutex
        from packet_mutex import PacketMutex, PacketMutexTimeout
        packet_mutex.configure(url=sys.argv[1])

        async def wait():
            async with PacketMutex("fisher"):
                try:
                    async with PacketMutex("eater", timeout=0.1):
                        pass
                except packet_mutex.WouldDeadlock:
                    print("would deadlock")

                async def other():
                    async with PacketMutex("eater", timeout=0.1):
                        pass

                try:
                    await asyncio.create_task(other())
                except PacketMutexTimeout as error:
                    print(error.holder)
            async with PacketMutex("eater"):
                print("eater")

        asyncio.run(wait())
    """
    assert program(code, url).split("\n") == ["would deadlock", "fisher", "eater"]


def test_a_mutex_with_a_name_is_there_too(url: str):
    code = """
        import packet_mutex
        from packet_mutex import Mutex
        second, main = Mutex("Second"), Mutex("main")
        with second.turn("fisher") as turn, main.turn("fisher"):
            print(turn.token, Mutex("second").status()["current_holder"], main.status()["current_holder"])
        for name, settings in ("third", {}), ("second", {"timeout": 5}), ("no name", {}):
            try:
                Mutex(name, **settings)
            except packet_mutex.PacketMutexError as error:
                print(type(error).__name__, error)
    """
    told = program(code, environment=url).split("\n")
    assert told[0] == "1 fisher fisher"
    assert told[1].startswith("Unavailable") and "no mutex `third`" in told[1]
    assert told[2].startswith("RosterDiffers") and "timeout" in told[2]
    assert told[3].startswith("InvalidName")


def test_what_is_wrong_is_told(url: str):
    code = """
        import sys
        import packet_mutex
        try:
            packet_mutex.configure(url="unix:/nowhere")
        except ConnectionError as error:
            print(type(error).__name__)
        packet_mutex.get_packet_mutex_status()
        try:
            packet_mutex.configure(url=sys.argv[1])
        except RuntimeError as error:
            print(error)
    """
    told = program(code, url).split("\n")
    assert told[0] == "Unavailable"
    assert "in use already" in told[1]
