#!/usr/bin/env bash
# The authority of a site: who may speak to its broker, and under which name. Needs openssl 1.1.1 or later and flock (util-linux).
#
#   ca.sh init                               makes the authority, in the folder $CA (./pawl-ca unless set)
#   ca.sh broker <host name or address>...   a key and a certificate for the broker: broker.key, broker.crt
#   ca.sh server <name> <host or address>... the same for another server of the site, a registry say: <name>.key, <name>.crt
#   ca.sh sign [--renew] <request> [<name>]  signs a request of `pawl enroll`, which must be for this name: <name>.crt
#   ca.sh revoke <name> [<serial>]           revokes all certificates of a box, or one of them; crl.pem is made anew
#   ca.sh crl                                makes crl.pem anew
#   ca.sh list                               every certificate: state, end, serial, name
#
# DAYS is the life of what is signed: 90 days for a box, 365 for a server, unless set.
set -euo pipefail
umask 077

folder=${CA:-pawl-ca}
# A topic, an access list and a path can bear it: the rule of `device` in pawl's configuration.
name_rule='[A-Za-z0-9_-]{1,64}'

fail() {
  echo "ca.sh: $*" >&2
  exit 1
}

usage() {
  sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0" >&2
  exit 2
}

days() {
  local days=${DAYS:-$1}
  [[ $days =~ ^[1-9][0-9]{0,4}$ ]] || fail "DAYS is \"$days\"; give a whole number of days"
  echo "$days"
}

openssl_ca() {
  FOLDER=$folder openssl ca -batch -notext -config "$folder/openssl.cnf" "$@" 2>"$folder/last-error" || {
    cat "$folder/last-error" >&2
    fail "openssl did not do it; nothing was changed"
  }
}

# One at a time: two would give out one serial.
enter() {
  [ -f "$folder/index.txt" ] || fail "there is no authority in $folder; make one with \`ca.sh init\`, or say where it is with CA=<folder>"
  exec 9>"$folder/lock"
  flock 9
  # What has ended by now counts no more.
  openssl_ca -updatedb
}

# SHA-256 of a public key that comes in as PEM.
fingerprint() {
  openssl pkey -pubin -outform DER | sha256sum | cut -d ' ' -f 1
}

# Revoked certificates are told until the end of time: a list that ended would shut all boxes out.
make_crl() {
  openssl_ca -gencrl -out "$folder/crl.pem.new"
  mv "$folder/crl.pem.new" "$folder/crl.pem"
  # The broker's user reads it; nothing in it is secret.
  chmod 644 "$folder/crl.pem"
}

# Serials of the certificates of a name that count: neither revoked nor ended.
serials_of() {
  awk -F '\t' -v subject="/CN=$1" '$1 == "V" && $6 == subject { print $4 }' "$folder/index.txt"
}

init() {
  [ ! -e "$folder" ] || fail "$folder is there already; an authority is made once"
  local making
  making=$(mktemp -d "$folder.XXXXXX")
  mkdir "$making/certs"
  : >"$making/index.txt"
  echo 'unique_subject = no' >"$making/index.txt.attr"
  echo 01 >"$making/crlnumber"
  cat >"$making/openssl.cnf" <<'CONFIGURATION'
[ca]
default_ca = site
[site]
database = $ENV::FOLDER/index.txt
new_certs_dir = $ENV::FOLDER/certs
crlnumber = $ENV::FOLDER/crlnumber
private_key = $ENV::FOLDER/ca.key
certificate = $ENV::FOLDER/ca.crt
rand_serial = yes
default_md = sha256
default_crl_days = 7300
policy = name_alone
copy_extensions = none
unique_subject = no
x509_extensions = box
[name_alone]
commonName = supplied
[authority]
basicConstraints = critical, CA:TRUE, pathlen:0
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[box]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = clientAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
CONFIGURATION
  openssl ecparam -name prime256v1 -genkey -noout -out "$making/ca.key"
  openssl req -new -key "$making/ca.key" -subj "/CN=authority" -out "$making/ca.csr"
  (folder=$making sign_as "$making/ca.csr" "/CN=pawl authority $(openssl rand -hex 4)" 7300 "$making/ca.crt" -selfsign -extensions authority)
  (folder=$making make_crl)
  rm "$making/ca.csr"
  mv "$making" "$folder"
  echo "the authority is in $folder; who has $folder/ca.key can speak as any box: keep the folder off the broker, and a copy in a safe"
  echo "$folder/ca.crt and $folder/crl.pem go to the broker, $folder/ca.crt to every box"
  openssl x509 -in "$folder/ca.crt" -noout -fingerprint -sha256
}

# Signs a request, whatever is in it, as this subject with these extensions.
sign_as() {
  local request=$1 subject=$2 life=$3 out=$4 start
  shift 4
  # Clocks differ: it counts from an hour ago.
  start=$(date -u -d '1 hour ago' +%Y%m%d%H%M%SZ)
  openssl_ca -in "$request" -subj "$subject" -startdate "$start" -days "$life" -out "$out" "$@"
  [ -s "$out" ] || fail "openssl signed nothing: $(cat "$folder/last-error")"
  chmod 644 "$out"
}

