# units.sh LXC ARCHIVE BINARIES REPOSITORY: starts both units under the systemd of a Debian machine, and looks at what it made of
# their directives. There is no Redis and no network, so both services live and say what they miss; that they name the refused
# connection shows that they could read their secret.
set -eu
lxc=$1 archive=$2 binaries=$3 repository=$4
fail() { echo "$*" >&2; exit 1; }
inside() { "$lxc" exec units -- "$@"; }
push() { "$lxc" file push --quiet --uid 0 --gid 0 --mode "$1" "$2" "units$3"; }

"$lxc" image import --quiet "$archive" --alias debian
# the machine stands for a host: whoever is root in it may make the namespaces that the units ask for
"$lxc" init --quiet debian units --storage default -c security.privileged=true -c security.nesting=true
"$lxc" start units
state=
for _ in $(seq 100); do
  state=$(inside systemctl is-system-running 2>/dev/null) && break
  sleep 0.3
done
[ "$state" = running ] || fail "the machine is '$state': $(inside systemctl --failed --no-legend)"

inside mkdir -m 755 /etc/parmanu /etc/parmanu/bootstrap /etc/parmanu/secrets
secret=$(mktemp)
trap 'rm -f "$secret"' EXIT
echo not-a-secret >"$secret"
for name in gitlab_token gitlab_manage_token aws_id aws_secret; do push 400 "$secret" "/etc/parmanu/secrets/$name"; done
echo redis://nobody:not-a-secret@127.0.0.1:6379/ >"$secret"
for service in probot scaler; do
  push 755 "$binaries/$service" "/usr/local/bin/$service"
  push 400 "$secret" "/etc/parmanu/secrets/${service}_redis_url"
  push 644 "$repository/deploy/systemd/parmanu-$service.service" "/etc/systemd/system/parmanu-$service.service"
done
push 644 "$repository/config/services.yaml" /etc/parmanu/parmanu.yaml
for script in gitlab-runner guest; do
  push 644 "$repository/config/bootstrap/$script.sh.j2" "/etc/parmanu/bootstrap/$script.sh.j2"
done
inside systemctl daemon-reload
inside systemctl start parmanu-probot parmanu-scaler

has() { # has SERVICE SECRETS: its process has no right, and of the secrets these
  journal=
  for _ in $(seq 100); do
    journal=$(inside journalctl --no-pager --unit "parmanu-$1")
    case $journal in *'Redis cannot be reached: Connection refused'*) break ;; esac
    sleep 0.2
  done
  case $journal in
    *not-a-secret*) fail "$1 logged a secret" ;;
    *'Redis cannot be reached: Connection refused'*) ;;
    *) fail "$1 does not say that it misses Redis: $journal" ;;
  esac
  inside "/usr/local/bin/$1" --health || fail "$1 does not live"
  process=$(inside systemctl show --property MainPID --value "parmanu-$1")
  status=$(inside grep -E '^(Uid|CapEff|NoNewPrivs|Seccomp):' "/proc/$process/status" | tr -s '\t\n' '  ')
  case $status in
    'Uid: 0 '*) fail "$1 is root" ;;
    *'CapEff: 0000000000000000 '*'NoNewPrivs: 1 '*'Seccomp: 2 '*) ;;
    *) fail "$1 has more than it should: $status" ;;
  esac
  seen=$(inside nsenter --target "$process" --mount ls /run/secrets | xargs)
  [ "$seen" = "$2" ] || fail "$1 sees the secrets '$seen'"
}
has probot 'gitlab_token redis_url'
has scaler 'aws_id aws_secret gitlab_manage_token gitlab_token redis_url'

inside systemctl stop parmanu-probot parmanu-scaler
for service in probot scaler; do
  ended=$(inside systemctl show --property Result --property ExecMainStatus --value "parmanu-$service" | xargs)
  [ "$ended" = 'success 0' ] || fail "$service ended with $ended"
done
version=$(inside systemctl --version | sed -n '1s/^\(systemd [0-9]*\).*/\1/p')
"$lxc" delete --quiet --force units
echo "both started by $version, without rights, each with its own secrets, and ended well"
