# cell.sh NAME NETWORK PROGRAM...: runs PROGRAM in namespaces and control groups of its own (root only).
#
# Whatever PROGRAM starts, containers included, ends when the `unshare` below is killed: it is the only process that has to
# be remembered. NETWORK is `own` (nothing but a loopback device) or `host`.
# The program sees a fresh /run and a fresh /sys; LXD reads both, and looks its network devices up in the latter.
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

case $network in own) network=--net ;; *) network= ;; esac
# shellcheck disable=SC2016,SC2086 # the inner shell expands its own words; an empty word must vanish
exec unshare $network --mount --pid --fork --kill-child --propagation private bash -euc '
  mount -t proc proc /proc
  mount -t tmpfs -o mode=755 run /run
  mkdir /run/cgroup
  mount --rbind /sys/fs/cgroup /run/cgroup
  mount -t sysfs sysfs /sys
  mount --rbind /run/cgroup /sys/fs/cgroup
  umount -l /run/cgroup
  ip link set lo up 2>/dev/null || true
  # not exec: the first process of a pid namespace inherits every orphan, and a shell buries them
  code=0
  "$@" || code=$?
  exit $code
' cell "$@"
