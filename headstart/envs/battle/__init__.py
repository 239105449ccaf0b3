"""Battles of two armies of units, in the manner of StarCraft: the team commands one, a scripted opponent the other."""
