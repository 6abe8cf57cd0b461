# debian.sh FOLDER: makes FOLDER/debian.tar, an image for LXD with systemd and cloud-init, from the distribution's packages.
# FOLDER/buildbot-worker is put into it. What costs time at boot and shows nothing here is switched off.
set -eu
cd "$1"
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Codename: bookworm' | head -1)
[ -n "$mirror" ] || { echo 'the package lists name no mirror of Debian 12 (bookworm)' >&2; exit 1; }
mmdebstrap --quiet --variant=minbase --mode=root --format=directory \
  --include=systemd-sysv,dbus,cloud-init,iproute2,kmod,locales \
  --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
  --dpkgopt='path-exclude=/usr/share/locale/*' bookworm rootfs "$mirror"
install -m 755 buildbot-worker rootfs/usr/local/bin/buildbot-worker
cat >rootfs/etc/cloud/cloud.cfg.d/90-lxd.cfg <<'CLOUD'
datasource_list: [ LXD, None ]
network: {config: disabled}
locale: false
users: []
cloud_init_modules: [ seed_random, bootcmd, write-files, set_hostname, update_hostname ]
cloud_config_modules: [ runcmd ]
cloud_final_modules: [ scripts-vendor, scripts-per-once, scripts-per-boot, scripts-per-instance, scripts-user, final-message ]
CLOUD
: >rootfs/etc/machine-id
echo nameserver 127.0.0.1 >rootfs/etc/resolv.conf
for unit in apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer \
  dpkg-db-backup.timer systemd-timesyncd.service getty@tty1.service console-getty.service networking.service \
  systemd-binfmt.service systemd-udevd.service systemd-udev-trigger.service systemd-udevd-control.socket \
  systemd-udevd-kernel.socket; do
  ln -sf /dev/null "rootfs/etc/systemd/system/$unit"
done
printf 'architecture: %s\ncreation_date: 1700000000\nproperties: { os: debian }\n' "$(uname -m)" >metadata.yaml
tar --numeric-owner -cf debian.tar.new metadata.yaml rootfs
mv debian.tar.new debian.tar
rm -rf rootfs metadata.yaml buildbot-worker
