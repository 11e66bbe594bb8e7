"""The same lock in pure Python: priorities, handover delay, timeout, owners, nesting. To measure against."""

import threading
import time
from bisect import insort

PRIORITIES = {"runemaker": 100, "trainer": 80, "fisher": 60, "auto_loot": 40, "stacker": 30, "eater": 20}
GROUPS = {"fisher": "fish", "stacker": "fish", "auto_loot": "food", "eater": "food"}
DELAY = 1.0


class PureMutex:
    __slots__ = ("module", "timeout", "token")

    _condition = threading.Condition(threading.Lock())
    _waiting: list[tuple[int, int]] = []
    _owner: int | None = None
    _group: str | None = None
    _depth = 0
    _asked = 0
    _turns = 0
    _last_group: str | None = None
    _last_end = 0.0

    def __init__(self, module: str, timeout: float = 30.0) -> None:
        self.module = module
        self.timeout = timeout
        self.token = 0

    def __enter__(self) -> "PureMutex":
        cls = PureMutex
        owner = threading.get_ident()
        group = GROUPS.get(self.module, self.module)
        with cls._condition:
            if cls._owner == owner:
                if group != cls._group:
                    raise RuntimeError("would deadlock")
                cls._depth += 1
                return self
            now = time.monotonic()
            deadline = now + self.timeout
            cls._asked += 1
            me = (-PRIORITIES.get(self.module, 50), cls._asked)
            insort(cls._waiting, me)
            try:
                while True:
                    is_next = cls._owner is None and cls._waiting[0] == me
                    other = cls._last_group not in (None, group)
                    due = cls._last_end + DELAY if other else now
                    if is_next and due <= now:
                        break
                    if deadline <= now:
                        raise TimeoutError
                    cls._condition.wait(min(deadline, due) - now if is_next else deadline - now)
                    now = time.monotonic()
            finally:
                cls._waiting.remove(me)
                cls._condition.notify_all()
            cls._owner, cls._group, cls._depth = owner, group, 1
            cls._turns += 1
            self.token = cls._turns
        return self

    def __exit__(self, *_: object) -> None:
        cls = PureMutex
        with cls._condition:
            if cls._owner != threading.get_ident():
                raise RuntimeError("not the holder")
            cls._depth -= 1
            if cls._depth == 0:
                cls._owner, cls._last_group, cls._last_end = None, cls._group, time.monotonic()
                cls._condition.notify_all()
