#!/usr/bin/env bash
# enclosure NAME FOLDER COMMAND...
#
# Runs a command as on a machine of its own, in new namespaces of processes and mounts. It has control groups of its
# own, /run is empty, and what is written to /etc, /opt and /var is written to FOLDER instead. The first process is this
# script, so that everything ends with it.
set -euo pipefail

# Version 2, where it is mounted beside version 1, has no controllers.
mapfile -t hierarchies < <(cut -d: -f2 /proc/self/cgroup | grep .)

# A control group for each hierarchy, below that of whoever starts this.
if [[ $0 != inside ]]; then
  for controllers in "${hierarchies[@]}"; do
    path=$(awk -F: -v of="$controllers" '$2 == of { print $3 }' /proc/self/cgroup)
    above=/sys/fs/cgroup/${controllers#name=}$path
    mkdir -p "$above/$1"
    if [[ $controllers == cpuset ]]; then
      cat "$above/cpuset.cpus" >"$above/$1/cpuset.cpus"
      cat "$above/cpuset.mems" >"$above/$1/cpuset.mems"
    fi
    echo 0 >"$above/$1/cgroup.procs"
  done
  exec unshare --cgroup -- bash -c "$BASH_EXECUTION_STRING" inside "$@"
fi

mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup
for controllers in "${hierarchies[@]}"; do
  mkdir "/sys/fs/cgroup/${controllers#name=}"
  mount -t cgroup -o "${controllers/#name=/none,name=}" cgroup "/sys/fs/cgroup/${controllers#name=}"
done

mount -t tmpfs -o mode=755 tmpfs /run
mkdir /run/netns /run/lock
[[ -e $2/etc ]] || first=yes
for part in etc opt var; do
  mkdir -p "$2/$part/new" "$2/$part/work"
  mount -t overlay -o "lowerdir=/$part,upperdir=$2/$part/new,workdir=$2/$part/work" overlay "/$part"
done
# Of these it has nothing of the machine's, nor what comes to them later.
for own in /etc/cni /etc/hostnic /opt/cni /var/lib/cni /var/lib/hostnic /var/lib/kubelet /var/log; do
  [[ -z ${first:-} ]] || rm -rf "$own"
  mkdir -p "$own"
done
# Container runtimes hand mounts on to their containers.
mount --make-rshared /
ip link set lo up

shift 2
"$@"
# Not the last command, in whose place this shell would go: somebody has to wait for orphans.
exit
