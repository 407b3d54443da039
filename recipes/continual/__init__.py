"""Continual learning: see README.md beside this file."""
