#!/bin/busybox sh
# The lab's /init: makes the host's root, read-only over 9p, the lower layer of an overlay and goes there.
# Lines "hvsh-lab: stage NAME" on the console tell the host how far the start has come; "hvsh-lab: failed: WHY" ends it.
b=/bin/busybox
stage() { echo "hvsh-lab: stage $1"; }
fail() {
    echo "hvsh-lab: failed: $1"
    exec $b sleep 86400
}

# A 9p share of QEMU's: tag, target, options. msize is the most a request may carry: 1 MiB spares round trips.
share() {
    $b mount -t 9p -o "trans=virtio,version=9p2000.L,msize=1048576,$3" "$1" "$2" || fail "mounting the share $1"
}

# An overlay over $1, mounted at $2; what is written goes to the tmpfs and dies with the lab.
overlay() {
    $b mkdir -p "/upper/$3/data" "/upper/$3/work"
    $b mount -t overlay -o "lowerdir=$1,upperdir=/upper/$3/data,workdir=/upper/$3/work" overlay "$2" ||
        fail "mounting the overlay of $1"
}

$b mount -t proc proc /proc
$b mount -t sysfs sysfs /sys
$b mount -t devtmpfs dev /dev
exec </dev/console >/dev/console 2>&1
stage modules
for module in /modules/*.ko; do $b insmod "$module" || fail "loading $module"; done

stage root
IFS= read -r work </lab/config/work
# The root changes seldom: cache=loose keeps its files in memory. The checkout is edited while a lab is kept:
# cache=none asks the host each time a file is opened (the agent drops the overlay's names before each command).
share host /host ro,cache=loose
share work /work ro,cache=none
$b mount -t tmpfs -o size=75% tmpfs /upper
overlay /host /new root
overlay /work "/new$work" work
n=0
while IFS= read -r path; do
    # cache=mmap is cache=none with writable shared mappings, which SQLite needs.
    share "share$n" "/new$path" rw,cache=mmap
    n=$((n + 1))
done </lab/config/shares

for folder in proc sys dev; do $b mount --move /$folder /new/$folder; done
$b mount -t tmpfs -o mode=755 tmpfs /new/run
$b mkdir -p /new/run/lab /new/run/lock
$b cp /lab/*.* /lab/config/kind /lab/config/deno $b /new/run/lab/
stage switch
exec $b switch_root /new /bin/sh /run/lab/userspace.sh
