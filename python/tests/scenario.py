"""Reads the files of /scenarios, and runs them through the Python package: with threads, and with asyncio tasks.

A scenario's README says what the lines mean. A front that cannot do what a line needs leaves the scenario out.
"""

from __future__ import annotations

import asyncio
import copy
import json
import os
import queue
import re
import threading
import time
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import packet_mutex as pm

SECOND = 1_000_000_000
ROSTER_WORDS = set(
    "roster module without delay handover timeout aging starving claim_within strict waiters modules events".split()
)
OUTCOMES = {"granted", "nested", "refused", "timed_out", "cancelled", "withdrawn", "closed", "lost"}


class LeftOut(Exception):
    """The front cannot do what the scenario needs."""


def nanos(text: str | Decimal) -> int:
    return int(Decimal(text) * SECOND)


def split(text: str) -> list[str]:
    """Words, and texts in quotes."""
    words = re.findall(r'"(?:[^"\\]|\\.)*"|\S+', text)
    return [json.loads(word) if word.startswith('"') else word for word in words]


def seconds(value: Any) -> str:
    """Seconds as short as they go."""
    text = f"{Decimal(value):.9f}".rstrip("0").rstrip(".")
    return text or "0"


def moment(value: Any) -> str:
    """Seconds with at least three decimals."""
    whole, decimals = f"{Decimal(value):.9f}".split(".")
    return f"{whole}.{decimals[:3]}{decimals[3:].rstrip('0')}"


# Rosters.


def first_roster() -> dict[str, Any]:
    return tomllib.loads(FIRST_ROSTER)


FIRST_ROSTER = ""  # set by the test, before anything is configured


def length(text: str) -> str:
    return text if text == "off" else f"{nanos(text)}ns"


def apply(roster: dict[str, Any], words: list[str]) -> dict[str, Any]:
    modules = roster.setdefault("modules", {})
    match words:
        case ["roster", "six"]:
            return first_roster()
        case ["roster", "none"]:
            return {}
        case ["module", name, *settings]:
            module = modules.setdefault(name, {})
            if settings and settings[0].isdigit():
                module["priority"] = int(settings.pop(0))
            while settings:
                match settings.pop(0):
                    case "group":
                        module["group"] = settings.pop(0)
                    case "timeout":
                        module["timeout"] = length(settings.pop(0))
                    case "delay":
                        module["handover_delay"] = length(settings.pop(0))
                    case "longest":
                        module["longest_turn"] = length(settings.pop(0))
                    case "not_urgent":
                        module["urgent"] = False
                    case mode:
                        module["mode"] = mode
        case ["without", name]:
            modules.pop(name, None)
        case ["delay", origin, "->", to, delay]:
            delays = roster.setdefault("delays", [])
            delays[:] = [d for d in delays if (d["from"], d["to"]) != (origin, to)]
            delays.append({"from": origin, "to": to, "delay": length(delay)})
        case ["strict"]:
            roster["strict"] = True
        case [("waiters" | "modules" | "events") as limit, number]:
            roster.setdefault("limits", {})[limit] = int(number)
        case [word, value]:
            key = {"handover": "handover_delay", "starving": "starving_after"}.get(word, word)
            roster[key] = length(value)
        case _:
            raise AssertionError(f"no roster line: {words}")
    return roster


def toml(roster: dict[str, Any]) -> str:
    def table(name: str, values: dict[str, Any]) -> str:
        return f"{name}\n" + "".join(f"{k} = {json.dumps(v)}\n" for k, v in values.items())

    tables = {"limits", "modules", "delays"}
    parts = [table("", {k: v for k, v in roster.items() if k not in tables})]
    parts.append(table("[limits]", roster.get("limits", {})))
    parts += [table(f'[modules."{name}"]', module) for name, module in roster.get("modules", {}).items()]
    parts += [table("[[delays]]", delay) for delay in roster.get("delays", [])]
    return "\n".join(parts)


# Scenarios.


