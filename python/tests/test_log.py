"""Log lines through `logging`."""

from __future__ import annotations

import logging
import threading
import time

import packet_mutex as pm
import pytest
from conftest import Asker, held, until, waits
from packet_mutex import PacketMutex


def test_lines_of_a_turn(caplog):
    caplog.set_level(logging.INFO, "packet_mutex")
    with PacketMutex("fisher"):
        assert [r.getMessage().split(" after ")[0] for r in caplog.records] == ["fisher acquired"]
    assert caplog.records[-1].getMessage().startswith("fisher released after holding 0.")
    assert {r.name for r in caplog.records} == {"packet_mutex"}


def test_levels_may_change_at_any_time(caplog):
    logger = logging.getLogger("packet_mutex")
    for level, lines in ((logging.INFO, 2), (logging.WARNING, 0), (logging.DEBUG, 3), (logging.ERROR, 0)):
        caplog.set_level(level, "packet_mutex")
        caplog.clear()
        with PacketMutex("fisher"):
            pass
        assert len(caplog.records) == lines
    logger.setLevel(logging.NOTSET)
    caplog.set_level(logging.INFO)
    caplog.clear()
    with PacketMutex("fisher"):
        pass
    assert len(caplog.records) == 2
    caplog.clear()
    logging.disable()
    with PacketMutex("fisher"):
        pass
    logging.disable(logging.NOTSET)
    assert caplog.records == []


def test_a_timeout_says_why(caplog):
    with held("runemaker"):
        assert PacketMutex.acquire("fisher", timeout=0.01) is False
    assert [r.levelname for r in caplog.records] == ["WARNING"]
    assert "`runemaker` has held the turn for" in caplog.text


def test_an_unknown_module_is_logged_once_with_the_nearest_name(caplog):
    for _ in range(2):
        with PacketMutex("fischer"):
            pass
    assert [r.getMessage() for r in caplog.records if "fischer" in r.getMessage()] == [
        "the roster does not name fischer, so it has priority 50; did you mean fisher?"
    ]


def test_lines_of_another_mutex_name_it(caplog):
    caplog.set_level(logging.INFO, "packet_mutex")
    with pm.Mutex("second").turn("fisher"):
        pass
    assert caplog.records[0].getMessage().startswith("second: fisher acquired")


def test_a_thread_that_dies_is_logged_by_somebody(caplog):
    thread = threading.Thread(target=lambda: PacketMutex.acquire("trainer"))
    thread.start()
    thread.join()
    until(lambda: "trainer abandoned" in caplog.text)
    with PacketMutex("fisher") as turn:
        turn.acknowledge()


def test_a_handler_may_use_the_mutex_and_may_be_slow():
    class Handler(logging.Handler):
        seen: list[str] = []

        def emit(self, record: logging.LogRecord) -> None:
            if record.getMessage().startswith("logs: "):
                return
            status = pm.get_packet_mutex_status()
            with pm.Mutex("logs").turn("log"):
                self.seen.append(f"{record.getMessage().split(' after ')[0]}, {status['current_holder']}")
            time.sleep(0.05)

    handler = Handler(logging.INFO)
    logger = logging.getLogger("packet_mutex")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        with held("runemaker"):
            asker = Asker(lambda: PacketMutex.acquire("fisher", 10) and PacketMutex.release("fisher"))
            until(waits("fisher"))
        asker.outcome()
        until(lambda: "fisher released, None" in handler.seen)
        assert "runemaker acquired, runemaker" in handler.seen
    finally:
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)
        logger.propagate = True


def test_a_handler_that_is_interrupted_leaves_no_turn():
    class Interrupted(BaseException):
        pass

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise Interrupted

    handler = Handler(logging.INFO)
    logger = logging.getLogger("packet_mutex")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        for ask in (
            lambda: PacketMutex("fisher").__enter__(),
            lambda: PacketMutex("fisher").acquire(),
            lambda: PacketMutex.acquire("fisher"),
        ):
            with pytest.raises(Interrupted):
                ask()
            logger.removeHandler(handler)
            assert PacketMutex.get_status()["current_holder"] is None
            logger.addHandler(handler)
    finally:
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)
