"""Moves what is in the corpse to the backpack, and throws old boots away."""

from core.packet_mutex import PacketMutex
from game import BOOT, CORPSE_WINDOW, FRONT, GROUND_TILE, Game, slot


def wants(game: Game) -> bool:
    """Returns whether there is something to do."""
    return (
        game.state.corpse is not None and game.state.corpse.left_ms > 3000 and game.state.corpse.items != []
    ) or game.state.find(BOOT) is not None


def cycle(game: Game) -> None:
    with PacketMutex("auto_loot"):
        state = game.look()
        loot = list(enumerate(state.corpse.items)) if state.corpse and state.corpse.left_ms > 3000 else []
        loot = loot[::-1][:5]  # from the back, so that nothing in it shifts
        boots = [number for number, (kind, _) in enumerate(state.backpack) if kind == BOOT][:2]
        for number, (kind, count) in loot:
            game.move_item(slot(CORPSE_WINDOW, number), kind, FRONT, count)
        for number in reversed(boots):
            game.move_item(slot(0, number + len(loot)), BOOT, GROUND_TILE)
