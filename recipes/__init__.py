"""Recipes: trainings that already work, on a laptop with no download and on a cluster."""
