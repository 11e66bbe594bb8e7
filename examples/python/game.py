"""What a bot has already: one connection, frames written whole, and the state that the server sent last.

Nothing here keeps two modules apart. The messages are described in `crates/practice/src/wire.rs`.
"""

from __future__ import annotations

import json
import random
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TextIO

SWORD, BLANK, RUNE, ROD = 3264, 3147, 3160, 3483
FISH, MEAT, GOLD, BOOT = 3578, 3577, 3031, 3552
CORPSE, WATER = 4286, 4597
HAND = ("inventory", 6)
CORPSE_TILE, WATER_TILE, GROUND_TILE = (32098, 32219, 7), (32096, 32219, 7), (32097, 32219, 7)
BACKPACK_WINDOW, CORPSE_WINDOW = 0, 1
RUNE_SPELL, RUNE_MANA = "adura vita", 100
STRIKE_SPELL, STRIKE_MANA = "exori mort", 20
VERDICTS = ["ok", "exhausted", "not_possible", "wrong_item"]
EFFECTS = ["rune", "fish", "meal", "loot", "weapon_lost"]


def slot(window: int, number: int) -> tuple[str, int, int]:
    """A slot of an open container."""
    return ("slot", window, number)


FRONT = slot(BACKPACK_WINDOW, 0xFF)
"""No slot in particular: the item goes to the front."""


def place(where: tuple) -> bytes:
    match where:
        case ("inventory", number):
            return struct.pack("<HHB", 0xFFFF, number, 0)
        case ("slot", window, number):
            return struct.pack("<HHB", 0xFFFF, 0x40 + window, number)
        case (x, y, z):
            return struct.pack("<HHB", x, y, z)
    raise ValueError(where)


def stack(where: tuple) -> int:
    return where[2] if where[0] == "slot" else 0


@dataclass
class Corpse:
    left_ms: int
    items: list[tuple[int, int]]


@dataclass
class State:
    """The character as the server sent it last. An item has a kind and a count."""

    mana: int = 0
    fed_ms: int = 0
    hand: tuple[int, int] | None = None
    backpack: list[tuple[int, int]] = field(default_factory=list)
    corpse: Corpse | None = None

    def find(self, *kinds: int) -> int | None:
        """Returns the first slot of the backpack that holds one of these."""
        found = (number for number, (kind, _) in enumerate(self.backpack) if kind in kinds)
        return next(found, None)

    def holds(self, kind: int) -> bool:
        return self.hand is not None and self.hand[0] == kind


@dataclass
class Frame:
    """An action as the server saw it, and its sender."""

    module: str
    cycle: int
    data: bytes
    time_us: int = 0
    verdict: str = ""
    effects: list[str] = field(default_factory=list)


