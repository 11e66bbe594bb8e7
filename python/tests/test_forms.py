"""`PacketMutex` in all its forms: `with`, the class, objects, functions."""

from __future__ import annotations

import logging
import threading
import time

import packet_mutex
import pytest
from conftest import Asker, held, until, waits
from packet_mutex import *


def test_with_gives_a_turn_that_is_false_once_released():
    with PacketMutex("fisher", timeout=30.0) as turn:
        assert turn
        assert PacketMutex.get_status()["current_holder"] == "fisher"
    assert not turn
    assert turn.token is None


def test_with_that_is_not_granted_never_runs_its_block():
    with held("runemaker"):
        with pytest.raises(PacketMutexTimeout) as caught:
            with PacketMutex("fisher", timeout=0.05):
                pytest.fail("ran without the mutex")
    error = caught.value
    assert isinstance(error, TimeoutError) and isinstance(error, PacketMutexError)
    assert error.holder == "runemaker" and error.held >= 0.05 and error.waited >= 0.05
    assert error.ahead == 0 and error.delay_left == 0 and error.paused is None
    assert "`runemaker` has held the turn for" in str(error)


def test_acquire_and_release_of_the_class():
    assert PacketMutex.acquire("fisher", timeout=30.0) is True
    assert PacketMutex.get_status()["current_holder"] == "fisher"
    assert PacketMutex.release("fisher") is True
    assert PacketMutex.acquire("fisher", 30.0) is True
    assert PacketMutex.release("fisher") is True
    with held("runemaker"):
        assert PacketMutex.acquire("fisher", timeout=0.01) is False


def test_acquire_and_release_of_an_object():
    m = PacketMutex("fisher")
    assert m.acquire(blocking=True) is True
    assert m
    assert m.release() is True
    assert not m
    assert m.release() is False
    with held("runemaker"):
        assert m.acquire(blocking=False) is False
        assert m.acquire(timeout=0.01) is False
        assert m.acquire(True, 0.01) is False


def test_the_functions():
    assert acquire_packet_mutex("fisher") is True
    assert get_packet_mutex_status()["current_holder"] == "fisher"
    # All forms speak of the same turn.
    assert PacketMutex("fisher").release() is True
    assert release_packet_mutex("fisher") is False
    m = PacketMutex("fisher")
    assert m.acquire()
    assert release_packet_mutex("fisher") is True
    assert not m


def test_status():
    status = PacketMutex.get_status()
    assert status["current_holder"] is None and status["waiting_modules"] == []
    assert status["last_action_time"] is None and status["time_since_last_action"] is None
    with PacketMutex("fisher"):
        pass
    with held("runemaker"):
        asker = Asker(lambda: PacketMutex.acquire("eater", timeout=10) and PacketMutex.release("eater"))
        until(waits("eater"))
        status = PacketMutex.get_status()
        assert status["current_holder"] == "runemaker"
        assert status["waiting_modules"] == ["eater"]
        assert status["holder"]["token"] > 0 and status["holder"]["depth"] == 1
        assert status["waiters"][0]["priority"] == 20
        assert status["modules"]["fisher"]["turns"] == 1
        assert 0 < status["time_since_last_action"] < 10
        assert 0 < time.monotonic() - status["last_action_time"] < 10
        assert status["next"]["module"] == "eater"
    assert asker.outcome() is True


def test_reset_ends_only_the_callers_turn():
    PacketMutex.acquire("fisher")
    PacketMutex.reset()
    assert PacketMutex.get_status()["current_holder"] is None
    with held("runemaker"):
        asker = Asker(lambda: PacketMutex("eater").__enter__())
        until(waits("eater"))
        PacketMutex.reset()
        with pytest.raises(Cancelled):
            asker.outcome()
        assert PacketMutex.get_status()["current_holder"] == "runemaker"


def test_configure(tmp_path):
    configure(handover_delay=0.05, timeout=0.01, priorities={"healer": 200, "Fisher": 61}, aging=2)
    configure(groups={"healing": ["healer", "eater"]})
    roster = default_mutex().roster
    assert 'handover_delay = "50ms"' in roster and 'timeout = "10ms"' in roster
    assert 'aging = "2s"' in roster
    assert "[modules.healer]\npriority = 200\n" in roster and 'group = "healing"' in roster
    assert "[modules.fisher]\npriority = 61\n" in roster
    with held("runemaker"), pytest.raises(PacketMutexTimeout):
        PacketMutex("fisher").__enter__()
    start = time.monotonic()
    with PacketMutex("fisher", timeout=5):
        assert time.monotonic() - start >= 0.04
    configure(aging=0)
    assert 'aging = "off"' in default_mutex().roster
    file = tmp_path / "roster.toml"
    file.write_text('handover_delay = "0s"\n[modules.arm]\npriority = 7\n')
    configure(roster=str(file), timeout=1)
    assert "[modules.arm]" in default_mutex().roster and "fisher" not in default_mutex().roster


