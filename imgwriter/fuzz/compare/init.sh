#!/bin/busybox sh
# The first process of the guest that lists partitions (imgwriter/fuzz/compare/kernel.py). It says on port "log"
# what the kernel made of each SCSI disk, and on port "status" how it ended, as imgwriter/guest/init.sh does:
#
#   disk TARGET LUN
#   part NUMBER START SIZE      of that disk, in units of 512 bytes, whatever its sectors are
#
# sd_mod is loaded last, when all disks are known: the kernel ends loading it after it has read their tables.

/bin/busybox mkdir -p /proc /sys /dev /bin
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
/bin/busybox mount -t devtmpfs devtmpfs /dev
/bin/busybox --install -s /bin
export PATH=/bin LC_ALL=C

refused=
while read -r module; do
    case $module in
        scsi_mod.ko) insmod "/modules/$module" scan=sync || refused=$module ;;
        *) insmod "/modules/$module" || refused=$module ;;
    esac
done </modules/order

# port NAME: the device of a virtio port; they appear a moment after the module.
port() {
    tries=0
    while [ "$tries" -lt 100 ]; do
        for entry in /sys/class/virtio-ports/*; do
            if [ -e "$entry/name" ] && [ "$(cat "$entry/name")" = "$1" ] && [ -c "/dev/${entry##*/}" ]; then
                echo "/dev/${entry##*/}"
                return
            fi
        done
        sleep 0.1
        tries=$((tries + 1))
    done
}

finish() {
    echo "$1" >"$status_port"
    poweroff -f
    sleep 1000
}

list_partitions() {
    for disk in /sys/block/sd*; do
        [ -d "$disk" ] || continue
        cd -P "$disk/device" || finish "fail $disk has no address"
        address=${PWD##*/}
        lun=${address##*:}
        target=${address%:*}
        echo "disk ${target##*:} $lun"
        for partition in "$disk/${disk##*/}"*; do
            [ -e "$partition/partition" ] || continue
            read -r number <"$partition/partition"
            read -r start <"$partition/start"
            read -r size <"$partition/size"
            echo "part $number $start $size"
        done
    done
}

status_port=$(port status)
log_port=$(port log)
if grep -qw imgwriter.probe /proc/cmdline; then
    finish "exit 0"
fi
[ -z "$refused" ] || finish "fail module $refused is refused by the kernel"
echo "stage disks" >"$status_port"
list_partitions >"$log_port" || finish "fail the disks cannot be listed"
finish "exit 0"
