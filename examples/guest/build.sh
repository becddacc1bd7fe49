#!/bin/bash
# Build a tiny Linux guest from the contents of two Debian packages that are fetched and
# unpacked, never installed: .build/guest/{vmlinuz,initrd.gz,base.qcow2}.
#
# It has a shell on its serial console, mounts a second disk on /data (one that is blank gets a
# file system first), and turns itself off on `poweroff` or the power button.
set -euo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)
build=$(cd -- "$here/../.." && pwd -P)/.build
out=$build/guest
PATH=$PATH:/usr/sbin:/sbin

say() { printf 'guest: %s\n' "$*"; }
fail() {
    printf 'guest: %s\n' "$*" >&2
    exit 1
}

want=$(cat "${BASH_SOURCE[0]}" "$here"/files/* | sha256sum | cut -d' ' -f1)
if [ "$(cat "$out/stamp" 2>/dev/null)" = "$want" ]; then
    say "ready"
    exit 0
fi

for program in apt-get apt-cache dpkg; do
    command -v "$program" >/dev/null ||
        fail "$program is missing: the guest is made of Debian packages, build it on Debian 12 or later."
done
[ "$(dpkg --print-architecture)" = amd64 ] ||
    fail "only amd64 has the guest's kernel, this is $(dpkg --print-architecture)."

mkdir -p "$build"
# one build at a time; who waited finds the guest ready
exec 9>"$build/guest.lock"
flock 9
if [ "$(cat "$out/stamp" 2>/dev/null)" = "$want" ]; then
    say "ready"
    exit 0
fi
work=$(mktemp -d "$build/guest.XXXXXX")
trap 'rm -rf "$work"' EXIT

kernel_package() {
    apt-cache depends linux-image-cloud-amd64 2>/dev/null |
        sed -n 's/^ *Depends: \(linux-image-[0-9].*\)$/\1/p' | head -n 1
}

fetch() {
    local kernel options=()
    kernel=$(kernel_package)
    [ -n "$kernel" ] || return 1
    # root's downloads run as a user who cannot write to this directory
    [ "$(id -u)" -ne 0 ] || options=(-o APT::Sandbox::User=root)
    (cd "$work" && apt-get download -qq "${options[@]}" "$kernel" busybox-static)
}

say "fetching kernel and busybox"
if ! fetch 2>"$work/fetch.log"; then
    # package lists that are missing or too old
    if [ "$(id -u)" -eq 0 ]; then apt-get update -qq; else sudo -- apt-get update -qq; fi
    fetch || fail "could not download linux-image-cloud-amd64 and busybox-static with apt-get."
fi
for package in "$work"/*.deb; do
    dpkg -x "$package" "$work/unpacked"
done
unpacked=$work/unpacked
busybox=$(find "$unpacked" -path '*/bin/busybox' -type f)
kernels=("$unpacked"/boot/vmlinuz-*)
version=${kernels[0]##*/vmlinuz-}
modules=$unpacked/lib/modules/$version/kernel
[ -d "$modules" ] || modules=$unpacked/usr/lib/modules/$version/kernel

guest=$work/guest
mkdir "$guest"
cp "${kernels[0]}" "$guest/vmlinuz"

say "building the initial RAM disk"
initrd=$work/initrd
mkdir -p "$initrd"/{bin,modules,proc,dev,newroot}
cp "$busybox" "$initrd/bin/"
cp "$here/files/init" "$initrd/init"
number=10
for module in virtio/virtio_ring virtio/virtio virtio/virtio_pci_legacy_dev \
    virtio/virtio_pci_modern_dev virtio/virtio_pci block/virtio_blk input/evdev acpi/button; do
    # a kernel may have some of them built in; later kernels compress their modules
    for file in "$modules/drivers/$module".ko*; do
        [ -e "$file" ] || continue
        name=$number-${module##*/}.ko
        case $file in
        *.xz) xz -dc "$file" >"$initrd/modules/$name" ;;
        *) cp "$file" "$initrd/modules/$name" ;;
        esac
    done
    number=$((number + 1))
done
(cd "$initrd" && find . | cpio -o -H newc --quiet -R 0:0 | gzip -1) >"$guest/initrd.gz"

say "building the disk"
disk=$work/disk
mkdir -p "$disk"/{bin,sbin,etc/acpi,proc,sys,dev,tmp,root,var,run,data}
cp "$busybox" "$disk/bin/"
cp "$here/files/inittab" "$here/files/rc" "$here/files/profile" "$disk/etc/"
cp "$here/files/poweroff" "$disk/sbin/"
# what busybox calls the power button, and what /etc/acpi/... to run then
printf 'PBTN poweroff\nPWRF poweroff\n' >"$disk/etc/acpid.conf"
ln -s /sbin/poweroff "$disk/etc/acpi/poweroff"
ln -s ../bin/busybox "$disk/sbin/init"
echo 'root::0:0:root:/root:/bin/sh' >"$disk/etc/passwd"
for applet in $("$busybox" --list); do
    [ -e "$disk/bin/$applet" ] || ln -s busybox "$disk/bin/$applet"
done
truncate -s 64M "$work/base.raw"
mke2fs -q -F -t ext4 -E root_owner=0:0 -d "$disk" "$work/base.raw"
qemu-img convert -q -O qcow2 "$work/base.raw" "$guest/base.qcow2"
chmod 0444 "$guest/base.qcow2"

echo "$want" >"$guest/stamp"
rm -rf "$out"
mv -T "$guest" "$out"
say "built in ${out#"${build%/*}"/}"
