# shellcheck shell=bash
# Devices as uplinks that the test machine's own kernel may lack: VLANs and bonds. Cases of the end-to-end suite, which skips
# them there.

part_uplinks() {
    echo "One machine with Debian's kernel, VLANs and bonds in its namespaces:"
    progress "booting it"
    machine_boot network 2048 2 net.ifnames=0
    check "it boots Linux 6.1 with BBR and CUBIC" network_is_up
    end_to_end --point ebpf:translate --point nfqueue:translate --only "as the balancer's uplink"
    machines_end
}
