"""The real lock, under the name from which the modules imported one that did nothing."""

from packet_mutex import *  # noqa: F403
