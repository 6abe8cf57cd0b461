#!/bin/sh
# Makes the users of Redis for one fleet, with new passwords, and the address that each service is given:
#
#   deploy/redis/users.sh FLEET FOLDER [HOST]
#
# FLEET is `fleet:` of the configuration; HOST is where the services find Redis ("redis" if not given). Into FOLDER go
# redis_users.acl (for `redis-server --aclfile`), probot_redis_url and scaler_redis_url, readable by their owner only.
# Files that exist are not touched: to change the passwords, delete all three, run it again, restart Redis (docs/deploying.md).
set -eu

fleet=${1:?FLEET is missing, the fleet of the configuration}
folder=${2:?FOLDER is missing, where the files go}
host=${3:-redis}
case $fleet in
  *[!a-z0-9-]*) echo "$fleet is no name of a fleet: lowercase letters, digits and hyphens" >&2; exit 1 ;;
esac

umask 077
mkdir -p "$folder"
set -C # an existing file is an error

# The rights are those of docs/redis.md.
keys="~parmanu:v1:$fleet:*"
looks="~parmanu:v1:$fleet:emitter:* ~parmanu:v1:$fleet:*:workload"
wake="&parmanu:v1:$fleet:wake"
hint="&parmanu:v1:$fleet:hint"
verbs="+@read +@write +@connection -@dangerous -@scripting +evalsha +script|load +publish +subscribe +time"
probot="$looks $wake $hint $verbs"
scaler="$keys $wake $verbs"

user() { # user NAME RIGHTS: its line of the ACL file, and its address as a file
  password=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
  printf 'redis://%s:%s@%s:6379/\n' "$1" "$password" "$host" > "$folder/$1_redis_url"
  hash=$(printf %s "$password" | sha256sum | cut -d ' ' -f 1)
  printf 'user %s reset on #%s %s\n' "$1" "$hash" "$2"
}

{
  echo 'user default reset off'
  echo 'user health reset on nopass +ping' # may ask whether it lives
  user probot "$probot"
  user scaler "$scaler"
} > "$folder/redis_users.acl"
