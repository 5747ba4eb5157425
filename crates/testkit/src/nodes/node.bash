# node.bash DIRECTORY: the first process of a node, in pid, mount, network, uts and ipc namespaces of its own. It makes
# them a machine and runs the node's programs. Its end ends everything in there.
#
# The words of a program lie in NAME.argv in DIRECTORY, each ended by a NUL; its output goes to NAME.log. `node.env` says
# who the node is and in which order its programs start. Images lie in ../images and say themselves what they are called:
# with a second name for its index, what has none any more could be collected before it is unpacked. The file `ready` is
# there once the programs run, and a program that ends is named in `dead`.
set -u
PATH=/usr/sbin:/usr/bin:/sbin:/bin:$PATH
cd "$1" && . ./node.env || exit 1
# What the runtime and the kubelet make for pods is read by users who are not root.
umask 022

# In this mount namespace alone: nothing that the programs write by habit may reach the machine.
mount --make-rshared /
mount -t tmpfs -o mode=755 tmpfs /run && mkdir -p /run/netns /run/lock
mount -t tmpfs -o mode=755 tmpfs /var/lib && mkdir -p /var/lib/kubelet /var/lib/cni
mkdir -p kubelet cni-state pod-logs
mount --bind kubelet /var/lib/kubelet && mount --bind cni-state /var/lib/cni && mount --bind pod-logs /var/log || exit 1
hostname "$NODE"

# The kubelet wants these values, and would set them for the whole machine.
mkdir -p sysctl
for setting in vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1 \
    kernel/keys/root_maxkeys=1000000 kernel/keys/root_maxbytes=25000000; do
    file=${setting%=*}
    echo "${setting#*=}" >"sysctl/${file//\//.}"
    [ ! -e "/proc/sys/$file" ] || mount --bind "sysctl/${file//\//.}" "/proc/sys/$file"
done

# One group of processes for all that runs here, with one for the programs in it: one of each hierarchy, or the one.
enter_cgroups() {
    local hierarchy group controller
    for hierarchy in /sys/fs/cgroup /sys/fs/cgroup/*/; do
        hierarchy=${hierarchy%/}
        [ -e "$hierarchy/cgroup.procs" ] && [ ! -e "$hierarchy/../cgroup.procs" ] || continue
        group=$hierarchy/$CGROUP
        mkdir -p "$group/daemons"
        if [ -e "$hierarchy/cpuset.cpus" ] && [ ! -e "$hierarchy/cgroup.controllers" ]; then
            for part in "$group" "$group/daemons"; do
                cat "$hierarchy/cpuset.cpus" >"$part/cpuset.cpus"
                cat "$hierarchy/cpuset.mems" >"$part/cpuset.mems"
            done
        fi
        for controller in $(cat "$hierarchy/cgroup.controllers" 2>/dev/null); do
            echo "+$controller" >"$hierarchy/cgroup.subtree_control"
            echo "+$controller" >"$group/cgroup.subtree_control"
        done 2>/dev/null
        echo $$ >"$group/daemons/cgroup.procs"
    done
}
enter_cgroups

# The other end of the wire comes from outside.
touch waiting
for attempt in {1..10000}; do [ ! -e wired ] || break; sleep 0.02; done
ip link set lo up
ip address add "$ADDRESS/24" dev eth0 && ip link set eth0 up && ip route add default via "$HOST" || exit 1
ip link add cni0 type bridge && ip address add "$PODS.1/24" dev cni0 && ip link set cni0 up || exit 1
echo 1 >/proc/sys/net/ipv4/ip_forward
# Pods leave the node with the node's address, but between pods of the cluster, who know each other by theirs.
nft -f - <<NFT || exit 1
table ip keelson {
    chain leave {
        type nat hook postrouting priority 110;
        ip saddr $PODS.0/24 ip daddr != $CLUSTER_PODS oifname "eth0" masquerade
    }
}
NFT

import_images() {
    local attempt archive
    for attempt in {1..6000}; do ctr version >/dev/null 2>&1 && break || sleep 0.02; done
    for archive in ../images/*.tar; do
        ctr --namespace k8s.io images import "$archive" || return
    done
}

for name in $PROGRAMS; do
    mapfile -d '' -t argv <"$name.argv"
    "${argv[@]}" </dev/null >>"$name.log" 2>&1 &
    echo "$name" >"$!.running"
    # The kubelet wants a runtime that answers and, before its first pod, the image of sandboxes.
    [ "$name" != containerd ] || import_images >>images.log 2>&1 || echo "images are not imported, see images.log" >>dead
done
touch ready
# As the first process it is the parent of all orphans too; those have no name here.
while :; do
    wait -n -p ended
    status=$?
    [ -n "${ended:-}" ] || { sleep 0.5; continue; }
    [ ! -e "$ended.running" ] || echo "$(cat "$ended.running") ended with $status" | tee -a dead
done