broker() {
  server broker "$@"
}

server() {
  local name=${1:-} names='' host life own subject
  [[ $name =~ ^$name_rule$ ]] || usage
  [ "$name" != ca ] || fail "\"ca\" is the authority itself; give the server another name"
  shift
  [ $# -gt 0 ] || fail "under which host names or addresses is it reached? Name them all"
  for host in "$@"; do
    [[ $host =~ ^[A-Za-z0-9.:-]{1,253}$ ]] || fail "\"$host\" is neither a host name nor an address"
    if [[ $host =~ ^[0-9.]+$ || $host == *:* ]]; then names+=",IP:$host"; else names+=",DNS:$host"; fi
  done
  life=$(days 365)
  enter
  own="$folder/$name"
  subject="$name of $1"
  openssl ecparam -name prime256v1 -genkey -noout -out "$own.key.new"
  openssl req -new -key "$own.key.new" -subj "/CN=$name" -out "$own.csr"
  # A common name is no longer (RFC 5280); nobody judges a server by it.
  sign_as "$own.csr" "/CN=${subject:0:64}" "$life" "$own.crt.new" -extfile <(
    printf '%s\n' 'basicConstraints = critical, CA:FALSE' 'keyUsage = critical, digitalSignature' 'extendedKeyUsage = serverAuth' \
      'authorityKeyIdentifier = keyid' "subjectAltName = ${names#,}"
  )
  mv "$own.key.new" "$own.key"
  mv "$own.crt.new" "$own.crt"
  rm "$own.csr"
  echo "$own.crt and $own.key go to the $name; until $(end_of "$own.crt")"
}

end_of() {
  openssl x509 -in "$1" -noout -enddate | cut -d = -f 2
}

sign() {
  local renew=false request subject name public serial life out
  if [ "${1:-}" = --renew ]; then
    renew=true
    shift
  fi
  request=${1:-}
  [ -n "$request" ] || usage
  [ -r "$request" ] || fail "$request cannot be read"
  # Before version 3.2 openssl tells a wrong signature in words alone.
  openssl req -in "$request" -noout -verify 2>&1 | grep -q 'verify OK' || fail "$request is no certificate request in PEM that its own key has signed"
  subject=$(openssl req -in "$request" -noout -subject -nameopt RFC2253)
  [[ $subject =~ ^subject=CN=($name_rule)$ ]] \
    || fail "$request is for \"${subject#subject=}\"; a box's request names the box and nothing else: letters, digits, - and _, 64 at most"
  name=${BASH_REMATCH[1]}
  [ $# -lt 2 ] || [ "$2" = "$name" ] || fail "$request is for \"$name\", not for \"$2\"; nothing was signed"
  life=$(days 90)
  enter
  public=$(openssl req -in "$request" -noout -pubkey)
  for serial in $(serials_of "$name"); do
    [ "$(openssl x509 -in "$folder/certs/$serial.pem" -noout -pubkey)" != "$public" ] \
      || fail "$request was signed already: $folder/certs/$serial.pem; a renewed certificate has a new key (pawl enroll --renew)"
    $renew || fail "\"$name\" has a certificate until $(end_of "$folder/certs/$serial.pem"): is this its next one (--renew), or other hardware (\`ca.sh revoke $name\` first)?"
  done
  out="$name.crt"
  sign_as "$request" "/CN=$name" "$life" "$folder/$out.new"
  mv "$folder/$out.new" "$out"
  echo "$out goes back to the box; until $(end_of "$out")"
  echo "SHA-256 of the public key: $(fingerprint <<<"$public")"
}

revoke() {
  local name=${1:-} only=${2:-} serial revoked=0
  [[ $name =~ ^$name_rule$ ]] || usage
  enter
  for serial in $(serials_of "$name"); do
    [ -z "$only" ] || [ "$only" = "$serial" ] || continue
    openssl_ca -revoke "$folder/certs/$serial.pem"
    revoked=$((revoked + 1))
  done
  make_crl
  [ "$revoked" -gt 0 ] || fail "\"$name\" has no certificate${only:+ $only} that counts; see \`ca.sh list\`"
  echo "$revoked revoked; take $folder/crl.pem to the broker, and restart it (systemctl restart mosquitto)"
}

crl() {
  enter
  make_crl
  echo "$folder/crl.pem is new"
}

list() {
  enter
  awk -F '\t' '
    BEGIN { state["V"] = "counts"; state["R"] = "revoked"; state["E"] = "ended" }
    { end = $2; if (length(end) == 13) end = "20" end
      printf "%-8s until %s-%s-%s  %s  %s\n", state[$1], substr(end, 1, 4), substr(end, 5, 2), substr(end, 7, 2), $4, substr($6, 5) }' "$folder/index.txt"
}

case ${1:-} in
  init | broker | server | sign | revoke | crl | list) "$@" ;;
  *) usage ;;
esac
