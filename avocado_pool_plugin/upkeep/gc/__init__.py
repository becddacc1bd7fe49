"""Keeps caches and pools under a limit by removing what is worth least."""
