#!/bin/sh
# What must be done before anybody can log in: seed, host name, addresses.
export PATH=/sbin:/bin:/usr/sbin:/usr/bin
. /etc/modules.sh
. /etc/seed.sh

mkdir -p /dev/pts /dev/shm
mount -t devpts -o gid=5,mode=620 devpts /dev/pts
mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs /dev/shm
mount -t tmpfs -o mode=755,nosuid,nodev tmpfs /run
mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs /tmp
load_modules /etc/modules.boot

if read_seed; then
    apply_seed
    rm -rf /run/seed
fi
hostname -F /etc/hostname
ip link set lo up
[ -f /var/lib/seed/network ] && . /etc/network.sh && network_up /var/lib/seed/network
