"""What a `Mutex` can do: names, urgency, validity, yielding, steering, events."""

from __future__ import annotations

import json
import threading
import time

import packet_mutex as pm
import pytest
from conftest import Asker, held, until, waits


def test_mutexes_by_name(tmp_path):
    file = tmp_path / "roster.toml"
    file.write_text('handover_delay = "0s"\n[modules.arm]\npriority = 90\n')
    robot = pm.Mutex("two-arms", roster=file)
    assert robot.name == "two-arms" and "arm" in robot.roster
    with robot.turn("arm") as turn, pm.PacketMutex("fisher"):
        assert turn and pm.Mutex("two-arms").status()["current_holder"] == "arm"
    assert pm.Mutex("two-arms", roster=file).name == "two-arms"
    with pytest.raises(pm.RosterDiffers) as caught:
        pm.Mutex("two-arms", timeout=1)
    assert "timeout" in caught.value.fields
    with pytest.raises(pm.InvalidName):
        pm.Mutex("no name")
    assert pm.Mutex("main").status()["mutex"] == "main"


def test_a_trace(mutex, tmp_path):
    file = tmp_path / "run.jsonl"
    with mutex.trace(file) as trace, mutex.turn("fisher"):
        pass
    trace.close()  # once more does no harm
    with mutex.turn("fisher"):
        pass
    kinds = [json.loads(line)["event"] for line in file.read_text().splitlines()]
    assert kinds == ["requested", "granted", "released"]
    with pytest.raises(FileNotFoundError):
        mutex.trace(tmp_path / "no" / "where")


def test_acquire_and_release_by_name(mutex):
    assert mutex.acquire("fisher") is True
    assert mutex.release("fisher") is True
    assert mutex.release("fisher") is False


def test_urgent_goes_ahead_and_skips_the_delay(clocked):
    mutex, clock = clocked
    with mutex.turn("fisher"):
        pass
    with pytest.raises(pm.PacketMutexTimeout) as caught:
        mutex.turn("eater", timeout=0).__enter__()
    assert caught.value.delay_left == 1.0
    with mutex.turn("eater", timeout=0, urgent=True) as turn:
        assert turn


def test_validity_is_checked_once_inside_the_turn(mutex):
    calls = []

    def valid() -> bool:
        calls.append(mutex.status()["current_holder"])
        return len(calls) < 2

    with mutex.turn("fisher", valid_if=valid):
        assert calls == ["fisher"]
    events = mutex.events()
    with pytest.raises(pm.NoLongerValid):
        with mutex.turn("fisher", valid_if=valid):
            pytest.fail("ran although no longer valid")
    assert events.take()[-1]["event"] == "declined"

    def broken() -> bool:
        raise KeyError("broken")

    with pytest.raises(KeyError):
        with mutex.turn("fisher", valid_if=broken):
            pytest.fail("ran although the check broke")
    assert events.take()[-1]["event"] == "declined"
    assert mutex.turn("fisher", valid_if=lambda: False).acquire() is False
    assert mutex.status()["current_holder"] is None
    with pytest.raises(pm.NoLongerValid):
        pm.PacketMutex("fisher", valid_if=lambda: False).__enter__()


def test_a_declined_turn_starts_no_delay(clocked):
    mutex, _ = clocked
    with mutex.turn("fisher") as turn:
        turn.decline()
        assert not turn
        with pytest.raises(pm.NotHolder):
            turn.decline()
    with mutex.turn("eater", timeout=0):
        pass


def test_others_since_request(mutex):
    with held("runemaker", mutex):
        turn = mutex.turn("fisher")
        asker = Asker(lambda: turn.acquire() and (turn.others_since_request, turn.release()))
        until(waits("fisher", mutex))
    assert asker.outcome() == (1, True)
    with mutex.turn("fisher") as turn:
        assert turn.others_since_request == 0 and turn.waited < 1


def test_should_yield_and_yield_now(mutex):
    with mutex.turn("eater") as turn:
        assert not turn.should_yield
        first = turn.token
        order = []

        def act() -> None:
            with mutex.turn("runemaker"):
                order.append("runemaker")

        asker = Asker(act)
        until(waits("runemaker", mutex))
        assert turn.should_yield
        turn.yield_now()
        order.append("eater")
        assert turn and turn.token > first
        asker.outcome()
        assert order == ["runemaker", "eater"]
        with mutex.turn("auto_loot"), pytest.raises(pm.Refused):
            turn.yield_now()
        assert turn


