"""Types: the stub says what the extension has, and users' code is checked by it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap

from conftest import ROOT
from packet_mutex import _packet_mutex
from packet_mutex._settings import Settings


def run(tmp_path, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *args], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )


def test_the_stub_is_what_the_extension_has(tmp_path):
    # Looked up on the class these two are functions; on an object they are methods.
    allowed = tmp_path / "allowed"
    allowed.write_text(
        "".join(f"packet_mutex.{m}PacketMutex.{n}\n" for m in ("", "_mutex.") for n in ("acquire", "release"))
    )
    done = run(
        tmp_path, "mypy.stubtest", "packet_mutex", "--allowlist", str(allowed), "--ignore-unused-allowlist"
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_settings_are_those_of_the_roster():
    settings = set(Settings.__annotations__)
    assert settings == set(_packet_mutex.SETTINGS)
    reference = (ROOT / "docs" / "ROSTER.md").read_text(encoding="utf-8")
    top_level = reference.split("## The mutex")[1].split("##")[0]
    # These three are how a program says `[modules.NAME]` and which file it means; the rest are keys of the roster.
    assert settings - set(re.findall(r"^\| `(\w+)`", top_level, re.M)) == {"roster", "priorities", "groups"}


def test_the_package_is_strictly_typed(tmp_path):
    done = run(tmp_path, "mypy", "--config-file", str(ROOT / "pyproject.toml"), "-p", "packet_mutex")
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_users_write_is_typed(tmp_path):
    (tmp_path / "bot.py").write_text(
        textwrap.dedent(
            """
            from packet_mutex import Mutex, PacketMutex, Turn

            async def main() -> None:
                with PacketMutex("fisher", timeout=30.0) as turn:
                    reveal_type(turn)
                reveal_type(PacketMutex.acquire("fisher", timeout=30.0))
                reveal_type(PacketMutex("fisher").acquire(blocking=True))
                reveal_type(PacketMutex.release("fisher"))
                reveal_type(await PacketMutex("fisher").acquire_async())
                async with Mutex("robot").turn("arm", urgent=True) as other:
                    reveal_type(other)
                PacketMutex(5)
            """
        )
    )
    done = run(tmp_path, "mypy", "--strict", "bot.py")
    revealed = [line.split('"')[1] for line in done.stdout.splitlines() if "Revealed" in line]
    assert [text.split(".")[-1] for text in revealed] == [
        "PacketMutex", "bool", "bool", "bool", "PacketMutex", "Turn",
    ], done.stdout
    assert "Argument 1" in done.stdout and done.stdout.count("error:") == 1
