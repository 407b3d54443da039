"""Segmentation: see README.md beside this file."""
