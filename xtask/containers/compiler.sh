# compiler.sh FOLDER: makes compiler.tar, which stands for the image of Rust that the Dockerfile compiles in: Debian 12 with a C
# compiler and, where that image has them, the Rust toolchain of this machine. It has fewer packages than the real one, so that what
# compiles here compiles there.
set -eu
cd "$1"
sysroot=$(rustc --print sysroot)
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Codename: bookworm' | head -1)
[ -n "$mirror" ] || { echo 'the package lists name no mirror of Debian 12 (bookworm)' >&2; exit 1; }
mmdebstrap --quiet --variant=minbase --mode=root --format=directory \
  --include=gcc,libc6-dev,make,ca-certificates bookworm compiler "$mirror"
rust=compiler/usr/local/rustup/toolchains/here
mkdir -p "$rust/bin" "$rust/lib/rustlib" compiler/usr/local/cargo/bin
cp "$sysroot/bin/cargo" "$sysroot/bin/rustc" "$rust/bin/"
cp "$sysroot"/lib/*.so* "$rust/lib/"
cp -R "$sysroot"/lib/rustlib/*-linux-gnu "$rust/lib/rustlib/"
for program in cargo rustc; do ln -s "/usr/local/rustup/toolchains/here/bin/$program" "compiler/usr/local/cargo/bin/$program"; done
tar --numeric-owner -C compiler -cf compiler.tar .
rm -rf compiler