@dataclass
class Step:
    line: int
    text: str
    at: int
    roster: dict[str, Any] | None = None
    expected: list[str] = field(default_factory=list)


@dataclass
class Scenario:
    title: str
    roster: dict[str, Any]
    steps: list[Step]

    @classmethod
    def read(cls, path: Path) -> Scenario:
        title, roster, steps, at = "", {}, [], 0
        header: dict[str, Any] = {}
        for number, raw in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            line = raw.strip()
            if not line or line.startswith("#"):
                continue
            if line[0] in "|!=":
                steps[-1].expected.append(line)
            elif line[0] == "+":
                roster = apply(roster, line[1:].split())
                steps[-1].roster = copy.deepcopy(roster)
            elif line[0] == "?":
                steps.append(Step(number, line, at))
            elif line[0].isdigit():
                if not steps:
                    header = copy.deepcopy(roster)
                when, text = line.split(maxsplit=1)
                at = nanos(when)
                steps.append(Step(number, text, at))
                if text == "reload":
                    steps[-1].roster = copy.deepcopy(roster)
            elif line.startswith("title:"):
                title = line[6:].strip()
            elif line.split()[0] in ROSTER_WORDS:
                roster = apply(roster, line.split())
            elif line == "restarted" or line.startswith("first token"):
                raise LeftOut(line)
            else:
                assert line.startswith("rules:"), line
        return cls(title, header, steps)


# Owners: each runs what it is told in its own thread or task.


class ThreadOwner:
    def __init__(self, _front: Front) -> None:
        self.jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self.busy = False
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self) -> None:
        while (job := self.jobs.get()) is not None:
            job()
            self.busy = False

    def call(self, work: Callable[[], Any]) -> Any:
        """Runs it and waits for it."""
        if self.busy:
            raise LeftOut("a thread that waits does nothing else")
        result: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()

        def job() -> None:
            try:
                result.put((work(), None))
            except Exception as error:
                result.put((None, error))

        self.busy = True
        self.jobs.put(job)
        value, error = result.get(timeout=20)
        while self.busy:
            time.sleep(0)
        if error:
            raise error
        return value

    def ask(self, asked: Asked, turn: pm.Turn, again: bool, timeout: float | None) -> None:
        if self.busy:
            raise LeftOut("a thread that waits does nothing else")

        def job() -> None:
            try:
                turn.yield_now(timeout) if again else turn.__enter__()
                asked.answer(turn)
            except Exception as error:
                asked.error = error
            asked.done = True

        self.busy = True
        self.jobs.put(job)

    def withdraw(self, asked: Asked) -> None:
        raise LeftOut("a thread that waits cannot take its ask back")

    def end(self) -> None:
        if self.busy:
            raise LeftOut("a thread that waits cannot end")
        self.jobs.put(None)
        self.thread.join(20)
        # Python is done with the thread a moment before the thread is.
        if not os.path.exists("/proc/self/task"):
            time.sleep(0.1)
        while os.path.exists(f"/proc/self/task/{self.thread.native_id}"):
            time.sleep(0.0005)

    def abort(self) -> None:
        self.jobs.put(None)


