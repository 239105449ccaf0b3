"""Neural architecture search as a game: an agent chooses the operation of one layer after another.

env > picture > operations        `digits` trains the networks that were found
"""
