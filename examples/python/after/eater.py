"""Eats when hungry."""

from core.packet_mutex import PacketMutex
from game import FISH, MEAT, Game, slot


def wants(game: Game) -> bool:
    """Returns whether there is something to do."""
    return game.state.fed_ms < 30_000 and game.state.find(FISH, MEAT) is not None


def cycle(game: Game) -> None:
    with PacketMutex("eater"):
        state = game.look()
        meal = state.find(FISH, MEAT)
        if meal is not None:
            game.use(slot(0, meal), state.backpack[meal][0])
