# guest.sh BUSYBOX FOLDER: the smallest real guest for a virtual machine: FOLDER/kernel and FOLDER/initrd.
#
# The kernel is Debian's own for clouds, taken out of its package and not installed. The initrd does what cloud-init does in a
# larger image: finds the seed by its label and runs the boot script of it, with its output on the console.
set -eu
busybox=$1 folder=$2
architecture=$(dpkg --print-architecture)
newest() {
  apt-cache depends --no-recommends "linux-image-cloud-$architecture" | sed -n 's/.*Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1
}
# a fresh image has no package lists
[ -n "$(newest)" ] || apt-get update -qq
mkdir -p "$folder/root" "$folder/package"
cd "$folder"
apt-get download -qq -o APT::Sandbox::User=root "$(newest)"
dpkg-deb --extract ./*.deb package
cp package/boot/vmlinuz-* kernel

root=$folder/root
mkdir -p "$root/bin" "$root/dev" "$root/proc" "$root/sys" "$root/seed" "$root/modules"
cp "$busybox" "$root/bin/busybox"
# in the order in which they need each other
for module in virtio_ring virtio virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci virtio_blk cdrom isofs; do
  file=$(find package/lib/modules -name "$module.ko*" | head -n 1)
  # what is not a module is in the kernel
  [ -n "$file" ] || continue
  cp "$file" "$root/modules/"
  echo "${file##*/}" >>"$root/modules/order"
done
cat >"$root/init" <<'END'
#!/bin/busybox sh
export PATH=/bin
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
while read -r module; do insmod "/modules/$module"; done </modules/order
exec >/dev/ttyS0 2>&1 </dev/null
for disk in /dev/vd*; do
  case $(dd if="$disk" bs=1 skip=32808 count=6 2>/dev/null) in cidata) mount -t iso9660 -o ro "$disk" /seed ;; esac
done
hostname "$(sed -n 's/^local-hostname: //p' /seed/meta-data)"
echo "guest is up as $(hostname)"
sh /seed/user-data
echo "boot script ended with $?"
while true; do sleep 3600; done
END
chmod 755 "$root/init"
(cd "$root" && find . | "$busybox" cpio -o -H newc) | gzip -1 >initrd
rm -rf root package ./*.deb
