"""Continual learning: one task after another in one fit, and ways to keep what was learnt."""