def test_configure_refuses_what_is_wrong(tmp_path):
    for wrong in (
        {"groups": {"g": ["no name"]}},
        {"priorities": {"": 1}},
        {"handover_delay": 1e9},
        {"roster": tmp_path / "none.toml"},
    ):
        before = default_mutex().roster
        with pytest.raises(InvalidRoster) as caught:
            configure(**wrong)
        assert isinstance(caught.value, ValueError)
        assert default_mutex().roster == before
    bad = tmp_path / "bad.toml"
    bad.write_text("timeout = -5\n[modules.fisher]\npriority = 300\n")
    with pytest.raises(InvalidRoster, match=r"(?s)bad.toml:1:.*bad.toml:3:"):
        configure(roster=bad)
    with pytest.raises(ValueError):
        configure(handover_delay=-1)
    with pytest.raises((TypeError, OverflowError)):
        configure(priorities={"fisher": 300})
    with pytest.raises(TypeError, match="no setting `handover`; there are .*handover_delay"):
        configure(handover=1)
    with pytest.raises(TypeError, match="list of names"):
        configure(groups={"fishing": "fisher"})
    configure(timeout=None, groups={"fishing": (name for name in ["fisher", "stacker"])})


def test_one_import_is_enough():
    names: dict[str, object] = {}
    exec("from packet_mutex import *", names)
    for name in ("PacketMutex", "acquire_packet_mutex", "release_packet_mutex", "get_packet_mutex_status"):
        assert name in names
    assert set(packet_mutex.__all__) <= names.keys()


def test_two_threads_of_one_module_or_group_exclude_each_other():
    inside, most = 0, 0
    check = threading.Lock()

    def act(module: str) -> None:
        nonlocal inside, most
        for _ in range(20):
            with PacketMutex(module):
                with check:
                    inside += 1
                    most = max(most, inside)
                time.sleep(0.0005)
                with check:
                    inside -= 1

    askers = [Asker(lambda m=m: act(m)) for m in ("fisher", "fisher", "stacker", "stacker")]
    for asker in askers:
        asker.outcome()
    assert most == 1


def test_nested_turns_end_in_any_order():
    with PacketMutex("fisher") as outer:
        with PacketMutex("fisher") as inner:
            assert inner.token == outer.token
        with PacketMutex("stacker") as inner:
            assert inner.token == outer.token
        assert outer
    a, b = PacketMutex("fisher"), PacketMutex("stacker")
    a.__enter__()
    b.__enter__()
    a.__exit__(None, None, None)
    assert not a and b
    assert PacketMutex.get_status()["current_holder"] == "fisher"
    b.__exit__(None, None, None)
    assert PacketMutex.get_status()["current_holder"] is None
    # One object may be entered again.
    with a:
        with a:
            assert a
        assert a
    assert not a


def test_another_group_would_deadlock_at_once():
    with PacketMutex("fisher"):
        start = time.monotonic()
        with pytest.raises(WouldDeadlock) as caught:
            with PacketMutex("eater", timeout=30):
                pytest.fail("ran without the mutex")
        assert time.monotonic() - start < 5
        assert caught.value.holds == "fisher" and caught.value.asked == "eater"


def test_the_boolean_forms_keep_their_timing(caplog):
    with PacketMutex("fisher"):
        for ask in (
            lambda: PacketMutex.acquire("eater", timeout=0.2),
            lambda: acquire_packet_mutex("eater", 0.2),
            lambda: PacketMutex("eater").acquire(timeout=0.2),
            lambda: PacketMutex("eater", timeout=0.2).acquire(),
        ):
            caplog.clear()
            start = time.monotonic()
            assert ask() is False
            assert 0.2 <= time.monotonic() - start < 5
            assert [r.levelname for r in caplog.records] == ["WARNING"]
        # Without one of its own, the roster's.
        configure(timeout=0.1)
        start = time.monotonic()
        assert PacketMutex.acquire("eater") is False
        assert 0.1 <= time.monotonic() - start < 5


