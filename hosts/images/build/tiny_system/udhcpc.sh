#!/bin/sh
case $1 in
    bound | renew)
        ip addr flush dev "$interface" scope global 2>/dev/null
        ip addr add "$ip/${mask:-24}" dev "$interface"
        [ -n "$router" ] && ip route replace default via "${router%% *}" dev "$interface"
        for server in $dns; do echo "nameserver $server"; done >/etc/resolv.conf
        ;;
esac
