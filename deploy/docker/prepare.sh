#!/usr/bin/env bash
# Makes what compose.yaml needs and no repository may hold, in secrets/ beside it: the site's authority, certificates and passwords.
#   docker compose run --rm keys       needs nothing on the host; or, where openssl, node and pawl are: ./prepare.sh
# What is there already stays; a certificate that ends within 30 days is renewed, for which secrets/authority must be here. PAWL_DEVICE names the box;
# BROKER_HOSTS is what boxes elsewhere call this machine (names and addresses, by spaces).
set -euo pipefail
# Each service reads its own folder, as a member of the group that owns it; others read nothing.
umask 027

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export PAWL_DEVICE=${PAWL_DEVICE:-box-1}
export CA="$here/secrets/authority"

fail() {
  echo "prepare.sh: $*" >&2
  exit 1
}

ca() {
  "$here/../broker/ca.sh" "$@"
}

# Takes a file's place in one step, readable by the group.
put() {
  install -m 0640 "$1" "$2.new"
  mv "$2.new" "$2"
}

password() {
  [ -s "$1" ] || { openssl rand -hex 24 >"$1.new" && mv "$1.new" "$1"; }
}

# mosquitto's form of a password: PBKDF2 with SHA-512. It comes by the standard input, where `ps` does not show it.
mosquitto_hash() {
  # shellcheck disable=SC2016 # it is JavaScript
  node -e '
    const { pbkdf2Sync, randomBytes } = require("node:crypto")
    const salt = randomBytes(12), rounds = 101
    const key = pbkdf2Sync(require("node:fs").readFileSync(0, "utf8").trim(), salt, rounds, 64, "sha512")
    console.log(`$7$${rounds}$${salt.toString("base64")}$${key.toString("base64")}`)'
}

ends_soon() {
  ! openssl x509 -in "$1" -noout -checkend 2592000 >/dev/null
}

end_of() {
  openssl x509 -in "$1" -noout -enddate | cut -d = -f 2
}

# A key that stays on this side, and what the authority makes of its request. $1: "--renew", or nothing for a first certificate.
certify() {
  pawl enroll --config "$here/pawl.yaml" "$@"
  [ -f "$PAWL_DEVICE.crt" ] || ca sign "$@" "box/$PAWL_DEVICE.csr" "$PAWL_DEVICE"
  pawl enroll --config "$here/pawl.yaml" --install "$PAWL_DEVICE.crt" --ca authority/ca.crt
  rm "$PAWL_DEVICE.crt"
}

mkdir -p "$here/secrets"
cd "$here/secrets"
mkdir -p broker box fleet

# Boxes and people trust the authority whose certificate they have: no other takes its place.
for known in broker box fleet; do
  [ ! -f authority/ca.crt ] || [ ! -f "$known/ca.crt" ] || cmp -s authority/ca.crt "$known/ca.crt" \
    || fail "secrets/authority is another authority than that of secrets/$known/ca.crt; bring the former back, or move secrets/broker, secrets/box and secrets/fleet away to begin anew"
done
if [ -f box/box.pem ]; then
  name=$(openssl x509 -in box/box.pem -noout -subject -nameopt RFC2253)
  [ "$name" = "subject=CN=$PAWL_DEVICE" ] || fail "secrets/box is of \"${name#subject=CN=}\", and PAWL_DEVICE is \"$PAWL_DEVICE\": name the box as before, or move secrets/box away"
fi

certificates() {
  [ -d authority ] || ca init
  if [ ! -f authority/broker.crt ] || ends_soon authority/broker.crt; then
    # shellcheck disable=SC2086 # several words are several names
    ca broker broker localhost 127.0.0.1 ${BROKER_HOSTS:-}
  fi
  for file in broker.key broker.crt ca.crt crl.pem; do put "authority/$file" "broker/$file"; done
  for service in box fleet; do put authority/ca.crt "$service/ca.crt"; done
  if [ ! -f box/box.pem ]; then certify; elif ends_soon box/box.pem; then certify --renew; fi
  chmod 0640 box/box.pem
}

# Its key may be kept elsewhere as long as nothing is to be signed.
without_authority() {
  local file
  for file in broker/{broker.key,broker.crt,ca.crt,crl.pem} {box,fleet}/ca.crt box/box.pem; do
    [ -f "$file" ] || fail "secrets/$file is missing, and secrets/authority, which would make it, is not here: bring secrets/authority back"
  done
  for file in broker/broker.crt box/box.pem; do
    ! ends_soon "$file" || fail "secrets/$file ends $(end_of "$file"), and secrets/authority, which signs the next one, is not here: bring secrets/authority back"
    echo "secrets/$file lasts until $(end_of "$file")"
  done
  echo "nothing to renew; secrets/authority is not here, and not needed before 30 days from then"
}

if [ ! -f authority/ca.key ] && [ -n "$(find broker box fleet -name '*.crt' -o -name '*.pem')" ]; then without_authority; else certificates; fi
for file in "$here"/../broker/*.acl; do put "$file" "broker/$(basename "$file")"; done

# One password opens the two pages; Prometheus asks `pawl fleet` with it too.
password page-password
password grafana-password
password fleet/broker-password
for service in box fleet; do
  [ -s "$service/page-password-hash" ] || pawl password --out "$service/page-password-hash" <page-password
  chmod 0640 "$service/page-password-hash"
done
[ -s broker/people.passwords ] || {
  printf 'fleet:%s\n' "$(mosquitto_hash <fleet/broker-password)" >broker/people.passwords.new
  mv broker/people.passwords.new broker/people.passwords
}

echo "ready: docker compose up -d"
echo "secrets/page-password opens the pages of the box and of the fleet, secrets/grafana-password Grafana (user admin)"
[ ! -f authority/ca.key ] || echo "secrets/authority signs for other boxes: keep a copy of it in a safe, and take it off this machine; renewing needs it here again"
