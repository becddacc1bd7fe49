"""What benchmarks/remote.py measures: pools on another host, over a real sshd on loopback."""
