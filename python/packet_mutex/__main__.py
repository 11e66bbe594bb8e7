"""``python -m packet_mutex``: the command ``packet-mutex``."""

import signal
import sys

from ._packet_mutex import run_command

# The command ends by Ctrl-C at once, as the one without Python does.
signal.signal(signal.SIGINT, signal.SIG_DFL)
sys.exit(run_command(["packet-mutex", *sys.argv[1:]]))
