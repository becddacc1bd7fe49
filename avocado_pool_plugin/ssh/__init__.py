"""The remote store: states on a host that OpenSSH gets to, over sessions that aexpect logs in."""
