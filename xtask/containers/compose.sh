# compose.sh FOLDER: puts Debian 13's Compose 2 into FOLDER/docker-compose. The package is static and is only unpacked; apt reads
# the lists of that release in a folder of their own, so nothing of the machine's own changes.
set -eu
cd "$1"
mkdir -p lists/partial archives
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Codename: bookworm' | head -1)
[ -n "$mirror" ] || { echo 'the package lists name no mirror of Debian' >&2; exit 1; }
printf 'Types: deb\nURIs: %s\nSuites: trixie\nComponents: main\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n' "$mirror" >trixie.sources
apt() { apt-get -qq -o Dir::Etc::sourcelist="$PWD/trixie.sources" -o Dir::Etc::sourceparts=- -o Dir::State::lists="$PWD/lists" "$@"; }
apt update
apt download docker-compose
dpkg -x docker-compose_*.deb unpacked
mv unpacked/usr/libexec/docker/cli-plugins/docker-compose docker-compose
rm -rf lists archives unpacked trixie.sources docker-compose_*.deb
