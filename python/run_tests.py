"""Builds the package, installs it in an environment of its own and tests it: `python3 python/run_tests.py [PYTEST ARGUMENT...]`.

The environment is `target/python-tests`. `PYTHON` names another interpreter than the one that runs this. With `--install` alone it is
built and installed but not tested, and the last line is the environment's interpreter.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TOOLS = ["maturin==1.16.0", "mypy==2.4.1", "pytest==9.2.0"]
# The build of `cargo build --release`, which other checks share; wheels for users are optimised further.
PROFILE = os.environ.get("PACKET_MUTEX_WHEEL_PROFILE", "release")


def run(*command: str | Path) -> None:
    print("$", *[Path(command[0]).name, *command[1:]], flush=True)
    subprocess.run(command, cwd=ROOT, check=True)


def main() -> int:
    python = os.environ.get("PYTHON", sys.executable)
    version = subprocess.check_output([python, "-c", "import sys; print(sys.implementation.cache_tag)"], text=True)
    home = ROOT / "target" / "python-tests" / version.strip()
    inside = home / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not inside.exists():
        run(python, "-m", "venv", home)
    wheels = home / "wheels"
    for old in wheels.glob("*.whl"):
        old.unlink()
    try:
        run(inside, "-m", "pip", "install", "--quiet", *TOOLS)
        run(inside, "-m", "maturin", "build", "--quiet", "--profile", PROFILE, "--interpreter", inside, "--out", wheels)
        (wheel,) = wheels.glob("*.whl")
        run(inside, "-m", "pip", "install", "--quiet", "--no-deps", "--force-reinstall", wheel)
    except subprocess.CalledProcessError as failed:
        print(failed)
        return 1
    if sys.argv[1:] == ["--install"]:
        print(inside)
        return 0
    # What is tested is what was installed, so this does not run where `python/packet_mutex` could be imported.
    return subprocess.call([inside, "-m", "pytest", *sys.argv[1:]], cwd=ROOT)


if __name__ == "__main__":
    sys.exit(main())
