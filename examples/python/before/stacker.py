"""Joins two stacks of a kind."""

from game import FISH, GOLD, MEAT, Game, State, slot


def pair(state: State) -> tuple[int, int] | None:
    """Returns the first two stacks of one kind that fit together."""
    stacks = [(n, kind, count) for n, (kind, count) in enumerate(state.backpack) if kind in (FISH, MEAT, GOLD)]
    for first, kind, has in stacks:
        for second, other, count in stacks:
            if second > first and other == kind and has + count <= 100:
                return first, second
    return None


def wants(game: Game) -> bool:
    """Returns whether there is something to do."""
    return pair(game.state) is not None


def cycle(game: Game) -> None:
    state = game.look()
    found = pair(state)
    if found:
        first, second = found
        kind, count = state.backpack[second]
        game.move_item(slot(0, second), kind, slot(0, first), count)