class TaskOwner:
    def __init__(self, front: Front) -> None:
        assert isinstance(front, Tasks)
        self.loop = front.loop
        self.jobs: asyncio.Queue[Callable[[], None] | None] = asyncio.Queue()
        self.asks: dict[int, asyncio.Task[None]] = {}
        self.task = self.loop.create_task(self.run())

    async def run(self) -> None:
        while (job := await self.jobs.get()) is not None:
            job()

    def call(self, work: Callable[[], Any]) -> Any:
        done = self.loop.create_future()

        def job() -> None:
            try:
                done.set_result(work())
            except Exception as error:
                done.set_exception(error)

        self.jobs.put_nowait(job)
        return self.loop.run_until_complete(asyncio.wait_for(done, 20))

    def ask(self, asked: Asked, turn: pm.Turn, again: bool, timeout: float | None) -> None:
        def job() -> None:
            # Called here, by the owner; awaited beside it, so that it can do other things meanwhile.
            answer = turn.yield_async(timeout) if again else turn.acquire_async()

            async def wait() -> None:
                try:
                    await answer
                    self.call_soon(lambda: asked.answer(turn))
                except Exception as error:
                    asked.error = error
                    asked.done = True

            self.asks[id(asked)] = self.loop.create_task(wait())

        self.jobs.put_nowait(job)

    def call_soon(self, work: Callable[[], None]) -> None:
        self.jobs.put_nowait(work)

    def withdraw(self, asked: Asked) -> None:
        task = self.asks[id(asked)]
        if task.done():
            raise LeftOut("a turn that was taken is declined and not withdrawn")
        task.cancel()
        self.loop.run_until_complete(asyncio.wait([task]))
        asked.done = True

    def end(self) -> None:
        self.jobs.put_nowait(None)
        self.loop.run_until_complete(self.task)

    def abort(self) -> None:
        self.task.cancel()
        for task in self.asks.values():
            task.cancel()
        self.loop.run_until_complete(asyncio.wait([self.task, *self.asks.values()]))


@dataclass
class Asked:
    """A request of the scenario, and what came of it."""

    turn: pm.Turn | None
    owner: str
    done: bool = False
    error: Exception | None = None
    told: str = ""

    def answer(self, turn: pm.Turn) -> None:
        self.told = "pass" if turn.is_pass else f"turn token {turn.token}"
        self.told += f" waited {seconds(Decimal(repr(turn.waited)))} others {turn.others_since_request}"
        self.told += " predecessor_abandoned" if turn.predecessor_abandoned else ""
        self.told += f" depth {turn.depth}" if turn.depth else ""
        self.done = True


def failure(error: Exception) -> str:
    """A failure in short: its kind and what it tells."""
    short = lambda value: seconds(Decimal(repr(value)))  # noqa: E731
    match error:
        case pm.PacketMutexTimeout():
            text = f"timeout waited {short(error.waited)}"
            if error.holder is not None:
                text += f" holder {error.holder} held {short(error.held)}"
            text += f" ahead {error.ahead} delay_left {short(error.delay_left)}"
            return text + (f" paused {json.dumps(error.paused)}" if error.paused else "")
        case pm.WouldDeadlock():
            return f"would_deadlock holds {error.holds} asked {error.asked}"
        case pm.Refused():
            return str(error)
        case pm.Disabled():
            return f"disabled {error.module}"
        case pm.NotHolder():
            return "not_holder" + (f" holder {error.holder}" if error.holder else "")
        case pm.QueueFull():
            return f"queue_full limit {error.limit}"
        case pm.PacketMutexError():
            return error.kind
    raise error


