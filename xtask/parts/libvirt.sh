# libvirt.sh DAEMON FOLDER: a libvirtd for the tests, with its socket in FOLDER. Runs in a cell and ends with it.
#
# The daemon wants a user of its own and writes below /etc and /var. What it writes stays in FOLDER, and the user is in a copy of the
# lists, so that nothing of it is left on the machine. FOLDER/ready appears when it answers.
set -eu
daemon=$1 folder=$2
mkdir "$folder/var" "$folder/var.work"
mount -t overlay -o "lowerdir=/var,upperdir=$folder/var,workdir=$folder/var.work" libvirt /var
mkdir -p /var/lib/libvirt /var/cache/libvirt /var/log/libvirt
mount -t tmpfs -o mode=755 libvirt /etc/libvirt
for list in passwd group; do
  cp "/etc/$list" "$folder/$list"
  mount --bind "$folder/$list" "/etc/$list"
done
grep -q '^libvirt-qemu:' /etc/group || echo 'libvirt-qemu:x:64055:' >>/etc/group
grep -q '^libvirt-qemu:' /etc/passwd || echo 'libvirt-qemu:x:64055:64055::/var/lib/libvirt:/usr/sbin/nologin' >>/etc/passwd
cat >/etc/libvirt/qemu.conf <<'END'
user = "root"
group = "root"
security_driver = "none"
cgroup_controllers = [ ]
namespaces = [ ]
stdio_handler = "file"
remember_owner = 0
END
cat >"$folder/libvirtd.conf" <<END
unix_sock_dir = "$folder"
auth_unix_ro = "none"
auth_unix_rw = "none"
END
"$daemon" --config "$folder/libvirtd.conf" --pid-file "$folder/libvirtd.pid" &
until virsh --connect "qemu+unix:///system?socket=$folder/libvirt-sock" version; do sleep 0.2; done
touch "$folder/ready"
wait
