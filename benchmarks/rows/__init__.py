"""The rows of the local table, a module for each group of them."""
