"""Every example in the documentation and in docstrings runs."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re
import textwrap

import packet_mutex
import pytest
from conftest import ROOT

GUIDE = ROOT / "docs" / "PYTHON.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```$", GUIDE.read_text(encoding="utf-8"), re.M | re.S)


def test_there_are_examples():
    assert len(BLOCKS) >= 5


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_example_of_the_guide(number, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "roster.toml").write_text('handover_delay = "0s"\n[modules.fisher]\npriority = 60\n')
    code = textwrap.dedent(BLOCKS[number])
    exec(compile(code, f"{GUIDE.name} example {number}", "exec"), {"__name__": "__main__", "packet": _Packet()})


class _Packet:
    """Stands for the bot's own module of that name."""

    def __getattr__(self, name: str) -> object:
        return lambda *args, **kwargs: None


def test_docstrings():
    names = [f"packet_mutex.{m.name}" for m in pkgutil.iter_modules(packet_mutex.__path__)]
    for name in ["packet_mutex", *(name for name in names if not name.endswith("__main__"))]:
        failed, _ = doctest.testmod(importlib.import_module(name))
        assert failed == 0, name


def test_everything_public_has_a_docstring():
    for name in packet_mutex.__all__:
        item = getattr(packet_mutex, name)
        assert name == "Event" or item.__doc__, name
