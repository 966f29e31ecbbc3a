#!/bin/busybox sh
# The first process of the guest, run by busybox in the initramfs. What it does is told by /job, which calls the
# functions below (imgwriter/guest/job.py); what it says goes to the host by three ways:
#
#   port "status"   "stage NAME" when a stage begins; "failed NAME" when its command did; "exit N" or "fail WHY",
#                   the last word
#   port "log"      standard output and error of all that is run
#   console         the kernel's messages
#
# A guest whose kernel lacks virtio_console says both on its second serial port, where \001 begins a status.

/bin/busybox mkdir -p /proc /sys /dev /mnt /bin
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
/bin/busybox mount -t devtmpfs devtmpfs /dev
/bin/busybox --install -s /bin
export PATH=/bin LC_ALL=C TZ=UTC
umask 022

root=/mnt
status_port=
log_port=
mark=

# say TEXT: to the host, on the status port.
say() {
    if [ -n "$status_port" ]; then
        printf '%s%s\n' "$mark" "$1" >"$status_port"
    fi
}

# finish TEXT: say how it ended, and end.
finish() {
    say "$1"
    sync
    poweroff -f
    sleep 1000
}

# fail TEXT: the guest itself could not do its part.
fail() {
    unmount_all
    finish "fail $1"
}

# A process more takes ten milliseconds of an emulated machine: what the shell does itself is done by it.

# look_for_ports: set status_port and log_port to the devices of the virtio ports of these names.
look_for_ports() {
    for entry in /sys/class/virtio-ports/*; do
        name=
        [ ! -e "$entry/name" ] || read -r name <"$entry/name"
        case $name in
            status) status_port=/dev/${entry##*/} ;;
            log) log_port=/dev/${entry##*/} ;;
        esac
    done
}

# Ports appear a moment after the module: the host is asked for their names.
find_ports() {
    tries=0
    while [ -d /sys/bus/virtio/drivers/virtio_console ] && [ "$tries" -lt 500 ]; do
        look_for_ports
        if [ -c "$status_port" ] && [ -c "$log_port" ]; then
            exec >"$log_port" 2>&1
            return
        fi
        sleep 0.02
        tries=$((tries + 1))
    done
    status_port=
    [ -c /dev/ttyS1 ] || return
    stty -F /dev/ttyS1 raw -echo 2>/dev/null
    status_port=/dev/ttyS1
    mark=$(printf '\n\001')
    exec >/dev/ttyS1 2>&1
}

# --- What a job is written in ---

clock() {
    date -u -s "@$1" >/dev/null
    # Until the next tick of the kernel's, files would get this very time, which may be theirs already.
    sleep 0.02
}

# name_disk DEVICE FOLDER NAME
name_disk() {
    mkdir -p "/dev/disk/$2"
    ln -sf "../../${1#/dev/}" "/dev/disk/$2/$3"
}

mount_root() {
    wait_for "$1"
    say "stage mount"
    mount -t "$2" -o rw,noatime "$1" "$root" || fail "$1 cannot be mounted as $2"
    for each in dev proc sys; do
        place "/$each"
        mount -o bind "/$each" "$root/$each" || fail "/$each cannot be given to the image"
    done
    mkdir -p /dev/pts
    mount -t devpts devpts /dev/pts 2>/dev/null && mount -o bind /dev/pts "$root/dev/pts"
    # What is left in these is of no use to an image.
    for each in run tmp; do
        if [ -d "$root/$each" ] && [ ! -L "$root/$each" ]; then
            mode=1777
            [ "$each" = tmp ] || mode=755
            mount -t tmpfs -o "mode=$mode" tmpfs "$root/$each"
        fi
    done
}

mount_efi_variables() {
    mount -t efivarfs efivarfs "$root/sys/firmware/efi/efivars" ||
        fail "the kernel shows no EFI variables (efivarfs); its modules may lack that"
}

mount_at() {
    wait_for "$2"
    place "$1"
    mount -t "$3" -o rw,noatime "$2" "$root$1" || fail "$2 cannot be mounted as $3"
}

# run STAGE required|optional WORD...
run() {
    say "stage $1"
    stage=$1
    need=$2
    shift 2
    "$@" </dev/null
    ended=$?
    if [ "$ended" -ne 0 ] && [ "$need" = required ]; then
        say "failed $stage"
        finish_job "$ended"
    fi
}

clear_away() {
    rm -f "$root/$1"
}

# --- How it is done ---

# place PATH: make sure that there is a directory of the image's own, and no symlink out of it.
place() {
    made=$root
    rest=${1#/}
    while [ -n "$rest" ]; do
        made=$made/${rest%%/*}
        case $rest in
            */*) rest=${rest#*/} ;;
            *) rest= ;;
        esac
        [ ! -L "$made" ] || fail "${made#"$root"} is a symlink in the image; something has to be mounted there"
        [ -d "$made" ] || mkdir "$made" || fail "${made#"$root"} cannot be made in the image"
    done
}

# wait_for DEVICE: a disk's partitions are there a moment after it.
wait_for() {
    tries=0
    [ -b /dev/vda ] && tries=400
    while [ ! -b "$1" ]; do
        [ "$tries" -lt 500 ] || fail "the disk has no $1"
        sleep 0.02
        tries=$((tries + 1))
    done
}

# Names by which programs look for disks; udev is not here to make them.
name_disks() {
    wait_for /dev/vda
    mkdir -p /dev/block
    for entry in /sys/class/block/vda*; do
        device=${entry##*/}
        read -r number <"$entry/dev"
        ln -sf "../$device" "/dev/block/$number"
        ln -sf "$device" "/dev/xvda${device#vda}"
        ln -sf "$device" "/dev/sda${device#vda}"
    done
}

# Programs that a command left running would keep the file systems busy; process 1 is spared.
unmount_all() {
    kill -KILL -1 2>/dev/null
    mounted=$(awk -v root="$root" '$2 == root || index($2, root "/") == 1 { print $2 }' /proc/mounts)
    left=
    for each in $mounted; do
        left="$each $left"
    done
    for each in $left; do
        each=$(printf '%b' "$each")
        tries=0
        # What it says each time would leave no room for what the installer said.
        until umount "$each" 2>/dev/null; do
            [ "$tries" -lt 50 ] || return 1
            sleep 0.1
            tries=$((tries + 1))
        done
    done
}

finish_job() {
    say "stage unmount"
    unmount_all || finish "fail the image's file systems stay busy and cannot be unmounted"
    finish "exit $1"
}

while read -r module; do
    insmod "/modules/$module" || echo "imgwriter: module $module is refused by the kernel" >/dev/console
done </modules/order
find_ports
if grep -qw imgwriter.probe /proc/cmdline; then
    finish "exit 0"
fi
say "stage devices"
name_disks
. /job
finish_job 0
