# cell.sh NAME NETWORK PROGRAM...: runs PROGRAM in namespaces and control groups of its own (root only).
#
# Whatever PROGRAM starts, containers included, ends when the `unshare` below is killed: it is the only process that has to
# be remembered. NETWORK is `own` (nothing but a loopback device) or `host`.
# The program sees a fresh /run, and with a network of its own a fresh /sys, where LXD looks network devices up.
set -eu
name=$1 network=$2
shift 2

# cgroup v1 has one hierarchy per controller, each in its folder; v2 is one hierarchy, which here is a folder like them.
if [ -e /sys/fs/cgroup/cgroup.controllers ]; then hierarchies=/sys/fs/cgroup/; else hierarchies=$(echo /sys/fs/cgroup/*/); fi
for hierarchy in $hierarchies; do
  group=$hierarchy$name
  mkdir -p "$group" 2>/dev/null || continue
  if [ -f "$group/cpuset.cpus" ] && [ -f "${hierarchy}cpuset.cpus" ]; then
    cat "${hierarchy}cpuset.cpus" >"$group/cpuset.cpus"
    cat "${hierarchy}cpuset.mems" >"$group/cpuset.mems"
  fi
  echo $$ >"$group/cgroup.procs" 2>/dev/null || true
done

case $network in own) flag=--net ;; *) flag= ;; esac
# shellcheck disable=SC2016,SC2086 # the inner shell expands its own words; an empty word must vanish
exec unshare $flag --mount --pid --fork --kill-child --propagation private bash -euc '
  network=$1
  shift
  mount -t proc proc /proc
  mount -t tmpfs -o mode=755 run /run
  if [ "$network" = own ]; then
    # a /sys that shows the devices of this namespace; the control groups below it stay what they were
    mkdir /run/cgroup
    mount --rbind /sys/fs/cgroup /run/cgroup
    mount -t sysfs sysfs /sys
    mount --rbind /run/cgroup /sys/fs/cgroup
    umount -l /run/cgroup
    ip link set lo up
  fi
  # not exec: the first process of a pid namespace inherits every orphan, and a shell buries them
  code=0
  "$@" || code=$?
  exit $code
' cell "$network" "$@"
