"""``python -m packet_mutex``: the command ``packet-mutex``."""

import signal
import sys

from ._packet_mutex import run_command

if __name__ == "__main__":
    # Python would only note the signal until the command returns. This way Ctrl-C ends it at once.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(run_command(["packet-mutex", *sys.argv[1:]]))
