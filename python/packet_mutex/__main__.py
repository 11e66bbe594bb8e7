"""``python -m packet_mutex``: the command ``packet-mutex``."""

import signal
import sys

from ._packet_mutex import run_command

if __name__ == "__main__":
    # Ctrl-C ends the command at once, as it does the one without Python.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(run_command(["packet-mutex", *sys.argv[1:]]))
