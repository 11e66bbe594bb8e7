"""What ``with PacketMutex("fisher"): pass`` costs beside what it could cost.

Run it with the package installed; the class that does nothing is built on the way::

    python python/bench/with_block.py
"""

import importlib.util
import shutil
import statistics
import subprocess
import sys
import threading
import time
import timeit
from pathlib import Path

from packet_mutex import PacketMutex

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
from pure import PureMutex  # noqa: E402


def noop() -> type:
    """The class that does nothing."""
    target = HERE.parents[1] / "target" / "noop"
    build = ["cargo", "build", "--quiet", "--release", "--manifest-path", HERE / "noop" / "Cargo.toml"]
    subprocess.run([*build, "--target-dir", target], check=True)
    names = {"win32": "noop.dll", "darwin": "libnoop.dylib"}
    built = target / "release" / names.get(sys.platform, "libnoop.so")
    module = target / ("noop.pyd" if sys.platform == "win32" else "noop.so")
    shutil.copy(built, module)
    spec = importlib.util.spec_from_file_location("noop", module)
    assert spec and spec.loader
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded.Noop


def main() -> None:
    names = {"Noop": noop(), "PacketMutex": PacketMutex, "PureMutex": PureMutex, "lock": threading.Lock()}
    forms = {
        "does nothing": 'with Noop("fisher"): pass',
        "PacketMutex": 'with PacketMutex("fisher"): pass',
        "threading.Lock": "with lock: pass",
        "pure Python": 'with PureMutex("fisher"): pass',
    }
    if "--asyncio" in sys.argv:
        import asyncio  # noqa: F401
    # The thread's own time, for nothing here waits and other programs may run; its clock is too coarse on Windows.
    clock = time.perf_counter if sys.platform == "win32" else time.thread_time
    timers = {form: timeit.Timer(code, timer=clock, globals=names) for form, code in forms.items()}
    # Taken in turns, so that what else the machine does falls on all alike.
    rounds, uses = 25, 20_000
    times: dict[str, list[float]] = {form: [] for form in forms}
    for _ in range(rounds):
        for form, timer in timers.items():
            times[form].append(timer.timeit(uses) / uses * 1e9)
    print(f"Python {sys.version.split()[0]}, {rounds} rounds of {uses} uses, ns a use")
    for form, taken in times.items():
        print(f"{form:15} median {statistics.median(taken):7.1f}  least {min(taken):7.1f}")
    least = {form: min(taken) for form, taken in times.items()}
    ours = least["PacketMutex"]
    print(f"{ours / least['does nothing']:.2f} times the class that does nothing (goal 1.5)")
    print(f"{least['pure Python'] / ours:.1f} times faster than pure Python (goal 10)")


if __name__ == "__main__":
    main()
