# uninstall SOCKET FOLDER
#
# What k3s-uninstall.sh does to a machine, as far as others than k3s see it, for the containerd at SOCKET and what it and kubelet
# keep in FOLDER: no container is asked to end, and no network is taken down.
set -eu

with_children() {
  for process in "$@"; do
    echo "$process"
    # shellcheck disable=SC2046
    with_children $(cat "/proc/$process/task/$process/children" 2>/dev/null)
  done
}
# shellcheck disable=SC2046
processes=$(with_children $(pgrep -f "containerd-shim-runc-v2 .*-address $1" || true))
[ -z "$processes" ] || kill -9 $processes 2>/dev/null || true

awk -v folder="$2/" 'index($2, folder) == 1 { print $2 }' /proc/mounts | sort -r | xargs -r umount -l
ip netns list | awk '/^cni-/ { print $1 }' | xargs -r -n 1 ip netns delete
rm -rf "$2"/containerd "$2"/containerd.sock* "$2"/kubelet /var/lib/cni
iptables-save | grep -v KUBE- | iptables-restore
