"""Files, locks, locations, QCOW2 headers, chains and transfers; nothing of Avocado."""
