"""Strikes, then opens the corpse; arms the hand first if it is empty."""

from core.packet_mutex import PacketMutex
from game import CORPSE, CORPSE_TILE, CORPSE_WINDOW, HAND, STRIKE_MANA, STRIKE_SPELL, SWORD, Game, slot


def wants(game: Game) -> bool:
    """Returns whether there is something to do."""
    return (not game.state.holds(SWORD) and game.state.find(SWORD) is not None) or (
        game.state.corpse is None and game.state.mana >= STRIKE_MANA
    )


def cycle(game: Game) -> None:
    with PacketMutex("trainer"):
        state = game.look()
        sword = state.find(SWORD)
        if not state.holds(SWORD) and sword is not None:
            game.move_item(slot(0, sword), SWORD, HAND)
        elif state.corpse is None and state.mana >= STRIKE_MANA:
            game.say(STRIKE_SPELL)
            game.use(CORPSE_TILE, CORPSE, CORPSE_WINDOW)
