#!/bin/sh
# Usage: boot_by_hand.sh TREE OUTPUT COMMAND PYTHON
# Install a boot loader the way one would without imgwriter's guest: build the image, boot a kernel with an
# initramfs made on the spot, mount, chroot, run COMMAND, unmount. The image is what the kernel left.
set -eu
tree=$1 output=$2 command=$3 python=$4
"$python" -m imgwriter build --tree "$tree" --output "$output" --quiet
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM
kernel=$(echo "$tree"/boot/vmlinuz-*)
modules=$(echo "$tree"/lib/modules/*/kernel)
mkdir -p "$work/bin" "$work/dev" "$work/proc" "$work/sys" "$work/mnt" "$work/modules"
cp "$tree/bin/busybox" "$work/bin/"
for module in virtio/virtio_ring virtio/virtio virtio/virtio_pci_modern_dev virtio/virtio_pci_legacy_dev \
    virtio/virtio_pci block/virtio_blk; do
    cp "$modules/drivers/$module.ko" "$work/modules/"
done
cat >"$work/init" <<END
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t devtmpfs devtmpfs /dev
mount -t proc proc /proc
mount -t sysfs sysfs /sys
for module in virtio_ring virtio virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci virtio_blk; do
    insmod /modules/\$module.ko
done
while [ ! -b /dev/vda1 ]; do sleep 0.05; done
mount -t ext4 /dev/vda1 /mnt
for each in dev proc sys; do mount -o bind /\$each /mnt/\$each; done
chroot /mnt /usr/bin/env PATH=/usr/sbin:/usr/bin:/sbin:/bin /bin/sh -c '$command' && echo it-is-done
umount /mnt/dev /mnt/proc /mnt/sys /mnt
poweroff -f
END
sed -i 's|/usr/bin/env PATH=|/bin/busybox env PATH=|' "$work/init"
chmod 755 "$work/init"
(cd "$work" && find . | busybox cpio -o -H newc 2>/dev/null) >"$work.cpio"
trap 'rm -rf "$work" "$work.cpio"' EXIT INT TERM
qemu-system-x86_64 -nodefaults -no-user-config -no-reboot -machine pc -accel tcg -cpu max -m 1024M -display none \
    -serial stdio -kernel "$kernel" -initrd "$work.cpio" -append "console=ttyS0 quiet panic=-1" \
    -drive "if=virtio,format=raw,cache=unsafe,file=$output/nixos.img" | grep -q it-is-done
