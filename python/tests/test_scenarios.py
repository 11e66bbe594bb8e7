"""All scenarios of the rules, through threads and through asyncio."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import scenario
from conftest import FIRST_ROSTER, ROOT

scenario.FIRST_ROSTER = FIRST_ROSTER
FILES = sorted((ROOT / "scenarios").glob("*/*.scenario"))
FRONTS = {"threads": scenario.Threads, "tasks": scenario.Tasks}
ran: Counter[str] = Counter()


@pytest.mark.parametrize("front", FRONTS)
@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_scenario(file: Path, front: str, tmp_path: Path) -> None:
    try:
        read = scenario.Scenario.read(file)
        found = FRONTS[front](read, tmp_path).run(read)
    except scenario.LeftOut as why:
        pytest.skip(str(why))
    ran[front] += 1
    assert not found, f"{file}: {read.title}\n{scenario.difference(found)}"


def test_enough_of_them_ran() -> None:
    for front in FRONTS:
        assert ran[front] >= 0.6 * len(FILES), ran
