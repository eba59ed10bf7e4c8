#!/bin/busybox sh
# PID 1 of the lab's guest: sets the machine up, runs COMMAND, powers off.
#
# ttyS0 is the kernel's log. ttyS1 carries COMMAND's stdout (or is its terminal),
# ttyS2 its stderr, ttyS3 tells the host how far things are: `ready`, then
# `exit STATUS`, or `fail WHY` where the guest cannot be what was asked for.
/bin/busybox mkdir -p /bin /sbin /usr/bin /usr/sbin /proc /sys /dev /tmp /root /run /etc /var
/bin/busybox --install -s /bin
export PATH=/usr/bin:/bin:/usr/sbin:/sbin HOME=/root

mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmp /dev/shm
mount -t tmpfs tmp /tmp
mount -t debugfs debugfs /sys/kernel/debug
[ -d /sys/kernel/debug/tracing ] && mount -t tracefs tracefs /sys/kernel/tracing
mount -t bpf bpf /sys/fs/bpf
mount -t cgroup2 cgroup2 /sys/fs/cgroup
[ -e /dev/fd ] || ln -s /proc/self/fd /dev/fd
hostname lab
ip link set lo up
ulimit -l unlimited
chmod 1777 /tmp

# Bytes pass the serial lines unchanged; so wide a rate only shortens time-outs.
for port in 1 2 3; do stty -F /dev/ttyS$port raw -echo 115200; done
exec 3>/dev/ttyS3

power_off() {
    stty -F /dev/ttyS3 raw # Waits until what was written has left the port.
    poweroff -f
}

fail() {
    echo "fail $1" >&3
    power_off
}

. /lab/settings

while read -r file parameters; do
    insmod "/lab/modules/$file" $parameters 2>/tmp/insmod || fail "cannot insert module $file: $(cat /tmp/insmod)"
done </lab/modules/order
rm -f /tmp/insmod

# The virtio disk whose serial number the host gave it.
disk() {
    for tries in 1 2 3 4 5 6 7 8 9 10; do
        for block in /sys/block/vd*; do
            [ "$(cat "$block/serial" 2>/dev/null)" = "$1" ] && echo "/dev/${block##*/}" && return
        done
        usleep 100000
    done
    fail "the disk $1 did not appear"
}

if [ -n "$HUGEPAGES" ]; then
    echo "$HUGEPAGES" >/proc/sys/vm/nr_hugepages
    got=$(cat /proc/sys/vm/nr_hugepages)
    [ "$got" = "$HUGEPAGES" ] || fail "only $got of $HUGEPAGES huge pages could be set aside: give more --memory"
fi
[ -n "$WANT_DISK" ] && export LAB_DISK=$(disk disk)
[ -n "$WANT_SLOW_DISK" ] && export LAB_SLOW_DISK=$(disk slow-disk)
if [ -n "$WANT_SWAP" ]; then
    export LAB_SWAP=$(disk swap)
    mkswap "$LAB_SWAP" >/dev/null && swapon "$LAB_SWAP" || fail "cannot swap on $LAB_SWAP"
fi

if [ -n "$WANT_EDU" ]; then
    # The emulated IOMMU does not remap interrupts.
    echo 1 >/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts
    for device in /sys/bus/pci/devices/*; do
        [ "$(cat "$device/vendor" "$device/device" | tr '\n' ' ')" = "0x1234 0x11e8 " ] || continue
        export LAB_EDU=${device##*/}
        echo vfio-pci >"$device/driver_override"
        echo "$LAB_EDU" >/sys/bus/pci/drivers_probe
    done
    [ -e "/sys/bus/pci/drivers/vfio-pci/$LAB_EDU" ] || fail "vfio-pci does not drive the edu device"
fi

if [ -n "$WANT_RXE" ]; then
    rdma link add rxe0 type rxe netdev lo 2>/tmp/rdma || fail "no soft-RoCE on lo: $(cat /tmp/rdma)"
    rm /tmp/rdma
fi

if [ -n "$WANT_XDP" ]; then
    # busybox knows no peers; the kernel makes one and names it.
    ip link add xdp0 type veth && ip link set veth0 name xdp1 || fail "no pair of network devices"
    ip addr add 192.0.2.1/24 dev xdp0
    ip addr add 192.0.2.2/24 dev xdp1
    ip link set xdp0 up
    ip link set xdp1 up
    export LAB_XDP=xdp0
fi

# What COMMAND left running would keep its output open for ever.
# /proc/PID/exe of a kernel thread names no file.
end_leftovers() {
    for process in /proc/[0-9]*; do
        pid=${process#/proc/}
        case " 1 $1 $2 " in *" $pid "*) continue ;; esac
        readlink "$process/exe" >/dev/null && kill -9 "$pid" 2>/dev/null
    done
}

cd /root
if [ -n "$TERMINAL" ]; then
    exec 4<>/dev/ttyS1 # Open, or the size would be forgotten with the last close.
    stty -F /dev/ttyS1 sane rows "$ROWS" cols "$COLUMNS"
    export TERM=$TERMINAL COLUMNS ROWS LINES=$ROWS
    echo ready >&3
    setsid -c sh /lab/command <&4 >&4 2>&1 3>&- 4>&-
    status=$?
    end_leftovers
else
    # Pipes, so that COMMAND does not take the serial lines for a terminal.
    mkfifo /lab/stdout /lab/stderr
    cat /lab/stdout >/dev/ttyS1 3>&- & out=$!
    cat /lab/stderr >/dev/ttyS2 3>&- & err=$!
    echo ready >&3
    setsid sh /lab/command </dev/null >/lab/stdout 2>/lab/stderr 3>&-
    status=$?
    end_leftovers "$out" "$err"
    wait "$out" "$err"
    stty -F /dev/ttyS2 raw -echo
fi
stty -F /dev/ttyS1 raw -echo
echo "exit $status" >&3
power_off
