"""Weapon out of the hand, blank into it, the spell, rune out of it, weapon into it."""

from core.packet_mutex import PacketMutex
from game import BLANK, FRONT, HAND, RUNE, RUNE_MANA, RUNE_SPELL, SWORD, Game, slot


def wants(game: Game) -> bool:
    """Returns whether there is something to do."""
    return game.state.mana >= RUNE_MANA and game.state.find(BLANK) is not None


def cycle(game: Game) -> None:
    with PacketMutex("runemaker"):
        state = game.look()
        blank, sword = state.find(BLANK), state.find(SWORD)
        if blank is None:
            return
        armed = state.holds(SWORD)
        shift = 0
        if state.hand:
            game.move_item(HAND, state.hand[0], FRONT)
            shift = 1  # what the hand held lies at the front now
        if not armed and sword is not None:
            # Disarmed by some mishap: nothing but the weapon into the hand.
            game.move_item(slot(0, sword + shift), SWORD, HAND)
            return
        game.move_item(slot(0, blank + shift), BLANK, HAND)
        game.say(RUNE_SPELL)
        game.move_item(HAND, RUNE, FRONT)
        if armed:
            game.move_item(slot(0, 1), SWORD, HAND)  # behind the rune
