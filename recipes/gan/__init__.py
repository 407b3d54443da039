"""Generative adversarial networks: two networks, two composed losses."""
