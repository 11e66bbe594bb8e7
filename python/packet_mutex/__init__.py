"""The lock that the modules of one program share: strict priorities, a handover delay, timeouts.

>>> from packet_mutex import PacketMutex
>>> with PacketMutex("fisher") as turn:
...     bool(turn)  # send packets
True
>>> bool(turn)
False
"""

import atexit
import os

from . import _packet_mutex as _core
from ._errors import (
    Cancelled,
    ChannelLost,
    Closed,
    Disabled,
    InvalidName,
    InvalidRoster,
    Lost,
    NoLongerValid,
    NotHolder,
    PacketMutexError,
    PacketMutexTimeout,
    QueueFull,
    Refused,
    RosterDiffers,
    Unauthorized,
    Unavailable,
    UnknownModule,
    Unsupported,
    WouldDeadlock,
)
from ._events import Event, Events, Subscription
from ._mutex import (
    Mutex,
    PacketMutex,
    acquire_packet_mutex,
    configure,
    default_mutex,
    get_packet_mutex_status,
    release_packet_mutex,
    serve,
)
from ._packet_mutex import ManualClock, Server, Trace
from ._turn import Turn

__all__ = [
    "Cancelled",
    "ChannelLost",
    "Closed",
    "Disabled",
    "Event",
    "Events",
    "InvalidName",
    "InvalidRoster",
    "Lost",
    "ManualClock",
    "Mutex",
    "NoLongerValid",
    "NotHolder",
    "PacketMutex",
    "PacketMutexError",
    "PacketMutexTimeout",
    "QueueFull",
    "Refused",
    "RosterDiffers",
    "Server",
    "Subscription",
    "Trace",
    "Turn",
    "Unauthorized",
    "Unavailable",
    "UnknownModule",
    "Unsupported",
    "WouldDeadlock",
    "acquire_packet_mutex",
    "configure",
    "default_mutex",
    "get_packet_mutex_status",
    "release_packet_mutex",
    "serve",
]

# A reload registers them once more. That does no harm, for both only set a flag.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_core.after_fork_in_child)
atexit.register(_core.at_exit)