def test_release_by_one_who_does_not_hold(caplog):
    with held("runemaker"):
        assert PacketMutex.release("runemaker") is False
        assert PacketMutex("runemaker").release() is False
        assert [r.levelname for r in caplog.records] == ["WARNING"] * 2
        assert PacketMutex.get_status()["current_holder"] == "runemaker"


def test_another_threads_with_block_cannot_be_ended(caplog):
    m = PacketMutex("fisher")
    with m:
        asker = Asker(lambda: (bool(m), m.token, m.release(), m.__exit__(None, None, None)))
        assert asker.outcome() == (False, None, False, False)
        assert [r.levelname for r in caplog.records] == ["WARNING"] * 2
        assert m


@pytest.mark.parametrize("no_name", [None, 5, b"fisher", ["fisher"]])
def test_what_is_no_text(no_name):
    for ask in (PacketMutex, PacketMutex.acquire, PacketMutex.release, acquire_packet_mutex):
        with pytest.raises(TypeError):
            ask(no_name)


@pytest.mark.parametrize("no_name", ["", "a b", "ä", "x" * 65, "a\n", "\ud800", "auto-loot"])
def test_what_is_no_name(no_name):
    for ask in (PacketMutex, PacketMutex.acquire, PacketMutex.release, acquire_packet_mutex):
        with pytest.raises(InvalidName) as caught:
            ask(no_name)
        assert isinstance(caught.value, ValueError) and isinstance(caught.value, PacketMutexError)


def test_upper_case_is_folded_and_names_may_be_made_anew():
    for number in range(200):
        with PacketMutex("".join(["FI", "sher"])) as turn:
            assert turn.module == "fisher"


@pytest.mark.parametrize("length", [-1, float("nan"), -0.001])
def test_what_is_no_length_of_time(length):
    for ask in (
        lambda: PacketMutex("fisher", length),
        lambda: PacketMutex.acquire("fisher", length),
        lambda: PacketMutex("fisher").acquire(timeout=length),
    ):
        with pytest.raises(ValueError):
            ask()


def test_no_timeout_is_infinite():
    with pytest.raises(Refused, match="24 h"):
        PacketMutex("fisher", timeout=float("inf")).__enter__()
    assert PacketMutex.acquire("fisher", timeout=1e9) is False


def test_a_thread_that_died_holding_is_recovered_at_once():
    thread = threading.Thread(target=lambda: PacketMutex.acquire("trainer"))
    thread.start()
    thread.join()
    start = time.monotonic()
    with PacketMutex("runemaker", timeout=30) as turn:
        assert time.monotonic() - start < 5
        assert turn.predecessor_abandoned
        turn.acknowledge()
    with PacketMutex("runemaker") as turn:
        assert not turn.predecessor_abandoned


def test_the_clock_on_the_wall_is_not_consulted(monkeypatch):
    monkeypatch.setattr(time, "time", lambda: pytest.fail("time.time() was called"))
    logging.disable()
    try:
        configure(handover_delay=0.01)
        with PacketMutex("fisher"):
            pass
        with PacketMutex("eater"):
            PacketMutex.get_status()
    finally:
        logging.disable(logging.NOTSET)


def test_an_exception_ends_the_turn_and_the_log_says_so():
    events = default_mutex().events()
    with pytest.raises(KeyError):
        with PacketMutex("fisher"):
            raise KeyError
    assert [event["event"] for event in events.take()] == ["requested", "granted", "panicked"]


def test_errors_travel_between_processes():
    import pickle

    error = pickle.loads(pickle.dumps(WouldDeadlock("no", holds="fisher", asked="eater")))
    assert str(error) == "no" and error.holds == "fisher" and error.kind == "would_deadlock"


def test_every_kind_of_error_has_its_class():
    kinds = """timeout would_deadlock refused cancelled disabled closed not_holder queue_full invalid_name
    unknown_module no_longer_valid lost channel_lost unavailable unauthorized unsupported roster_differs"""
    from packet_mutex._errors import BY_KIND

    assert set(kinds.split()) | {"invalid_roster"} == set(BY_KIND)
    assert all(issubclass(error, PacketMutexError) for error in BY_KIND.values())
    assert issubclass(Unavailable, ConnectionError)
    assert all(error.__name__ in packet_mutex.__all__ for error in BY_KIND.values())
