"""Tasks as owners, waiting without threads, and cancellation."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import sys
import threading
import time

import packet_mutex as pm
import pytest
from conftest import Asker, held, until, waits
from packet_mutex import PacketMutex


def test_async_with():
    async def main() -> None:
        async with PacketMutex("fisher") as turn:
            assert turn and PacketMutex.get_status()["current_holder"] == "fisher"
        assert not turn
        turn = await PacketMutex("fisher").acquire_async()
        assert turn and turn.release() is True and not turn

    asyncio.run(main())


def test_not_granted_in_time():
    async def main() -> None:
        with pytest.raises(pm.PacketMutexTimeout):
            async with PacketMutex("fisher", timeout=0.05):
                pytest.fail("ran without the mutex")
        with pytest.raises(pm.PacketMutexTimeout):
            await PacketMutex("fisher").acquire_async(timeout=0.01)

    with held("runemaker"):
        asyncio.run(main())


def test_a_task_is_an_owner():
    async def main() -> None:
        async with PacketMutex("fisher") as turn:
            async with PacketMutex("stacker") as inner:
                assert inner.token == turn.token
            with PacketMutex("fisher") as inner:  # the blocking form is of the same owner
                assert inner.token == turn.token
            with pytest.raises(pm.WouldDeadlock):
                async with PacketMutex("eater"):
                    pytest.fail("ran without the mutex")

            async def other() -> None:
                assert not turn and turn.token is None
                assert PacketMutex.release("fisher") is False
                with pytest.raises(pm.PacketMutexTimeout):
                    async with PacketMutex("fisher", timeout=0.01):
                        pytest.fail("two tasks of one module at once")

            await asyncio.create_task(other())
            assert turn

    asyncio.run(main())


def test_tasks_wait_in_order_of_priority():
    async def main() -> None:
        order = []

        async def act(module: str) -> None:
            async with PacketMutex(module):
                order.append(module)
                await asyncio.sleep(0)

        async with PacketMutex("trainer"):
            tasks = [asyncio.create_task(act(m)) for m in ("eater", "fisher", "runemaker", "stacker")]
            while len(PacketMutex.get_status()["waiting_modules"]) < 4:
                await asyncio.sleep(0.001)
        await asyncio.gather(*tasks)
        assert order == ["runemaker", "fisher", "stacker", "eater"]

    asyncio.run(main())


def test_a_blocking_ask_that_would_freeze_the_loop_raises():
    async def main() -> None:
        async with PacketMutex("fisher"):

            async def other() -> None:
                start = time.monotonic()
                for ask in (
                    lambda: PacketMutex("eater").__enter__(),
                    lambda: PacketMutex("fisher").__enter__(),
                    lambda: PacketMutex.acquire("eater", timeout=30),
                    lambda: PacketMutex("eater").acquire(timeout=30),
                ):
                    with pytest.raises(pm.WouldDeadlock):
                        ask()
                assert time.monotonic() - start < 5
                assert PacketMutex.acquire("eater", timeout=0) is False

            await asyncio.create_task(other())
            # The boolean form of the holder's own task may not stop the loop either.
            with pytest.raises(pm.WouldDeadlock):
                PacketMutex.acquire("eater", timeout=30)
            assert PacketMutex.get_status()["waiting_modules"] == []

    asyncio.run(main())


def test_a_blocking_ask_waits_for_another_thread():
    async def main() -> None:
        with PacketMutex("eater", timeout=10) as turn:
            assert turn

    with held("fisher"):
        task = Asker(lambda: asyncio.run(main()))
        until(waits("eater"))
    task.outcome()


def test_the_threads_own_turn_cannot_end_while_its_loop_is_stopped():
    async def main() -> None:
        with pytest.raises(pm.WouldDeadlock):
            PacketMutex("eater").__enter__()

    with PacketMutex("fisher"):
        asyncio.run(main())


def test_a_callback_of_the_loop_is_the_threads():
    async def main() -> None:
        loop = asyncio.get_running_loop()
        done = loop.create_future()

        def callback() -> None:
            with PacketMutex("fisher") as turn:
                done.set_result(bool(turn))

        loop.call_soon(callback)
        assert await done

    asyncio.run(main())


def test_a_task_that_ends_holding_is_recovered_at_once():
    async def main() -> None:
        async def forget() -> None:
            await PacketMutex("fisher").acquire_async()

        await asyncio.create_task(forget())
        async with PacketMutex("runemaker", timeout=10) as turn:
            assert turn.predecessor_abandoned
            turn.acknowledge()

    asyncio.run(main())


def test_a_task_that_is_dropped_unfinished_is_recovered():
    loop = asyncio.new_event_loop()

    async def hang() -> None:
        await PacketMutex("fisher").acquire_async()
        await loop.create_future()

    loop.set_exception_handler(lambda *_: None)
    task = loop.create_task(hang())
    loop.run_until_complete(asyncio.sleep(0))
    assert PacketMutex.get_status()["current_holder"] == "fisher"
    task._log_destroy_pending = False
    loop.close()
    del task, loop
    gc.collect()
    assert PacketMutex.get_status()["current_holder"] is None


def test_wait_for_and_timeout():
    async def main() -> None:
        # The turn is the caller's, although `wait_for` of Python 3.11 waits in a task of its own.
        turn = await asyncio.wait_for(PacketMutex("fisher").acquire_async(), 5)
        await asyncio.sleep(0)
        assert turn and turn.release()
        with held("runemaker"):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(PacketMutex("fisher").acquire_async(), 0.02)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.02), PacketMutex("fisher"):
                    pytest.fail("ran without the mutex")
            assert PacketMutex.get_status()["waiting_modules"] == []

    asyncio.run(main())


def test_yield_and_sleep_within_wait_for():
    async def main() -> None:
        async with PacketMutex("fisher") as turn:
            first = turn.token
            assert await asyncio.wait_for(turn.sleep_async(0.01), 5) is True
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(turn.sleep_async(30), 0.01)
            await asyncio.wait_for(turn.yield_async(), 5)
            assert turn.token > first

    asyncio.run(main())


def test_a_task_group_that_fails_takes_its_asks_back():
    async def main() -> None:
        async def ask() -> None:
            async with PacketMutex("fisher"):
                pytest.fail("ran without the mutex")

        async def fail() -> None:
            await asyncio.sleep(0.01)
            raise KeyError

        with held("runemaker"):
            with pytest.raises(ExceptionGroup):
                async with asyncio.TaskGroup() as group:
                    group.create_task(ask())
                    group.create_task(fail())
            assert PacketMutex.get_status()["waiting_modules"] == []

    asyncio.run(main())


def test_a_grant_that_a_cancelled_task_never_saw_is_given_on():
    async def main() -> None:
        async def ask() -> None:
            async with PacketMutex("fisher"):
                pytest.fail("ran although cancelled")

        async with PacketMutex("trainer"):
            task = asyncio.create_task(ask())
            await asyncio.sleep(0.01)
        # Decided, but the task has not run since.
        until(lambda: PacketMutex.get_status()["current_holder"] == "fisher")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert PacketMutex.get_status()["current_holder"] is None

    asyncio.run(main())


def test_no_thread_for_each_waiter():
    async def ask() -> None:
        async with PacketMutex("fisher"):
            pass

    async def main() -> None:
        async with PacketMutex("runemaker"):
            # The first one starts the thread that brings news to all loops.
            first = asyncio.create_task(ask())
            await asyncio.sleep(0.05)
            threads = threads_of_the_process()
            tasks = [asyncio.create_task(ask()) for _ in range(500)]
            while len(PacketMutex.get_status()["waiting_modules"]) < 501:
                await asyncio.sleep(0.001)
            assert threads_of_the_process() == threads
        await asyncio.gather(first, *tasks)

    asyncio.run(main())


def threads_of_the_process() -> int:
    try:
        return len(os.listdir("/proc/self/task"))
    except FileNotFoundError:
        return threading.active_count()


def test_loops_in_several_threads():
    done = []

    async def act(module: str) -> None:
        for _ in range(50):
            async with PacketMutex(module):
                await asyncio.sleep(0)
        done.append(module)

    async def main(modules: list[str]) -> None:
        await asyncio.gather(*map(act, modules))

    askers = [Asker(lambda m=m: asyncio.run(main(m))) for m in (["fisher", "eater"], ["trainer", "stacker"])]
    with PacketMutex("runemaker"):
        time.sleep(0.01)
    for asker in askers:
        asker.outcome()
    assert sorted(done) == ["eater", "fisher", "stacker", "trainer"]


def test_close_wakes_all_tasks():
    mutex = pm.Mutex("closing", handover_delay=0)

    async def main() -> None:
        async def ask() -> None:
            with pytest.raises(pm.Closed):
                async with mutex.turn("fisher"):
                    pytest.fail("ran without the mutex")

        async with mutex.turn("runemaker"):
            tasks = [asyncio.create_task(ask()) for _ in range(100)]
            await asyncio.sleep(0.01)
            mutex.close()
            await asyncio.gather(*tasks)

    asyncio.run(main())


def test_yield_and_sleep():
    async def main() -> None:
        order = []

        async def act() -> None:
            async with PacketMutex("runemaker"):
                order.append("runemaker")

        async with PacketMutex("eater") as turn:
            assert await turn.sleep_async(0.01) is True
            task = asyncio.create_task(act())
            assert await turn.sleep_async(30) is False
            first = turn.token
            await turn.yield_async()
            order.append("eater")
            assert turn.token > first
        await task
        assert order == ["runemaker", "eater"]
        with pytest.raises(pm.NotHolder):
            await turn.sleep_async(0.01)

    asyncio.run(main())


def test_validity_of_a_tasks_ask():
    async def main() -> None:
        with pytest.raises(pm.NoLongerValid):
            async with PacketMutex("fisher", valid_if=lambda: False):
                pytest.fail("ran although no longer valid")
        assert PacketMutex.get_status()["current_holder"] is None

    asyncio.run(main())


def test_a_loop_that_is_closed_while_a_task_waits():
    async def main() -> None:
        asyncio.get_running_loop().create_task(PacketMutex("fisher").acquire_async())
        await asyncio.sleep(0.01)

    with held("runemaker"):
        asyncio.run(main())
    until(lambda: PacketMutex.get_status()["waiting_modules"] == [])


def test_every_event_loop_of_the_standard_library():
    async def main() -> None:
        with held("runemaker"):
            task = asyncio.create_task(PacketMutex("fisher").acquire_async())
            await asyncio.sleep(0.01)
        turn = await task
        assert turn.release() is True

    loops = [asyncio.SelectorEventLoop]
    if sys.platform == "win32":
        loops.append(asyncio.ProactorEventLoop)
    for factory in loops:
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(main())


def test_an_ask_is_of_the_task_that_calls():
    async def main() -> None:
        task = asyncio.create_task(PacketMutex("fisher").acquire_async())
        turn = await task
        await asyncio.sleep(0)
        assert turn and turn.release() is True

    asyncio.run(main())


def test_an_ask_made_before_the_loop_runs():
    turn = asyncio.run(PacketMutex("fisher").acquire_async())
    until(lambda: PacketMutex.get_status()["current_holder"] is None)
    assert not turn


def test_cancellations_at_random_moments(full):
    """Six modules run; tasks are cancelled wherever they are. Nothing stays behind, nobody hangs."""
    wanted, seconds = (10_000, 600.0) if full else (1_500, 15.0)
    chance = random.Random(5)
    cancelled = 0

    async def act(module: str, inside: list[str]) -> None:
        while True:
            async with PacketMutex(module, timeout=5):
                assert inside == []
                inside.append(module)
                try:
                    await asyncio.sleep(0.0005 * chance.random())
                finally:
                    inside.pop()
            if chance.random() < 0.5:
                await asyncio.sleep(0)

    async def main() -> None:
        nonlocal cancelled
        inside: list[str] = []
        modules = ["runemaker", "trainer", "fisher", "auto_loot", "stacker", "eater"]
        tasks = {module: asyncio.create_task(act(module, inside)) for module in modules}
        end = time.monotonic() + seconds
        while cancelled < wanted and time.monotonic() < end:
            module = chance.choice(modules)
            task = tasks[module]
            assert not task.done(), task
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            cancelled += 1
            tasks[module] = asyncio.create_task(act(module, inside))
            await asyncio.sleep(0.002 * chance.random())
        for task in tasks.values():
            task.cancel()
        await asyncio.gather(*tasks.values(), return_exceptions=True)

    pm.configure(handover_delay=0.0002)
    asyncio.run(main())
    assert cancelled == wanted or not full
    assert cancelled > 100
    gc.collect()
    status = PacketMutex.get_status()
    assert status["current_holder"] is None and status["waiters"] == []
    assert not status["abandoned"]
