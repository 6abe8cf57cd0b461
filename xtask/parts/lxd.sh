# lxd.sh DAEMON CLIENT ARCHIVE FOLDER PORT: an LXD for the tests, with the small image, on a socket in FOLDER and over HTTPS.
# Runs in a cell and ends with it. FOLDER/ready appears when everything answers.
set -eu
daemon=$1 client=$2 archive=$3 folder=$4 port=$5
export LXD_DIR=$folder/lxd LXD_CONF=$folder/client
mkdir -p "$LXD_DIR" "$LXD_CONF"
"$daemon" --group root --logfile "$folder/lxd.log" &
"$daemon" waitready --timeout 60
"$client" storage create default dir
"$client" image import "$archive" --alias small
# the client makes its certificate when it first speaks to somebody far away, and is trusted for the password
"$client" config set core.https_address "127.0.0.1:$port"
"$client" config set core.trust_password not-a-secret
"$client" remote add cell "https://127.0.0.1:$port" --accept-certificate --password not-a-secret
cp "$LXD_DIR/server.crt" "$LXD_DIR/server.key" "$folder/client"
touch "$folder/ready"
wait
