"""Thin entry points into Avocado."""
