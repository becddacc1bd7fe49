#!/bin/sh
# Started in the network namespace of a host: give it a /srv, /etc and /run of its own, then run its
# ssh server. Nobody else sees these mounts: `ip netns exec` has made a mount namespace.
# usage: start.sh SRV ETC
set -eu
PATH=$PATH:/usr/sbin:/sbin

mount --bind "$2" /etc
mount --bind "$1" /srv
mount -t tmpfs tmpfs /run
mkdir -m 755 /run/sshd
# the server ends with the program that started this script, however that ends
exec setpriv --pdeathsig KILL "$(command -v sshd)" -D -e -f /etc/ssh/sshd_config
