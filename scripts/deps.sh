#!/bin/bash
# Installs the Debian 12 packages that building, testing and the lab need. Asks dpkg only when all are there.
#   deps.sh            for `make build`, `make test` and `make lab`
#   deps.sh --check    and for `make check`
#   deps.sh --fuzz     and for `make fuzz`
#   deps.sh --browser  and for the browser's cases of `make test` (Chromium: 120 MB to load, 420 MB installed)
#   deps.sh --caches   and for the cases of `make test` with other caches than nginx and Varnish
#   deps.sh --ha       and for the cases of `make test` with two balancers and keepalived
#   deps.sh --metrics  and for the tests of alerts and dashboard (promtool and Prometheus: 320 MB installed)
#   deps.sh --vm       and for `make vm-test`
#   deps.sh --runtime  prints what the executables alone need
set -euo pipefail

packages=(
    # building
    g++ cmake ninja-build make pkg-config clang-19 bpftool libbpf-dev
    libboost-dev libboost-program-options-dev libfmt-dev libspdlog-dev libyaml-dev nlohmann-json3-dev
    prometheus-cpp-dev libnetfilter-queue-dev libmnl-dev libnftables-dev libpcap-dev libxxhash-dev
    zlib1g-dev libzstd-dev
    # running
    iproute2 iptables kmod
    # testing and the lab
    nftables doctest-dev libtins-dev python3 nginx curl openssl gnutls-bin wrk tcpdump ethtool procps iputils-ping
    gzip zstd haproxy varnish python3-matplotlib
)

# `make bench` sets itself beside these.
[[ ${1:-} != --bench ]] || packages+=(libbenchmark-dev libmemcached-dev)

# What the executables alone need, where they are installed without being built.
runtime=(
    libboost-program-options1.74.0 libfmt9 libspdlog1.10 libyaml-0-2 libprometheus-cpp-core1.0
    libnetfilter-queue1 libmnl0 libnftables1 libpcap0.8 libxxhash0 libbpf1 zlib1g libzstd1 iproute2 iptables kmod
)
if [[ ${1:-} == --runtime ]]; then
    echo "${runtime[@]}"
    exit 0
fi

if [[ ${1:-} == --check ]]; then
    packages+=(clang-format-19 clang-tidy-19 libclang-rt-19-dev shellcheck flake8 libbenchmark-dev libmemcached-dev)
fi
# libFuzzer and the sanitizers' run time.
[[ ${1:-} != --fuzz ]] || packages+=(libclang-rt-19-dev)
# A client of its own kind, whose ClientHello never fits one segment; and what shows the balancer's page.
[[ ${1:-} != --browser ]] || packages+=(chromium)
# Backends of their own kinds.
[[ ${1:-} != --caches ]] || packages+=(trafficserver squid)
# Who of two balancers has the VIPs.
[[ ${1:-} != --ha ]] || packages+=(keepalived)
# Who reads the metrics.
[[ ${1:-} != --metrics ]] || packages+=(prometheus)
# Machines in software, their file system, and Ruby for the Vagrantfile.
if [[ ${1:-} == --vm ]]; then
    packages+=(qemu-system-x86 mmdebstrap e2fsprogs ruby shellcheck)
fi

missing=()
for package in "${packages[@]}"; do
    status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    [[ $status == installed ]] || missing+=("$package")
done
[[ ${#missing[@]} -gt 0 ]] || exit 0

if ! command -v apt-get >/dev/null; then
    echo "deps: no apt-get here; these Debian packages (or what they hold) are missing: ${missing[*]}" >&2
    exit 1
fi
as_root=()
if [[ $EUID -ne 0 ]]; then
    if ! command -v sudo >/dev/null; then
        echo "deps: installing needs root and there is no sudo; as root: apt-get install ${missing[*]}" >&2
        exit 1
    fi
    as_root=(sudo)
fi

# Packages like nginx start a service when installed; the lab runs its own and this host's ports are not ours.
# policy-rc.d (Debian Policy 9.3.3.1) forbids it for as long as the installation takes.
policy=/usr/sbin/policy-rc.d
if [[ ! -e $policy ]]; then
    trap '"${as_root[@]}" rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null
    "${as_root[@]}" chmod 0755 "$policy"
fi

echo "deps: installing ${missing[*]}"
install_missing() {
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get -o DPkg::Lock::Timeout=600 install -q -y --no-install-recommends "${missing[@]}"
}
log=$(mktemp)
if ! install_missing >"$log" 2>&1 </dev/null; then
    # A fresh machine has no package lists, an old one has stale ones.
    if ! { "${as_root[@]}" apt-get -q update && install_missing; } >>"$log" 2>&1 </dev/null; then
        cat "$log" >&2
        echo "deps: apt-get install failed; see above" >&2
        exit 1
    fi
fi
rm -f "$log"
