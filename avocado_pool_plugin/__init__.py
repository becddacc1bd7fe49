"""States of virtual machine tests, kept in a local cache and in shared pools."""

__version__ = "0.1.0"
