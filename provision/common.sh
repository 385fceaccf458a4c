# shellcheck shell=bash
# What the provisioning scripts share. Each of them may run again at any time: it changes only what is not as it
# should be, and says what it did.

LAB_PREFIX=192.168.33

say() { echo "provision: $*"; }
fail() { echo "provision: $*" >&2; exit 1; }

[[ $EUID -eq 0 ]] || fail "this changes the host: run it as root"

# put FILE MODE < CONTENT: true when the file changed.
put() {
    local file=$1 mode=$2 content
    content=$(cat; echo x)
    content=${content%x}
    if [[ -e $file ]] && cmp -s "$file" - <<<"${content%$'\n'}"; then
        chmod "$mode" "$file"
        return 1
    fi
    mkdir -p "$(dirname "$file")"
    (umask 077 && printf '%s' "$content" >"$file.new")
    chmod "$mode" "$file.new"
    mv "$file.new" "$file"
    say "wrote $file"
}

need_packages() {
    local package missing=()
    for package in "$@"; do
        [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || missing+=("$package")
    done
    [[ ${#missing[@]} -eq 0 ]] && return
    say "installing ${missing[*]}"
    DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends "${missing[@]}" >/dev/null ||
        { apt-get -q update >/dev/null &&
            DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends "${missing[@]}" >/dev/null; }
}

# Both executables expect the lab's network on eth1. Where the box calls it otherwise (predictable names), it is
# renamed now and at every boot, by its address on the hardware, and so is it in the box's own network settings, which
# would not find it at the next boot.
lab_interface() {
    local name address addresses
    [[ -e /sys/class/net/eth1 ]] && return
    name=$(ip -o -4 address show | awk -v prefix="$LAB_PREFIX." 'index($4, prefix) == 1 { print $2; exit }')
    [[ -n $name ]] || fail "no interface has an address in $LAB_PREFIX.0/24; the lab's private network is missing"
    put /etc/systemd/network/10-splicelb-eth1.link 0644 <<LINK || true
[Match]
MACAddress=$(cat "/sys/class/net/$name/address")

[Link]
Name=eth1
LINK
    # grep fails for what this box has not, too.
    { grep -rlsw -- "$name" /etc/network/interfaces /etc/network/interfaces.d /etc/systemd/network /etc/netplan || true; } |
        xargs -r sed -i "s/\b$name\b/eth1/g"
    mapfile -t addresses < <(ip -o -4 address show dev "$name" | awk '{ print $4 }')
    ip link set "$name" down
    ip link set "$name" name eth1
    ip link set eth1 up
    for address in "${addresses[@]}"; do ip address replace "$address" dev eth1; done
    say "renamed $name to eth1"
}

# The secret of the lab's two hosts. Public, as the file says: for the lab only.
lab_secret() {
    put /etc/splicelb/secret 0600 <"$1/provision/lab-secret" || true
}

# unit NAME SOURCE: installs provision/systemd/NAME.service and has it run what is installed now. What already runs so
# goes on, with its connections.
unit() {
    local changed=
    put "/etc/systemd/system/$1.service" 0644 <"$2/provision/systemd/$1.service" && changed=yes
    systemctl daemon-reload
    systemctl enable -q "$1"
    if [[ -n $changed ]] || ! runs_what_is_installed "$1"; then
        systemctl restart "$1"
        say "restarted $1"
    fi
    systemctl is-active -q "$1" || { journalctl -u "$1" -n 20 --no-pager >&2; fail "$1 does not run"; }
    say "$1 runs"
}

# The kernel marks the executable of a process whose file was replaced.
runs_what_is_installed() {
    local pid
    systemctl is-active -q "$1" || return 1
    pid=$(systemctl show -P MainPID "$1")
    [[ $(readlink "/proc/$pid/exe") != *'(deleted)' ]]
}