class Game:
    """A connection to the game, shared by all modules of this process.

    With the name of a character to ``join``, other processes may play it too. Each action is then written to ``log`` before
    it is sent, with the turn's token, which ``token`` returns.
    """

    def __init__(
        self,
        address: tuple[str, int],
        seed: int,
        join: str | None = None,
        log: TextIO | None = None,
        token: Callable[[], int | None] = lambda: None,
    ) -> None:
        self.frames: list[Frame] = []
        self.connection: int | None = None
        self._log, self._token = log, token
        self.state = State()
        self.seed = seed
        self._socket = socket.create_connection(address, timeout=5)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._input = self._socket.makefile("rb")
        self._write = threading.Lock()
        self._told = threading.Condition()
        self._verdicts, self._pings, self._pongs = 0, 0, 0
        self._closed: str | None = None
        self._who = threading.local()
        name = (join or "python").encode()
        first = 0x0B if join else 0x0A
        self._send(struct.pack("<BHQH", first, 772, seed, len(name)) + name)
        self._take(self._receive())
        self._take(self._receive())
        self._reader = threading.Thread(target=self._listen, daemon=True)
        self._reader.start()

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._reader.join()
        self._input.close()
        self._socket.close()

    def as_module(self, module: str, think: tuple[float, float]) -> None:
        """Makes the calling thread this module, which pauses this long before each action."""
        self._who.module, self._who.think, self._who.cycle = module, think, 0
        self._who.chance = random.Random(f"{module} {self.seed}")
        self._who.failed = False

    def new_cycle(self) -> None:
        self._who.cycle += 1
        self._who.failed = False

    @property
    def failed(self) -> bool:
        """Whether an action of this cycle was refused."""
        return self._who.failed

    def look(self) -> State:
        """Asks for the present state: others may have changed it since the server last sent it."""
        with self._write:
            self._pings += 1
            number = self._pings
            self._send(b"\x1e")
        with self._told:
            told = self._told.wait_for(lambda: self._pongs >= number or self._closed, 5)
            if not told or self._pongs < number:
                raise ConnectionError(self._closed or "no answer from the practice server")
            return self.state

    # Actions: a pause, the frame, the verdict, and the time that the server requires between two actions.

    def say(self, text: str) -> None:
        self._act(struct.pack("<BBH", 0x96, 1, len(text)) + text.encode())

    def move_item(self, source: tuple, item: int, target: tuple, count: int = 1) -> None:
        head = b"\x78" + place(source) + struct.pack("<HB", item, stack(source))
        self._act(head + place(target) + bytes([count]))

    def use(self, source: tuple, item: int, window: int = 0) -> None:
        self._act(b"\x82" + place(source) + struct.pack("<HBB", item, stack(source), window))

    def use_with(self, source: tuple, item: int, target: tuple, other: int) -> None:
        head = b"\x83" + place(source) + struct.pack("<HB", item, stack(source))
        self._act(head + place(target) + struct.pack("<HB", other, stack(target)))

    def _act(self, data: bytes) -> None:
        who = self._who
        time.sleep(who.chance.uniform(*who.think))
        token = self._token()
        with self._write:
            number = len(self.frames)
            if self._log:
                self._write_down(number, token)
            frame = Frame(who.module, who.cycle, data)
            self.frames.append(frame)
            self._send(data)
        with self._told:
            told = self._told.wait_for(lambda: self._verdicts > number or self._closed, 5)
        if not told or self._verdicts <= number:
            raise ConnectionError(self._closed or "no answer from the practice server")
        who.failed |= frame.verdict != "ok"
        time.sleep(0.205)

    def _write_down(self, number: int, token: int | None) -> None:
        line = {
            "t": time.monotonic(),
            "connection": self.connection,
            "n": number,
            "module": self._who.module,
            "cycle": self._who.cycle,
            "token": None if token is None else str(token),
        }
        print(json.dumps(line), file=self._log, flush=True)

    # The wire.

    def _send(self, data: bytes) -> None:
        self._socket.sendall(struct.pack("<H", len(data)) + data)

    def _receive(self) -> bytes:
        head = self._input.read(2)
        if len(head) < 2:
            raise ConnectionError("the practice server closed the connection")
        return self._input.read(struct.unpack("<H", head)[0])

    def _listen(self) -> None:
        self._socket.settimeout(None)
        try:
            while True:
                self._take(self._receive())
        except (OSError, ValueError) as why:
            with self._told:
                self._closed = str(why)
                self._told.notify_all()

    def _take(self, message: bytes) -> None:
        match message[0]:
            case 0x0B:
                number, time_us, verdict, count = struct.unpack_from("<IQBB", message, 1)
                frame = self.frames[number]
                frame.time_us, frame.verdict = time_us, VERDICTS[verdict]
                frame.effects = [EFFECTS[effect] for effect in message[15 : 15 + count]]
                with self._told:
                    self._verdicts = number + 1
                    self._told.notify_all()
            case 0x0C:
                self.state = read_state(message)
            case 0x0E:
                (self.connection,) = struct.unpack_from("<I", message, 9)
            case 0x1E:
                with self._told:
                    self._pongs += 1
                    self._told.notify_all()
            case 0x0D:
                raise ConnectionError(message[3:].decode())


def read_state(message: bytes) -> State:
    mana, fed_ms, hand, hand_count = struct.unpack_from("<HIHB", message, 1)
    at = 10

    def items() -> list[tuple[int, int]]:
        nonlocal at
        count = message[at]
        found = [struct.unpack_from("<HB", message, at + 1 + 3 * n) for n in range(count)]
        at += 1 + 3 * count
        return found

    backpack, corpse = items(), None
    is_there = message[at]
    if is_there:
        (left_ms,) = struct.unpack_from("<I", message, at + 1)
        at += 5
        corpse = Corpse(left_ms, items())
    return State(mana, fed_ms, (hand, hand_count) if hand else None, backpack, corpse)
