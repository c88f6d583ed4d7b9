# The lab's process 1 on the host's root: the rest of what an init does, the hypervisor's own set-up, and the agent.
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
lab=/run/lab
stage() { echo "hvsh-lab: stage $1" >/dev/console; }
fail() {
    echo "hvsh-lab: failed: $1" >/dev/console
    exec sleep 86400
}
IFS= read -r kind <$lab/kind
IFS= read -r deno <$lab/deno

stage userspace
mkdir -p /dev/pts /dev/shm
mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /dev/pts
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
$lab/busybox ip link set lo up
hostname "lab-$kind"
ulimit -l unlimited
ulimit -c 0

# The agent takes its time to start; the hypervisor is set up meanwhile, and it answers once $lab/ready is there.
# When it ends, the lab does.
(
    HOME=/root DENO_DIR=$lab/deno-dir DENO_NO_UPDATE_CHECK=1 NO_COLOR=1 \
        "$deno" run --quiet --allow-all --no-config --no-lock --no-remote --no-npm --no-check $lab/agent.ts \
        >$lab/agent.log 2>&1
    echo "hvsh-lab: the agent ended with code $?" >/dev/console
    cat $lab/agent.log >/dev/console
    sync
    $lab/busybox poweroff -f
) &

case $kind in
kvm)
    stage hypervisor
    modprobe kvm_amd || fail "modprobe kvm_amd"
    test -c /dev/kvm || fail "no /dev/kvm after modprobe kvm_amd"
    # KVM patches the running kernel (static keys) when the first guest comes and the last goes, and the same for the
    # first without an in-kernel LAPIC. QEMU 7.2 may translate a patched instruction just before it is written and never
    # notice: a CPU then meets the INT3 of the patching for ever, and the lab hangs. Two idle guests hold the keys.
    perl -e '
        open(my $kvm, "+<", "/dev/kvm") or die "/dev/kvm: $!";
        for my $irqchip (1, 0) {
            my $fd = ioctl($kvm, 0xae01, 0) or die "KVM_CREATE_VM: $!";
            open($vm[$irqchip], "+<&=", $fd) or die "fdopen: $!";
            !$irqchip or ioctl($vm[1], 0xae60, 0) or die "KVM_CREATE_IRQCHIP: $!";
            ioctl($vm[$irqchip], 0xae41, 0) or die "KVM_CREATE_VCPU: $!";
        }
        sleep;' &
    ;;
xen)
    stage hypervisor
    mount -t xenfs xenfs /proc/xen || fail "mounting xenfs"
    for module in xen-evtchn xen-gntdev xen-privcmd xen-gntalloc xen-blkback xen-netback; do
        modprobe $module 2>/dev/null
    done
    mkdir -p /var/lib/xen/dump /var/lib/xenstored /run/xen /run/xenstored /var/log/xen/console
    bin=/usr/lib/xen-$(cat /sys/hypervisor/version/major).$(cat /sys/hypervisor/version/minor)/bin
    "$bin/xenstored" --pid-file /run/xenstored.pid || fail "xenstored"
    stage xenstored
    "$bin/xen-init-dom0" >$lab/dom0.log 2>&1 || fail "xen-init-dom0: $(cat $lab/dom0.log)"
    "$bin/xenconsoled" --log=guest --log-dir=/var/log/xen/console --pid-file=/run/xenconsoled.pid ||
        fail "xenconsoled"
    ;;
esac
: >$lab/ready
stage ready
# Process 1 has to wait for every orphan.
while :; do
    wait
    sleep 3600
done
