"""Detection: see README.md beside this file."""
