# Network configuration version 2, flattened. Sourced by rc.boot; runs on each boot.

network_up() { # flattened file
    : >/run/resolv.conf
    for id in $(sed -n 's/^ethernets\.\([^.]*\)\..*/\1/p' "$1" | uniq); do
        mac=$(net "$1" "$id" 'match\.macaddress' | tr A-Z a-z)
        nic=$(find_nic "$mac" "$id") || continue
        new=$(net "$1" "$id" set-name)
        if [ -n "$new" ] && [ "$new" != "$nic" ]; then
            ip link set "$nic" down
            ip link set "$nic" name "$new" && nic=$new
        fi
        nic_up "$1" "$id" "$nic"
    done
    cat /run/resolv.conf >/etc/resolv.conf
}

net() { value "$1" "ethernets\.$2\.$3"; }

find_nic() { # mac id: the interface with that hardware address, or with that name
    for dir in /sys/class/net/*; do
        name=${dir##*/}
        [ "$name" = lo ] && continue
        if [ -n "$1" ]; then
            [ "$(cat "$dir/address")" = "$1" ] || continue
        elif [ "$name" != "$2" ]; then
            continue
        fi
        echo "$name"
        return 0
    done
    return 1
}

nic_up() { # file id nic
    mtu=$(net "$1" "$2" mtu)
    [ -n "$mtu" ] && ip link set "$3" mtu "$mtu"
    # Addresses are static: nobody on the wire may give this guest another router.
    echo 0 >"/proc/sys/net/ipv6/conf/$3/accept_ra"
    ip link set "$3" up
    values "$1" "ethernets\.$2\.addresses\.[0-9]*" | while read -r address; do
        ip addr add "$address" dev "$3"
    done
    add_route "$3" default "$(net "$1" "$2" gateway4)"
    add_route "$3" default "$(net "$1" "$2" gateway6)"
    for index in $(sed -n "s/^ethernets\.$2\.routes\.\([0-9]*\)\..*/\1/p" "$1" | uniq); do
        add_route "$3" "$(net "$1" "$2" "routes\.$index\.to")" \
            "$(net "$1" "$2" "routes\.$index\.via")"
    done
    values "$1" "ethernets\.$2\.nameservers\.addresses\.[0-9]*" |
        sed 's/^/nameserver /' >>/run/resolv.conf
    search=$(values "$1" "ethernets\.$2\.nameservers\.search\.[0-9]*" | tr '\n' ' ')
    [ -n "$search" ] && echo "search $search" >>/run/resolv.conf
    case $(net "$1" "$2" dhcp4) in
        true | True | yes) udhcpc -b -S -i "$3" -s /etc/udhcpc.sh >/dev/null 2>&1 ;;
    esac
}

# A gateway outside of every subnet (on-link) first gets a route of its own.
add_route() { # nic to via
    [ -n "$2" ] || return
    case "$2$3" in *:*) family=-6 all=::/0 ;; *) family=-4 all=0.0.0.0/0 ;; esac
    to=$2
    [ "$to" = default ] && to=$all
    if [ -z "$3" ]; then
        [ "$2" = default ] || ip $family route add "$to" dev "$1"
        return
    fi
    ip $family route add "$to" via "$3" dev "$1" 2>/dev/null && return
    ip $family route add "$3" dev "$1" 2>/dev/null
    ip $family route add "$to" via "$3" dev "$1"
}
