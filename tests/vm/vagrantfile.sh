# shellcheck shell=bash
# The Vagrantfile, as far as it can be judged without Vagrant: it is evaluated, and asks for what the lab is.

need_ruby() { command -v ruby >/dev/null || skip "no ruby here"; }

vagrantfile_parses() {
    need_ruby
    ruby -wc "$SOURCE_DIR/Vagrantfile"
}

vagrantfile_asks() { env "$@" ruby "$VM_DIR/vagrant_stub.rb" "$SOURCE_DIR/Vagrantfile"; }

vagrantfile_asks_for_the_lab() {
    need_ruby
    diff - <(vagrantfile_asks) <<'LAB'
all box debian/bookworm64
all folder . /vagrant rsync without .git/ build/ build-*/
all provider virtualbox 2048 2
all provider libvirt 2048 2
backend hostname backend
backend network private_network 192.168.33.20
backend provision kernel shell provision/kernel.sh /vagrant adopting reboot
backend provision install shell provision/install.sh /vagrant
backend provision backend shell provision/backend.sh /vagrant
balancer hostname balancer
balancer network private_network 192.168.33.10
balancer provision kernel shell provision/kernel.sh /vagrant adopting reboot
balancer provision install shell provision/install.sh /vagrant
balancer provision balancer shell provision/balancer.sh /vagrant
LAB
}

vagrantfile_obeys_the_environment() {
    need_ruby
    local asked
    asked=$(vagrantfile_asks SPLICELB_BOX=generic/debian12 SPLICELB_KERNEL=linux-image-amd64/bookworm-backports \
        SPLICELB_MEMORY=1024 SPLICELB_CPUS=4)
    grep -qx "all box generic/debian12" <<<"$asked"
    grep -qx "all provider libvirt 1024 4" <<<"$asked"
    # The kernel comes first: what is built and started afterwards meets it.
    expect "the balancer's first provisioner" "$(grep -m 1 "^balancer provision" <<<"$asked")" \
        "balancer provision kernel shell provision/kernel.sh /vagrant linux-image-amd64/bookworm-backports reboot"
    expect "provisioners that change the kernel of a box that keeps its own" \
        "$(vagrantfile_asks SPLICELB_KERNEL=own | grep -c kernel || true)" 0
}

provisioning_is_clean() {
    command -v shellcheck >/dev/null || skip "no shellcheck here"
    (cd "$SOURCE_DIR" && shellcheck -x provision/*.sh tests/vm/run.sh tests/vm/*.sh tests/vm/lib/*.sh tests/vm/guest/vm-agent)
}

part_vagrantfile() {
    echo "The Vagrantfile and the scripts:"
    check "Ruby reads the Vagrantfile without a warning" vagrantfile_parses
    check "the Vagrantfile asks for the lab's two boxes" vagrantfile_asks_for_the_lab
    check "the environment chooses box, kernel, memory and processors" vagrantfile_obeys_the_environment
    check "shellcheck has nothing to say" provisioning_is_clean
}
