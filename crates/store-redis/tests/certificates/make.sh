#!/bin/sh
# Makes the certificates of these tests anew: an authority, a server for 127.0.0.1, a client, and a second authority that signed
# none of them. Their keys protect nothing.
set -eu
cd "$(dirname "$0")"
authority() { # authority NAME
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 36500 -subj "/CN=test authority $1" \
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign -keyout "$1.key" -out "$1.pem"
}
signed() { # signed NAME EXTENSIONS
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "/CN=test $1" -keyout "$1.key" -out "$1.csr"
  printf '%s\n' "$2" > "$1.ext"
  openssl x509 -req -in "$1.csr" -CA authority.pem -CAkey authority.key -CAcreateserial -days 36500 -extfile "$1.ext" -out "$1.pem"
  rm "$1.csr" "$1.ext"
}
authority authority
authority stranger
signed server 'subjectAltName=IP:127.0.0.1'
signed client 'extendedKeyUsage=clientAuth'
rm -f authority.key stranger.key authority.srl
