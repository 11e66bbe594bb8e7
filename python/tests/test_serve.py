"""A program that hosts its mutex for other processes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from test_url import program

pytestmark = pytest.mark.skipif(os.name != "posix", reason="Unix sockets")

def host(code: str, place: Path) -> list[str]:
    return program(code, f"unix:{place}/run/socket", str(place)).split("\n")


@pytest.fixture
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("s")


CLIENT = """
from packet_mutex import PacketMutex, PacketMutexTimeout
try:
    with PacketMutex("eater", timeout=0) as turn:
        print(turn.token)
except PacketMutexTimeout as error:
    print(error.holder)
"""


def test_other_processes_share_it_and_tokens_go_on(place: Path):
    client = place / "client.py"
    client.write_text(CLIENT)
    roster = place / "roster.toml"
    roster.write_text('handover_delay = "0s"\n[modules.fisher]\n[modules.eater]\n')
    code = """
        import json, os, subprocess, sys, urllib.request
        import packet_mutex
        from packet_mutex import PacketMutex
        url, place = sys.argv[1:]

        def elsewhere():
            command = [sys.executable, place + "/client.py"]
            env = {**os.environ, "PACKET_MUTEX_URL": url}
            return subprocess.run(command, env=env, capture_output=True, text=True).stdout.strip()

        with packet_mutex.serve(url, roster=place + "/roster.toml", state=place, http="127.0.0.1:0") as server:
            assert server.url == url
            with PacketMutex("fisher") as turn:
                print(turn.token, elsewhere())
                status = json.load(urllib.request.urlopen(server.page + "status.json"))
                print(status["holder"]["module"])
            print(elsewhere())
            try:
                packet_mutex.serve(url)
            except RuntimeError as error:
                print(error)
        server.close()  # once more does no harm
        with PacketMutex("fisher") as turn:
            print(bool(turn))
    """
    told = host(code, place)
    assert told[:3] == ["1 fisher", "fisher", "2"]
    assert "in use already" in told[3] and told[4] == "True"
    again = host(code, place)
    first = int(again[0].split()[0])
    assert first > 3 and again[1:3] == ["fisher", str(first + 1)]


def test_a_turn_is_lost_with_the_connection(place: Path):
    code = """
        import subprocess, sys, time
        import packet_mutex
        url, place = sys.argv[1:]
        serve = "import packet_mutex, sys\\nwith packet_mutex.serve(sys.argv[1], state=sys.argv[2]): print(flush=True), input()"
        command = [sys.executable, "-c", serve, url, place]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
            server.stdout.readline()
            packet_mutex.configure(url=url)
            with packet_mutex.PacketMutex("fisher") as turn:
                print(bool(turn), turn.should_yield)
                server.communicate("")
                end = time.monotonic() + 20
                while turn and time.monotonic() < end:
                    time.sleep(0.01)
                print(bool(turn), turn.should_yield)
                try:
                    turn.sleep(0)
                except packet_mutex.NotHolder:
                    print("not holder")
    """
    assert host(code, place) == ["True False", "False True", "not holder"]


def test_what_is_wrong_is_told(place: Path):
    code = """
        import sys
        import packet_mutex
        url, place = sys.argv[1:]
        for url, settings in ("nowhere", {}), (url, {"http": "nowhere"}), (url, {"lease": 0}), (url, {"roster": place + "/none.toml"}):
            try:
                packet_mutex.serve(url, **{"state": place, **settings})
            except packet_mutex.PacketMutexError as error:
                print(type(error).__name__)
        with packet_mutex.PacketMutex("fisher") as turn:
            print(bool(turn))
    """
    assert host(code, place) == ["Unavailable", "Unavailable", "Unavailable", "InvalidRoster", "True"]
