"""
Proof, as figures anyone can make again: faults, races and hostile input by the hundred.

``make torture`` runs all of it and prints a table, which is in docs/torture.rst; a short run of
each row is part of the tests.
"""
