"""Callbacks that watch a training without changing it."""
