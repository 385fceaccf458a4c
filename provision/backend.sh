#!/bin/bash
# backend.sh SOURCE: makes this host the lab's backend: nginx on 192.168.33.30:80, an address of its own beside the
# host's 192.168.33.20, and the packet bridge that splices connections to it.
set -euo pipefail
source_dir=$(realpath "${1:?the source directory}")
# shellcheck source=provision/common.sh
source "$source_dir/provision/common.sh"

lab_interface
lab_secret "$source_dir"

# The backend's address, now and at every boot.
put /etc/systemd/system/splicelb-backend-address.service 0644 <"$source_dir/provision/systemd/splicelb-backend-address.service" || true
systemctl daemon-reload
systemctl enable -q --now splicelb-backend-address

need_packages nginx
changed=
[[ ! -e /etc/nginx/sites-enabled/default ]] || changed=yes
rm -f /etc/nginx/sites-enabled/default
put /etc/nginx/sites-enabled/splicelb-lab 0644 <"$source_dir/provision/nginx-lab.conf" && changed=yes
# Something to download, of 8 MiB.
files=/var/lib/splicelb-lab/file
if [[ ! -e $files/8m.bin ]]; then
    install -d -m 0755 /var/lib/splicelb-lab "$files"
    head -c 8M /dev/urandom >"$files/8m.bin.new"
    mv "$files/8m.bin.new" "$files/8m.bin"
fi
nginx -t -q
systemctl enable -q nginx
if [[ -n $changed ]] || ! systemctl is-active -q nginx; then
    systemctl restart nginx
    say "restarted nginx"
fi
say "nginx listens on 192.168.33.30:80"

unit splicelb-packetbridge "$source_dir"
