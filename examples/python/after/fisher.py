"""Casts the rod."""

from core.packet_mutex import PacketMutex
from game import ROD, WATER, WATER_TILE, Game, slot


def wants(game: Game) -> bool:
    """Returns whether there is something to do."""
    return game.state.find(ROD) is not None


def cycle(game: Game) -> None:
    with PacketMutex("fisher"):
        rod = game.look().find(ROD)
        if rod is not None:
            game.use_with(slot(0, rod), ROD, WATER_TILE, WATER)
