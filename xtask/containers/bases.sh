# bases.sh FOLDER: makes the two images that ours stand on, as archives, from the distribution's packages: no registry of images
# is asked. runtime.tar stands for gcr.io/distroless/cc-debian12 (a C library, certificate authorities, time zones, and no
# program at all), redis.tar for redis:7.2 (with Debian's Redis 7.0).
set -eu
cd "$1"
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Codename: bookworm' | head -1)
[ -n "$mirror" ] || { echo 'the package lists name no mirror of Debian 12 (bookworm)' >&2; exit 1; }
mmdebstrap --quiet --variant=extract --mode=root --format=directory \
  --include=base-files,libc6,libgcc-s1,ca-certificates,tzdata bookworm runtime "$mirror"
rm -rf runtime/usr/bin/* runtime/usr/sbin/* runtime/bin/* runtime/sbin/* runtime/usr/share/doc runtime/var/cache/apt
mkdir -p runtime/etc/ssl/certs runtime/home/nonroot
cat runtime/usr/share/ca-certificates/mozilla/*.crt >runtime/etc/ssl/certs/ca-certificates.crt
printf 'root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n' >runtime/etc/passwd
printf 'root:x:0:\nnonroot:x:65532:\n' >runtime/etc/group
tar --numeric-owner -C runtime -cf runtime.tar .
rm -rf runtime
mmdebstrap --quiet --variant=essential --mode=root --format=tar --include=redis-server bookworm redis.tar "$mirror"
