"""One module in a process of its own. The character is shared with other processes, and so is the mutex.

    PACKET_MUTEX_URL=unix:/run/bot/mutex python examples/python/module.py fisher --server 127.0.0.1:7172 --log sends-fisher.jsonl

The module is the one in `after/`, unchanged: PACKET_MUTEX_URL alone says where its mutex is. With `--without` it is the one
in `before/`, which takes no turns.
"""

from __future__ import annotations

import argparse
import importlib
import random
import sys
import threading
from pathlib import Path
from types import ModuleType

sys.path.insert(0, str(Path(__file__).parent))

from game import Game  # noqa: E402
from packet_mutex import PacketMutexTimeout, get_packet_mutex_status  # noqa: E402

RESTS = {
    "runemaker": (1.5, 2.5),
    "trainer": (0.2, 0.4),
    "fisher": (2, 4),
    "auto_loot": (3.5, 4.5),
    "stacker": (1.2, 2),
    "eater": (1, 1.5),
}
"""The least and the most seconds that each module rests between two cycles."""
MODULES = list(RESTS)


def repeat(module: ModuleType, name: str, game: Game, stop: threading.Event) -> None:
    """Plays cycle after cycle, until it is told to stop."""
    chance = random.Random(f"{name} rests {game.seed}")
    game.as_module(name, (0.15, 0.4) if name == "runemaker" else (0.04, 0.2))
    while not stop.is_set():
        if not module.wants(game):
            stop.wait(0.1)
            continue
        game.new_cycle()
        try:
            module.cycle(game)
        except PacketMutexTimeout as late:
            print(late, file=sys.stderr)  # nothing was sent; the next cycle asks again
        stop.wait(chance.uniform(0.1, 0.3) if game.failed else chance.uniform(*RESTS[name]))


def token_of(name: str) -> int | None:
    """Returns the token of the turn that this module has, for the log."""
    holder = get_packet_mutex_status()["holder"]
    return holder["token"] if holder and holder["module"] == name else None


def main() -> None:
    parser = argparse.ArgumentParser(description="One module in a process of its own.")
    parser.add_argument("module", choices=MODULES)
    parser.add_argument("--server", required=True, help="host:port of the practice server")
    parser.add_argument("--log", required=True, help="a file for what is sent")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--without", action="store_true", help="take no turns")
    options = parser.parse_args()

    module = importlib.import_module(f"{'before' if options.without else 'after'}.{options.module}")
    host, port = options.server.rsplit(":", 1)
    stop = threading.Event()
    timer = threading.Timer(options.seconds, stop.set)
    timer.daemon = True  # a module that fails ends at once
    timer.start()
    with open(options.log, "w") as log:
        game = Game(
            (host, int(port)),
            options.seed,
            join="six",
            log=log,
            token=lambda: None if options.without else token_of(options.module),
        )
        repeat(module, options.module, game, stop)
        game.close()


if __name__ == "__main__":
    main()