def test_a_yield_that_fails_leaves_no_turn(mutex):
    with mutex.turn("eater") as turn:
        with held_later("runemaker", mutex):
            with pytest.raises(pm.PacketMutexTimeout):
                turn.yield_now(timeout=0.05)
            assert not turn


class held_later:
    """Another thread asks, and holds what it is granted until this ends."""

    def __init__(self, module: str, mutex: pm.Mutex) -> None:
        self.done = threading.Event()

        def act() -> None:
            with mutex.turn(module):
                self.done.wait(30)

        self.asker = Asker(act)
        until(waits(module, mutex))

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        self.done.set()
        self.asker.outcome()


def test_sleep_ends_early_when_the_turn_should_be_given_away(mutex):
    with mutex.turn("eater") as turn:
        assert turn.sleep(0.01) is True
        start = time.monotonic()
        asker = Asker(lambda: mutex.acquire("runemaker", 30) and mutex.release("runemaker"))
        assert turn.sleep(30) is False
        assert time.monotonic() - start < 10
    assert asker.outcome() is True
    with pytest.raises(pm.NotHolder):
        turn.sleep(0.01)


def test_cancel_disable_enable(mutex):
    with held("runemaker", mutex):
        asker = Asker(lambda: mutex.turn("fisher").__enter__())
        until(waits("fisher", mutex))
        mutex.cancel("fisher")
        with pytest.raises(pm.Cancelled):
            asker.outcome()
    mutex.disable("fisher")
    with pytest.raises(pm.Disabled) as caught:
        mutex.turn("fisher").__enter__()
    assert caught.value.module == "fisher"
    assert mutex.acquire("fisher") is False
    mutex.enable("fisher")
    with mutex.turn("fisher"):
        pass


def test_pause_and_resume(mutex):
    with mutex.turn("eater") as turn:
        mutex.pause("alarm", below=60)
        assert turn.should_yield
    with pytest.raises(pm.PacketMutexTimeout) as caught:
        mutex.turn("eater", timeout=0).__enter__()
    assert caught.value.paused == "alarm"
    with mutex.turn("runemaker", timeout=0):
        pass
    assert mutex.status()["paused"][0]["reason"] == "alarm"
    mutex.resume("alarm")
    with pytest.raises(pm.Refused):
        mutex.resume("alarm")
    mutex.pause("all")
    assert mutex.acquire("runemaker", 0) is False
    with mutex.turn("eater", urgent=True, timeout=0):
        pass
    mutex.resume()
    mutex.pause("short", seconds=0.05)
    with mutex.turn("eater", timeout=5):
        pass
    with pytest.raises(pm.Refused):
        mutex.pause("")


def test_revoke(mutex):
    events = mutex.events()
    with mutex.turn("fisher") as turn:
        asker = Asker(lambda: mutex.turn("eater").__enter__() and mutex.release("eater"))
        until(waits("eater", mutex))
        mutex.revoke("the fisher hangs")
        assert not turn and turn.token is None and turn.should_yield
        assert asker.outcome() is True
        with pytest.raises(pm.NotHolder):
            turn.sleep(0)
    with mutex.turn("fisher") as turn:
        assert turn.predecessor_abandoned
        turn.acknowledge()
    log = events.take()
    (revoking,) = [event for event in log if event["event"] == "revoking"]
    assert revoking["module"] == "fisher" and revoking["reason"] == "the fisher hangs"
    assert "revoked" in [event["event"] for event in log]
    with pytest.raises(pm.NotHolder):
        mutex.revoke("nobody holds")
    with mutex.turn("fisher"), pytest.raises(pm.Refused):
        mutex.revoke("")


