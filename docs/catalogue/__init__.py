"""docs/losses.md and its figures from the classes: cd docs && python -m catalogue."""
