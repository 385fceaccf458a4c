# shellcheck shell=bash
# The disks: Debian with its own kernel, cached and never written to, and the repository as it is now.

IMAGE_SIZE=3G
IMAGE_KERNEL=linux-image-cloud-amd64

image_packages() {
    local packages=(
        "$IMAGE_KERNEL" systemd systemd-sysv udev dbus initramfs-tools ifupdown
        nginx python3 curl openssl tcpdump ethtool procps iputils-ping
    )
    mapfile -t -O "${#packages[@]}" packages < <("$SOURCE_DIR/scripts/deps.sh" --runtime | tr ' ' '\n')
    (IFS=,; echo "${packages[*]}")
}

# What the cached image was made of.
image_inputs() { { image_packages; cat "$VM_DIR"/guest/* "$VM_DIR/lib/image.sh"; } | sha256sum; }

# image_prepare: $IMAGE/{root.img,vmlinuz,initrd.img} for what is wanted now.
image_prepare() {
    local started=$SECONDS
    if [[ -e $IMAGE/root.img && $(image_inputs) == "$(cat "$IMAGE/inputs" 2>/dev/null)" ]]; then
        progress "the cached Debian image is up to date"
        return
    fi
    progress "building a Debian image (about a minute; cached in ${IMAGE#"$SOURCE_DIR/"})"
    rm -rf "$IMAGE"
    mkdir -p "$IMAGE"
    # shellcheck disable=SC2016  # mmdebstrap's shell expands $1
    mmdebstrap --variant=apt --include="$(image_packages)" \
        --essential-hook='mkdir -p "$1"/etc/initramfs-tools/conf.d "$1"/usr/share/initramfs-tools/modules.d' \
        --essential-hook='printf "%s\n" MODULES=list COMPRESS=gzip >"$1"/etc/initramfs-tools/conf.d/small' \
        --essential-hook='printf "%s\n" virtio_pci virtio_blk >"$1"/usr/share/initramfs-tools/modules.d/small' \
        bookworm "$RUN/root" >"$LOGS/mmdebstrap.log" 2>&1 ||
        { tail -n 5 "$LOGS/mmdebstrap.log" >&2; return 1; }
    image_furnish "$RUN/root"
    cp "$RUN"/root/boot/vmlinuz-* "$IMAGE/vmlinuz"
    gunzip -c "$RUN"/root/boot/initrd.img-* >"$IMAGE/initrd.img" # the machines would take seconds for it at each boot
    mke2fs -q -t ext4 -E lazy_itable_init=1,lazy_journal_init=1 -d "$RUN/root" "$IMAGE/root.img" "$IMAGE_SIZE" >>"$LOGS/mmdebstrap.log"
    rm -rf "$RUN/root"
    image_inputs >"$IMAGE/inputs"
    progress "built in $((SECONDS - started)) s"
}

# image_furnish ROOT: the agent that takes our orders; nginx sleeps until somebody provisions it, as if it were not
# installed yet; no machine's identity.
image_furnish() {
    install -m 0755 "$VM_DIR/guest/vm-agent" "$1/usr/local/sbin/vm-agent"
    install -m 0644 "$VM_DIR/guest/vm-agent.service" "$1/etc/systemd/system/vm-agent.service"
    ln -s ../vm-agent.service "$1/etc/systemd/system/multi-user.target.wants/vm-agent.service"
    rm -f "$1/etc/systemd/system/multi-user.target.wants/nginx.service"
    # What would only cost time in software emulation.
    rm -f "$1"/etc/systemd/system/timers.target.wants/*
    local unit
    for unit in systemd-binfmt.service e2scrub_reap.service sys-kernel-debug.mount sys-kernel-tracing.mount \
        dev-mqueue.mount dev-hugepages.mount modprobe@{configfs,dm_mod,drm,efi_pstore,fuse,loop}.service; do
        ln -sf /dev/null "$1/etc/systemd/system/$unit"
    done
    : >"$1/etc/machine-id"
}

# The repository and its executables, as a tar archive that a machine reads from its second disk.
payload_prepare() {
    tar -C "$SOURCE_DIR" --exclude=./.git --exclude='./build*' --exclude=./.vagrant -cf "$RUN/payload.tar" .
    tar -C "$SOURCE_DIR" -rf "$RUN/payload.tar" build/balancer build/packetbridge build/splice-hash build/splicectl
}
