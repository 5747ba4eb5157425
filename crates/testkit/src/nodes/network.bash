# network.bash [VERB…]: what clusters with nodes share on this machine: a bridge, the numbers of the clusters, and what a
# cluster leaves outside of its namespaces.
#
#   hold cluster|host ANSWER   takes a number (or none), writes `OCTET NUMBER` to the file ANSWER and holds on until killed
#   release                    tidies up after all who hold nothing any more; also what no word means
#
# While clusters are up, a user of this machine may have more instances of inotify than the usual 128: a control plane takes
# eleven, a node eight, and tests beside them have theirs; a kubelet that gets none ends. `release` puts back what was.
#
# Who holds something has the lock on a file, which the kernel takes back however its holder ends. So nobody's process
# is asked for by its id, and whoever comes next may tidy up after one that was killed.
#
# All addresses lie in 10.OCTET.0.0/16. The host is .0.1 there; node I of cluster N is .0.(16 N + I), its pods are
# .(16 N + 8 + I).0/24, and the cluster's services are .(16 N).0/21.
set -u
PATH=/usr/sbin:/usr/bin:/sbin:/bin:$PATH
state=/run/keelson-testbed
bridge=keelson-tb
clusters=15
instances=/proc/sys/fs/inotify/max_user_instances
instances_wanted=2048

# The folder is its own lock. Its last user removes it, so the lock may be on one that is gone: then once more.
enter() {
    while :; do
        mkdir -p "$state/held"
        exec 9<"$state" || continue
        flock 9
        [ ! "$state" -ef /proc/self/fd/9 ] || return 0
    done
}

# An octet whose addresses nobody has.
choose_octet() {
    local octet taken
    taken=$(ip -4 -o address; ip -4 route show table all)
    for octet in {90..120}; do
        grep -qE "(^|[^0-9.])10\.$octet\." <<<"$taken" || { echo "$octet"; return; }
    done
    echo "no 10.90.0.0/16 to 10.120.0.0/16 is free" >&2
    return 1
}

# Prints the octet of the bridge, which is made if need be.
raise_bridge() {
    local octet
    octet=$(ip -4 -o address show dev "$bridge" 2>/dev/null | sed -n 's/.* inet 10\.\([0-9]*\)\.0\.1\/.*/\1/p')
    if [ -z "$octet" ]; then
        octet=$(choose_octet) || return
        ip link show "$bridge" >/dev/null 2>&1 || ip link add "$bridge" type bridge || return
        ip address replace "10.$octet.0.1/24" dev "$bridge" && ip link set "$bridge" up || return
    fi
    echo "$octet"
}

# Where it may not be changed nothing is said: it may be enough.
raise_instances() {
    local before
    before=$(cat "$instances" 2>/dev/null) && [ "$before" -lt "$instances_wanted" ] || return 0
    [ -s "$state/instances" ] || echo "$before" >"$state/instances"
    { echo "$instances_wanted" >"$instances"; } 2>/dev/null || rm -f "$state/instances"
}

restore_instances() {
    [ -s "$state/instances" ] || return 0
    # Somebody else may have chosen another by now.
    [ "$(cat "$instances")" != "$instances_wanted" ] || cat "$state/instances" >"$instances"
    rm -f "$state/instances"
}

# sweep NUMBER: the routes and cgroups of a cluster whose processes have been killed, some of them only just
sweep() {
    local route octet attempt left
    ip -4 route show dev "$bridge" 2>/dev/null | while read -r route _; do
        octet=${route#*.*.} octet=${octet%%.*}
        [[ $route != */* ]] || [ $((octet / 16)) != "$1" ] || ip route delete "$route" dev "$bridge"
    done
    for attempt in {1..1200}; do
        left=$(find /sys/fs/cgroup -depth -type d -path "*/keelson-testbed-$1-*" 2>/dev/null)
        [ -n "$left" ] || return 0
        rmdir $left 2>/dev/null || sleep 0.05
    done
    echo "cgroups of cluster $1 stay: $left" >&2
}

# Removes the files that nobody has locked, with what they stand for.
tidy_up() {
    local file
    for file in "$state"/held/*; do
        [ -e "$file" ] && flock -n "$file" true || continue
        [[ $file != */cluster-* ]] || sweep "${file##*-}"
        rm -f "$file"
    done
}

hold() {
    local octet number=0 file
    enter
    tidy_up
    octet=$(raise_bridge) || exit 1
    raise_instances
    file=$state/held/host-$$
    if [ "$1" = cluster ]; then
        for ((number = 1; number <= clusters; number++)); do
            [ -e "$state/held/cluster-$number" ] || break
        done
        [ "$number" -le "$clusters" ] || { echo "$clusters clusters are up, there is no room for more" >&2; exit 1; }
        file=$state/held/cluster-$number
    fi
    exec 8>"$file"
    flock 8
    echo "$octet $number" >"$2.new" && mv "$2.new" "$2"
    exec 9<&-
    exec sleep infinity
}

release() {
    [ -d "$state" ] || exit 0
    enter
    tidy_up
    if rmdir "$state/held" 2>/dev/null; then
        ip link delete "$bridge" 2>/dev/null
        restore_instances
        rmdir "$state"
    fi
}

case ${1:-release} in
    hold) hold "$2" "$3" ;;
    release) release ;;
    *) echo "network: no verb '$1'" >&2; exit 2 ;;
esac