def test_steering_takes_only_names(mutex):
    for steer in mutex.cancel, mutex.disable, mutex.enable, lambda module: mutex.set_mode(module, "off"):
        with pytest.raises(TypeError, match="must be a str, not int"):
            steer(5)
        with pytest.raises(pm.InvalidName):
            steer("no name")
        with pytest.raises(pm.InvalidName, match="Unicode"):
            steer("\ud800")
    with pytest.raises(ValueError, match="observed"):
        mutex.set_mode("fisher", "loose")


def test_close():
    mutex = pm.Mutex("closed", handover_delay=0)
    with mutex.turn("fisher"):
        asker = Asker(lambda: mutex.turn("eater").__enter__())
        until(waits("eater", mutex))
        mutex.close()
        with pytest.raises(pm.Closed):
            asker.outcome()
        assert mutex.status()["current_holder"] == "fisher"
    with pytest.raises(pm.Closed):
        mutex.turn("fisher").__enter__()


def test_modes(mutex):
    mutex.set_mode("eater", "observed")
    events = mutex.events()
    with mutex.turn("fisher"), mutex.turn("eater") as turn:
        assert turn and turn.is_pass and turn.token is None
    assert not turn
    with held("fisher", mutex), mutex.turn("eater"):
        pass
    assert "conflict" in [event["event"] for event in events.take()]
    with pytest.raises(ValueError):
        mutex.set_mode("eater", "sometimes")


def test_a_strict_roster_and_full_limits(tmp_path):
    file = tmp_path / "strict.toml"
    file.write_text("strict = true\n[limits]\nwaiters = 1\n[modules.a]\npriority = 1\n")
    mutex = pm.Mutex("strict", roster=file)
    with pytest.raises(pm.UnknownModule):
        mutex.turn("b")
    with held("a", mutex):
        asker = Asker(lambda: mutex.acquire("a", 0.2))
        until(waits("a", mutex))
        with pytest.raises(pm.QueueFull) as caught:
            mutex.turn("a").__enter__()
        assert caught.value.limit == 1
    assert asker.outcome() is True


def test_events_as_an_iterator(mutex):
    events = mutex.events()
    with mutex.turn("fisher") as turn:
        token = turn.token
    kinds = [next(events) for _ in range(3)]
    assert [event["event"] for event in kinds] == ["requested", "granted", "released"]
    assert kinds[1]["token"] == token and kinds[1]["mutex"] == mutex.name
    assert events.wait(0.01) == [] and events.take() == []
    asker = Asker(lambda: next(events))
    with mutex.turn("fisher"):
        pass
    assert asker.outcome()["event"] == "requested"
    assert len(mutex.events(so_far=True).take()) == 6


def test_events_as_a_callback(mutex, caplog):
    seen = []

    def callback(event: pm.Event) -> None:
        seen.append(event["event"])
        # The mutex may be used in there; nobody is held up by it.
        mutex.status()
        if len(seen) == 1:
            raise KeyError("a callback may fail")

    with mutex.on_event(callback):
        with mutex.turn("fisher"):
            pass
    assert seen == ["requested", "granted", "released"]
    assert "an event callback failed" in caplog.text
    with mutex.turn("fisher"):
        pass
    assert len(seen) == 3


def test_a_slow_reader_finds_how_many_it_missed(tmp_path):
    file = tmp_path / "small.toml"
    file.write_text("[limits]\nevents = 10\n")
    mutex = pm.Mutex("small", roster=file)
    events = mutex.events()
    for _ in range(10):
        with mutex.turn("a"):
            pass
    first, *rest = events.take()
    assert first["event"] == "dropped" and first["count"] == 20 and len(rest) == 10


def test_virtual_time(clocked):
    mutex, clock = clocked
    with mutex.turn("fisher"):
        clock.advance(5)
    asker = Asker(lambda: mutex.turn("eater").acquire() and mutex.release("eater"))
    until(waits("eater", mutex))
    clock.advance(0.999)
    assert mutex.status()["next"]["in"] == pytest.approx(0.001)
    clock.advance_to(6_000_000_000)
    assert asker.outcome() is True


def test_turns_have_a_text():
    assert repr(pm.PacketMutex("fisher")) == "<turn of fisher on main: not held>"
    with pm.PacketMutex("fisher") as turn:
        assert repr(turn) == f"<turn of fisher on main: token {turn.token}>"
    assert repr(pm.default_mutex()) == "<mutex main>"
