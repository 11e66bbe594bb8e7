"""In place of the hollow lock: the real one, under the name that the modules import."""

from packet_mutex import *  # noqa: F403
