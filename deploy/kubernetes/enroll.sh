#!/usr/bin/env bash
# Gives the box of a node its certificate. Run by whoever holds the authority (../broker/ca.sh, CA) and may exec in the namespace "pawl":
#   enroll.sh <node>            for the request that its pod waits with
#   enroll.sh --renew <node>    its next certificate; the one in use stays until that is in place
# A request for another name than the node's is refused. NAMESPACE is "pawl" unless set, CA ./pawl-ca.
set -euo pipefail
umask 077

namespace=${NAMESPACE:-pawl}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
config=/etc/pawl/pawl.yaml
signed=/data/tls/signed.crt
# From here: the work is done in another folder.
CA=${CA:-pawl-ca}
[[ $CA == /* ]] || CA=$PWD/$CA
export CA

fail() {
  echo "enroll.sh: $*" >&2
  exit 1
}

renew=false
if [ "${1:-}" = --renew ]; then
  renew=true
  shift
fi
node=${1:-}
[ -n "$node" ] || fail "whose certificate? Name the node"
[[ $node =~ ^[A-Za-z0-9_-]{1,64}$ ]] || fail "the node is \"$node\": a box's name has letters, digits, - and _ only, 64 at most; a node with another name cannot be a box"

[ -r "$CA/ca.key" ] || fail "there is no authority in $CA; say where it is with CA=<folder>"

pod=$(kubectl --namespace "$namespace" get pods --selector app.kubernetes.io/name=pawl --field-selector "spec.nodeName=$node" --output 'jsonpath={.items[0].metadata.name}') \
  || fail "kubectl finds no pods in \"$namespace\""
[ -n "$pod" ] || fail "no box runs on \"$node\": is the node labeled, and named as \`kubectl get nodes\` names it?"

# In the container that asks: at the first start it waits, later the box itself does.
container=enroll
$renew && container=pawl
inside() {
  kubectl --namespace "$namespace" exec --stdin "$pod" --container "$container" -- "$@"
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

if $renew; then inside pawl enroll --config "$config" --renew </dev/null; fi
inside cat "/data/tls/$node.csr" </dev/null >request.csr || fail "the pod $pod has no request for \"$node\"; see its log (kubectl logs $pod -c $container)"
[ -s request.csr ] || fail "the request of $pod is empty; see its log"
if $renew; then "$here/../broker/ca.sh" sign --renew request.csr "$node"; else "$here/../broker/ca.sh" sign request.csr "$node"; fi
# shellcheck disable=SC2016 # $1 is for the shell inside
inside sh -c 'cat >"$1.new" && mv "$1.new" "$1"' put "$signed" <"$node.crt"
if $renew; then
  inside pawl enroll --config "$config" --install "$signed" --ca /etc/pawl/authority/ca.crt </dev/null
  inside rm "$signed" </dev/null
fi
echo "$node has its certificate"
