# The NoCloud seed: a disk labelled cidata with meta-data, network-config, vendor-data and
# user-data. Sourced by rc.boot. Understands the simple part of cloud-config that a panel writes.
SEED=/run/seed
STATE=/var/lib/seed
NEWLINE=$(printf '\001') # how yaml.awk writes a newline inside a value

# Copies the seed's files to $SEED; fails if there is no seed disk (it is removed after first boot).
read_seed() {
    for disk in /dev/vd? /dev/sr? /dev/sd?; do
        [ -b "$disk" ] || continue
        label=$(dd if="$disk" bs=1 skip=32808 count=6 2>/dev/null)
        case $label in cidata | CIDATA) ;; *) continue ;; esac
        mkdir -p /run/cidata "$SEED" "$STATE"
        chmod 700 "$SEED" "$STATE"
        mount -t iso9660 -o ro "$disk" /run/cidata || continue
        for name in meta-data network-config vendor-data user-data root-password-hash; do
            [ -f "/run/cidata/$name" ] && cat "/run/cidata/$name" >"$SEED/$name"
        done
        umount /run/cidata
        return 0
    done
    return 1
}

# value FILE KEY: the scalar at that path of a flattened file, or nothing.
value() { sed "/^$2=/!d;s/^$2=//;y/$NEWLINE/\n/;q" "$1"; }
# values FILE PATTERN: all scalars whose path matches, one per line.
values() { sed "/^$2=/!d;s/^$2=//;y/$NEWLINE/\n/" "$1"; }

set_password() { printf '%s:%s\n' "$1" "$2" | chpasswd -e; } # user hash

add_keys() { # key lines on standard input
    mkdir -p /root/.ssh
    chmod 700 /root/.ssh
    cat >>/root/.ssh/authorized_keys
    chmod 600 /root/.ssh/authorized_keys
}

set_hostname() {
    case $1 in '' | *[!A-Za-z0-9.-]*) return ;; esac
    echo "${1%%.*}" >/etc/hostname
    printf '127.0.0.1 localhost\n127.0.1.1 %s %s\n::1 localhost\n' "$1" "${1%%.*}" >/etc/hosts
}

apply_seed() {
    for name in meta-data network-config vendor-data user-data; do
        : >"$SEED/$name.flat"
        [ -f "$SEED/$name" ] && awk -f /etc/yaml.awk "$SEED/$name" >"$SEED/$name.flat"
    done
    if [ -s "$SEED/network-config.flat" ]; then
        sed 's/^network\.//' "$SEED/network-config.flat" >"$STATE/network"
    fi
    instance=$(value "$SEED/meta-data.flat" instance-id)
    if [ "$instance" != "$(cat "$STATE/instance-id" 2>/dev/null)" ] || [ -z "$instance" ]; then
        apply_once
        echo "$instance" >"$STATE/instance-id"
    fi
    for name in vendor-data user-data; do
        commands "$SEED/$name.flat" bootcmd >"$SEED/bootcmd"
        [ -s "$SEED/bootcmd" ] && sh "$SEED/bootcmd" </dev/null >/dev/null 2>&1
    done
    # A new password from the panel: taken once, so that the owner's own `passwd` is not undone.
    if [ -f "$SEED/root-password-hash" ] &&
        ! cmp -s "$SEED/root-password-hash" "$STATE/root-password-hash"; then
        set_password root "$(head -n 1 "$SEED/root-password-hash" | tr -d '\r\n ')"
        cp "$SEED/root-password-hash" "$STATE/root-password-hash"
    fi
    chmod -R go= "$STATE"
}

# Once for each instance-id, as cloud-init does. user-data comes last and wins.
apply_once() {
    rm -f "$STATE/runcmd" "$STATE/no-password-ssh" /etc/dropbear/ed25519
    : >/root/authorized_keys.new
    name=$(value "$SEED/meta-data.flat" local-hostname)
    set_hostname "${name:-$(value "$SEED/meta-data.flat" hostname)}"
    values "$SEED/meta-data.flat" 'public-keys\.[^=]*' >>/root/authorized_keys.new
    for file in vendor-data user-data; do
        case $(head -n 1 "$SEED/$file" 2>/dev/null) in
            '#cloud-config'*) apply_cloud_config "$SEED/$file.flat" ;;
            '#!'*) cp "$SEED/$file" "$STATE/script-$file"
                chmod 700 "$STATE/script-$file"
                echo "$STATE/script-$file" >>"$STATE/runcmd" ;;
        esac
    done
    rm -f /root/.ssh/authorized_keys
    [ -s /root/authorized_keys.new ] && sort -u /root/authorized_keys.new | add_keys
    rm -f /root/authorized_keys.new
}

apply_cloud_config() {
    name=$(value "$1" fqdn)
    set_hostname "${name:-$(value "$1" hostname)}"
    values "$1" 'ssh_authorized_keys\.[0-9]*' >>/root/authorized_keys.new
    values "$1" 'users\.[0-9]*\.ssh_authorized_keys\.[0-9]*' >>/root/authorized_keys.new
    case $(value "$1" ssh_pwauth) in
        false | False | no) : >"$STATE/no-password-ssh" ;;
        true | True | yes) rm -f "$STATE/no-password-ssh" ;;
    esac
    set_passwords "$1"
    write_files "$1"
    commands "$1" runcmd >>"$STATE/runcmd"
    [ -s "$STATE/runcmd" ] || rm -f "$STATE/runcmd"
}

indexes() { sed -n "s/^$2\.\([0-9]*\)[.=].*/\1/p" "$1" | uniq; }

# commands FILE KEY: a list of commands as a shell script; a command is a text or a list of words.
commands() {
    for index in $(indexes "$1" "$2"); do
        if grep -q "^$2\.$index=" "$1"; then
            value "$1" "$2\.$index"
        else
            values "$1" "$2\.$index\.[0-9]*" |
                awk -v q="'" '{ gsub(q, q "\\" q q); printf "%s%s%s ", q, $0, q } END { print "" }'
        fi
    done
}

set_passwords() {
    for index in $(indexes "$1" 'chpasswd\.users'); do
        user=$(value "$1" "chpasswd\.users\.$index\.name")
        password=$(value "$1" "chpasswd\.users\.$index\.password")
        case $(value "$1" "chpasswd\.users\.$index\.type") in
            text) printf '%s:%s\n' "$user" "$password" | chpasswd ;;
            *) set_password "$user" "$password" ;;
        esac
    done
    value "$1" 'chpasswd\.list' | while IFS=: read -r user password; do
        [ -n "$user" ] && set_password "$user" "$password"
    done
    for index in $(indexes "$1" users); do
        [ "$(value "$1" "users\.$index\.name")" = root ] || continue
        set_password root "$(value "$1" "users\.$index\.hashed_passwd")$(
            value "$1" "users\.$index\.passwd")"
    done
}

write_files() {
    for index in $(indexes "$1" write_files); do
        path=$(value "$1" "write_files\.$index\.path")
        mode=$(value "$1" "write_files\.$index\.permissions")
        case $path in /*) ;; *) continue ;; esac
        mkdir -p "$(dirname "$path")"
        case $(value "$1" "write_files\.$index\.encoding") in
            b64 | base64) value "$1" "write_files\.$index\.content" | base64 -d >"$path" ;;
            *) value "$1" "write_files\.$index\.content" >"$path" ;;
        esac
        chmod "${mode:-0644}" "$path"
    done
}
