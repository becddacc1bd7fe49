"""Probes that find out whether caches, pools and this host can do what states need."""
