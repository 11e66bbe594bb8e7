"""The six modules on the practice server, as they were and with the mutex.

    python examples/python/run.py [--seconds 60] [--seed 1] [--server PATH]

It starts the practice server (`cargo build -p practice` makes it), plays both forms, and counts what went wrong from
the frames that the server saw. It fails if anything went wrong with the mutex, or if nothing went wrong without it.
"""

from __future__ import annotations

import argparse
import importlib
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from game import RUNE_SPELL, Frame, Game  # noqa: E402
from module import MODULES, repeat  # noqa: E402
from packet_mutex import default_mutex  # noqa: E402

GROUPS = {"stacker": "fisher", "eater": "auto_loot"}


def play(form: str, game: Game, seconds: float) -> None:
    """Runs the six modules, each in a thread of its own."""
    modules = {name: importlib.import_module(f"{form}.{name}") for name in MODULES}
    stop = threading.Event()
    errors: list[BaseException] = []

    def act(name: str) -> None:
        try:
            repeat(modules[name], name, game, stop)
        except BaseException as error:
            errors.append(error)
            stop.set()

    threads = [threading.Thread(target=act, args=(name,)) for name in MODULES]
    for thread in threads:
        thread.start()
    stop.wait(seconds)
    stop.set()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def interleavings(frames: list[Frame]) -> int:
    """Counts the frames between the first and the last frame of another module's cycle."""
    spans: dict[tuple[str, int], list[int]] = {}
    for number, frame in enumerate(frames):
        span = spans.setdefault((frame.module, frame.cycle), [number, number])
        span[1] = number
    return sum(
        any(
            first < number < last and module != frame.module
            for (module, _), (first, last) in spans.items()
        )
        for number, frame in enumerate(frames)
    )


def judge(frames: list[Frame]) -> Counter[str]:
    spell = RUNE_SPELL.encode()
    verdicts = Counter(frame.verdict for frame in frames)
    effects = Counter(effect for frame in frames for effect in frame.effects)
    counts: Counter[str] = Counter()
    counts["interleavings"] = interleavings(frames)
    counts["refusals"] = verdicts["exhausted"] + verdicts["not_possible"]
    counts["wrong_items"] = verdicts["wrong_item"]
    counts["weapons_lost"] = effects["weapon_lost"]
    counts["runes_failed"] = sum(
        frame.data.endswith(spell) and "rune" not in frame.effects for frame in frames
    )
    for effect, name in (("rune", "runes_made"), ("fish", "fish"), ("meal", "meals"), ("loot", "loot")):
        counts[name] = effects[effect]
    return counts


WRONG = ["interleavings", "refusals", "wrong_items", "weapons_lost", "runes_failed"]


def least_handover(frames: list[Frame]) -> float | None:
    """Returns the least time between neighbouring frames of different groups, in seconds."""
    group = [GROUPS.get(frame.module, frame.module) for frame in frames]
    gaps = [
        (later.time_us - frame.time_us) / 1e6
        for (frame, a), (later, b) in zip(zip(frames, group), zip(frames[1:], group[1:]))
        if a != b
    ]
    return min(gaps, default=None)


def main() -> int:
    parser = argparse.ArgumentParser(description="The six modules, before and after.")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--server", default=HERE.parents[1] / "target/debug/practice-server")
    options = parser.parse_args()
    server = subprocess.Popen(
        [options.server, "--listen", "127.0.0.1:0"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout
        host, port = server.stdout.readline().split()[-1].rsplit(":", 1)
        results = {}
        for form in ("before", "after"):
            game = Game((host, int(port)), options.seed)
            started = time.monotonic()
            play(form, game, options.seconds)
            took = time.monotonic() - started
            game.close()
            results[form] = judge(game.frames)
            print(f"{form}: {len(game.frames)} frames in {took:.0f} s")
            if form == "after":
                print(f"least handover: {least_handover(game.frames)} s")
    finally:
        server.terminate()
        server.wait()
        if server.stdout:
            server.stdout.close()
    print(f"{'':14} {'before':>7} {'after':>7}")
    for name in [*WRONG, "runes_made", "fish", "meals", "loot"]:
        print(f"{name:14} {results['before'][name]:7} {results['after'][name]:7}")
    turns = {name: module["turns"] for name, module in default_mutex().status()["modules"].items()}
    print("turns with the mutex:", ", ".join(f"{name} {turns[name]}" for name in MODULES))
    clean = not any(results["after"][name] for name in WRONG)
    conflicts = any(results["before"][name] for name in WRONG)
    return 0 if clean and conflicts else 1


if __name__ == "__main__":
    sys.exit(main())