class Front:
    """What both fronts share."""

    owner: type[ThreadOwner] | type[TaskOwner]

    def __init__(self, scenario: Scenario, folder: Path) -> None:
        self.folder = folder
        self.clock = pm.ManualClock()
        self.mutex = pm.Mutex("main", clock=self.clock, roster=self.write(scenario.roster))
        self.reader = self.mutex._events(so_far=True)
        self.events: list[dict[str, Any]] = []
        self.shown = 0
        self.seq = 0
        self.now = 0
        self.names: dict[int, str] = {}
        self.asked: dict[str, Asked] = {}
        self.owners: dict[str, Any] = {}
        self.newest: dict[int, str] = {}
        self.spoken_of = ""

    def write(self, roster: dict[str, Any]) -> Path:
        path = self.folder / "roster.toml"
        path.write_text(toml(roster))
        return path

    def who(self, name: str) -> Any:
        if name not in self.owners:
            self.owners[name] = self.owner(self)
        return self.owners[name]

    def let_run(self) -> None:
        raise NotImplementedError

    def read(self) -> None:
        lines = self.reader.take()
        self.events += [json.loads(line, parse_float=Decimal) for line in lines]

    def until(self, true: Callable[[], Any]) -> None:
        end = time.monotonic() + 20
        while True:
            self.read()
            if true():
                return
            assert time.monotonic() < end, "the front hangs"
            self.let_run()

    def settle(self) -> None:
        """Waits until everybody has seen what was decided about it."""

        def settled() -> bool:
            decided = {e["request"] for e in self.events if e["event"] in OUTCOMES and "request" in e}
            return all(self.asked[self.names[n]].done for n in decided if n in self.names)

        self.until(settled)

    def advance(self, to: int, including: bool) -> None:
        while (due := self.clock.next_alarm) is not None and (due < to or (including and due == to)):
            self.clock.advance_to(due)
            self.settle()
        if including:
            self.clock.advance_to(to)
            self.settle()

    def lines(self) -> list[str]:
        self.read()
        lines = [self.line(event) for event in self.events[self.shown :]]
        self.shown = len(self.events)
        return lines

    def line(self, event: dict[str, Any]) -> str:
        number = event["seq"]
        gap = "" if number == self.seq + 1 else f" (seq {number})"
        self.seq = number
        text = f"| {moment(event['t'])} {event['event']}"
        if event["event"] == "not_holder" and self.spoken_of:
            text += f" {self.spoken_of}"
        elif "request" in event:
            text += f" {self.name(event['request'])}"
        if "module" in event and not self.spoken_of:
            text += f" {event['module']}"
        if event.get("token") is not None:
            text += f" token {event['token']}"
        details = {k: v for k, v in event.items() if k not in ("seq", "t", "event", "mutex", "request", "module", "token")}
        if event["event"] == "requested":
            details["urgent"] = details.pop("urgent")
        for key, value in details.items():
            if value is True:
                text += f" {key}"
            elif key in ("others", "depth") and not value and event["event"] != "nested" or value is False:
                pass
            elif key == "with_request":
                text += f" {key} {self.name(value)}"
            elif key == "until":
                text += f" {key} {moment(value)}"
            elif key == "reason":
                text += f" {key} {json.dumps(value)}"
            elif isinstance(value, Decimal):
                text += f" {key} {seconds(value)}"
            else:
                text += f" {key} {value}"
        return text + gap

    def name(self, request: int) -> str:
        return self.names.get(request, f"#{request}")

    def run(self, scenario: Scenario) -> list[tuple[Step, list[str]]]:
        """The steps that came out other than expected, with what came out."""
        results: list[list[str]] = []
        try:
            for step in scenario.steps:
                if step.text.startswith(("late ", "back ")):
                    raise LeftOut(step.text)
                if step.at > self.now:
                    self.advance(step.at, including=False)
                if results:
                    results[-1] += self.lines()
                # What falls due at the moment itself is done after the input, as on a clock that goes on meanwhile.
                self.set_clock(step.at)
                results.append([])
                refusal = answer = None
                if step.text.startswith("?"):
                    self.mutex.status()
                    self.settle()
                    answer = self.query(step.text[1:].strip())
                else:
                    refusal = self.act(step)
                self.advance(step.at, including=True)
                results[-1] += self.lines()
                self.spoken_of = ""
                results[-1] += [f"! {refusal}"] if refusal else []
                results[-1] += [f"= {answer}"] if answer is not None else []
        finally:
            for owner in self.owners.values():
                owner.abort()
        pairs = list(zip(scenario.steps, results, strict=True))
        return [(step, got) for step, got in pairs if step.expected != got]

    def set_clock(self, to: int) -> None:
        """Goes to a moment, without what falls due at it."""
        if to > self.now:
            self.now = to
            self.clock.set(to)

    # What is done.

    def act(self, step: Step) -> str | None:
        words = split(step.text)
        before = len(self.events)
        try:
            match words:
                case [name, module, "asks", *options]:
                    return self.ask(name.rstrip(":"), module, options)
                case [name, hold, "yields", *options]:
                    return self.give_away(name.rstrip(":"), hold, options)
                case [hold, ("ends" | "panics" | "declines") as how, *by]:
                    self.end(hold, how, by)
                case ["end", module, "by", owner]:
                    self.who(owner).call(lambda: self.mutex.release(module))
                case [name, "withdraws"]:
                    asked = self.asked[name]
                    self.who(asked.owner).withdraw(asked)
                case [name, "acknowledges"]:
                    self.with_turn(name, lambda turn: turn.acknowledge())
                case ["lost", owner]:
                    self.who(owner).end()
                    del self.owners[owner]
                case ["cancel", module]:
                    self.mutex.cancel(module)
                case ["disable", module]:
                    self.mutex.disable(module)
                case ["enable", module]:
                    self.mutex.enable(module)
                case ["mode", module, mode]:
                    self.mutex.set_mode(module, mode)
                case ["pause", reason, "below", level, *lasts]:
                    below = None if level == "urgent" else int(level)
                    length = float(lasts[1]) if lasts else None
                    self.mutex.pause(reason, below=below, seconds=length)
                case ["resume", *reason]:
                    self.mutex.resume(*reason)
                case ["revoke", reason]:
                    self.mutex.revoke(reason)
                case ["close"]:
                    self.mutex.close()
                case ["reload"]:
                    assert step.roster is not None
                    self.mutex.configure(roster=self.write(step.roster))
                case ["reset", "by", owner]:
                    self.who(owner).call(self.mutex.reset)
                case ["reset"]:
                    self.who("").call(self.mutex.reset)
                case ["tick"]:
                    self.mutex.status()
                case _:
                    raise LeftOut(step.text)
        except pm.PacketMutexError as error:
            self.settle()
            return failure(error)
        self.settle()
        if any(event["event"] == "not_holder" for event in self.events[before:]):
            return failure(pm.NotHolder("", holder=self.mutex.status()["current_holder"]))
        return None

    def ask(self, name: str, module: str, options: list[str]) -> str | None:
        owner, urgent, timeout = name, False, None
        while options:
            match options.pop(0):
                case "by":
                    owner = options.pop(0)
                case "urgent":
                    urgent = True
                case "timeout":
                    timeout = float(options.pop(0))
                case other:
                    raise LeftOut(other)
        if owner == "nobody":
            raise LeftOut("an ask by nobody")
        self.asked[name] = asked = Asked(None, owner)
        try:
            asked.turn = self.mutex.turn(module, timeout, urgent=urgent)
        except pm.PacketMutexError as error:
            return failure(error)
        self.made(name, asked, lambda turn: self.who(owner).ask(asked, turn, False, None))
        return None

    def give_away(self, name: str, hold: str, options: list[str]) -> str | None:
        before = self.asked[hold]
        owner, timeout = before.owner, None
        while options:
            match options.pop(0):
                case "by":
                    owner = options.pop(0)
                case "timeout":
                    timeout = float(options.pop(0))
        if before.turn is None:
            raise LeftOut("a turn that never was")
        self.asked[name] = asked = Asked(before.turn, owner)
        self.made(name, asked, lambda turn: self.who(owner).ask(asked, turn, True, timeout))
        if name not in self.names.values() and asked.error:
            return failure(asked.error)
        return None

    def made(self, name: str, asked: Asked, ask: Callable[[pm.Turn], None]) -> None:
        """Makes the request, and learns its number from its first event."""
        self.read()
        known = len(self.events)
        assert asked.turn is not None
        self.newest[id(asked.turn)] = name
        ask(asked.turn)

        def new() -> list[int]:
            kinds = ("requested", "refused", "nested")
            return [e["request"] for e in self.events[known:] if e["event"] in kinds and "request" in e]

        # A module that is off leaves no trace.
        self.until(lambda: new() or asked.done)
        self.read()
        if new():
            self.names[new()[0]] = name
        self.settle()

    def with_turn(self, name: str, work: Callable[[pm.Turn], Any], owner: str | None = None) -> Any:
        asked = self.asked[name]
        turn = asked.turn
        if turn is None:
            raise LeftOut("a turn that never was")
        return self.who(owner or asked.owner).call(lambda: work(turn))

    def end(self, hold: str, how: str, by: list[str]) -> None:
        owner = by[1] if by else None
        if owner == "nobody":
            raise LeftOut("an end by nobody")

        if self.newest[id(self.asked[hold].turn)] != hold:
            raise LeftOut("a turn that was yielded and got back is one object")

        def leave(turn: pm.Turn) -> None:
            if how == "declines":
                turn.decline()
            elif not turn:
                # A release of what is not held is about the module.
                self.spoken_of = hold
                turn.release()
            elif how == "panics":
                turn.__exit__(KeyError, KeyError(), None)
            else:
                turn.__exit__(None, None, None)

        self.with_turn(hold, leave, owner)

    # What is asked.

    def query(self, text: str) -> str:
        status = json.loads(self.mutex._status(), parse_float=Decimal)
        match split(text):
            case [name, "told"]:
                asked = self.asked[name]
                if not asked.done:
                    return "nothing"
                return failure(asked.error) if asked.error else asked.told
            case [name, "should_yield"]:
                if self.asked[name].turn is None:
                    return "no"
                return "yes" if self.with_turn(name, lambda turn: turn.should_yield) else "no"
            case ["holder"]:
                h = status["holder"]
                return "none" if h is None else f"{h['module']} token {h['token']} held {seconds(h['held'])} depth {h['depth']}"
            case ["waiters"]:
                return "; ".join(map(self.waiter, status["waiters"])) or "none"
            case ["why"]:
                return "; ".join(f"{self.name(w['request'])} {w['why']}" for w in status["waiters"]) or "none"
            case ["next"]:
                n = status["next"]
                return "none" if n is None else f"{n['module']} in {seconds(n['in'])}"
            case ["last"]:
                last = status["last"]
                return "none" if last is None else f"{last['module']} ended {seconds(last['ended'])} ago"
            case ["paused"]:
                return "; ".join(
                    f"{json.dumps(p['reason'])} below {p['below']}"
                    + ("" if p["left"] is None else f" left {seconds(p['left'])}")
                    for p in status["paused"]
                ) or "none"
            case ["module", name]:
                m = status["modules"].get(name)
                if m is None:
                    return "none"
                return (
                    f"{m['mode']}{' disabled' if m['disabled'] else ''} turns {m['turns']} passes {m['passes']}"
                    f" timeouts {m['timeouts']} wait max {seconds(m['wait']['max'])} hold max {seconds(m['hold']['max'])}"
                )
            case ["missed"]:
                first = json.loads(self.mutex._events(so_far=True).take()[0])
                return str(first["count"]) if first["event"] == "dropped" else "0"
        raise LeftOut(text)

    def waiter(self, w: dict[str, Any]) -> str:
        text = (
            f"{self.name(w['request'])} {w['module']} priority {w['priority']} effective {seconds(w['effective'])}"
            f" waited {seconds(w['waited'])} deadline {seconds(w['deadline'])}"
        )
        text += " urgent" if w["urgent"] else ""
        return text + (f" paused {json.dumps(w['paused'])}" if w["paused"] is not None else "")


class Threads(Front):
    owner = ThreadOwner

    def let_run(self) -> None:
        time.sleep(0.0002)


class Tasks(Front):
    owner = TaskOwner

    def __init__(self, scenario: Scenario, folder: Path) -> None:
        self.loop = asyncio.new_event_loop()
        super().__init__(scenario, folder)

    def let_run(self) -> None:
        self.loop.run_until_complete(asyncio.sleep(0.0002))

    def run(self, scenario: Scenario) -> list[tuple[Step, list[str]]]:
        try:
            return super().run(scenario)
        finally:
            self.loop.close()


def difference(found: list[tuple[Step, list[str]]]) -> str:
    lines = []
    for step, got in found:
        lines.append(f"line {step.line}: {step.text}")
        lines += [f"  - {line}" for line in step.expected if line not in got]
        lines += [f"  + {line}" for line in got if line not in step.expected]
    return "\n".join(lines)


