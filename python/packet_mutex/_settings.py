"""The settings of a mutex."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TypedDict


class Settings(TypedDict, total=False):
    """Settings for :func:`configure` and :class:`Mutex`. A setting that is not given, or is ``None``, stays as it is.

    They are the roster's settings that a program often needs; a roster file has the others too.
    """

    roster: str | os.PathLike[str] | None
    """A roster file. The other settings are applied on top of it."""
    handover_delay: float | None
    """The least time between turns of different groups, in seconds."""
    timeout: float | None
    """How long an ask waits, in seconds."""
    aging: float | None
    """The seconds of waiting that are worth one step of priority. ``0`` switches aging off."""
    priorities: Mapping[str, int] | None
    """Priorities by module, from 0 to 255."""
    groups: Mapping[str, Iterable[str]] | None
    """The modules of each group."""
