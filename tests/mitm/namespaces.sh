#!/bin/sh
# Interception as it is meant: port 443, the system's own hosts file, the system's resolver, a client that is told nothing.
# In a network and a mount namespace of its own (unshare --net --mount), so that the machine is not touched. Its hosts file
# is a mount, as in a container: it cannot be renamed over.
# Arguments: the program, a folder with test.toml, hosts, vendor.pem, vendor-leaf.pem and vendor-key.pem, and the host.
set -eu
program=$1 dir=$2 host=$3
cd "$dir"
ip link set lo up
mount --make-rprivate /
mount --bind "$dir/hosts" /etc/hosts
cp hosts hosts-before
serve() {
    "$program" --config test.toml --data-dir data --addr 127.0.0.1:2402 >out 2>>log &
    router=$!
    until grep -q 'listening on' out 2>/dev/null; do kill -0 $router; done
}
mitm() { "$program" --config test.toml --data-dir data mitm "$@"; }
openssl s_server -accept 127.0.0.9:443 -cert vendor-leaf.pem -key vendor-key.pem -www -quiet >/dev/null 2>&1 &
vendor=$!
trap 'kill $vendor $router 2>/dev/null || true' EXIT
until curl -s --retry 20 --retry-connrefused --retry-delay 1 --cacert vendor.pem --resolve "$host:443:127.0.0.9" -o /dev/null "https://$host/"; do kill -0 $vendor; done
for end in stop kill term; do
    serve
    mitm start
    getent ahosts "$host" | awk '$1 != "127.0.0.1" && $1 != "::1" { exit 1 }'
    # The vendor's own page, under a certificate of ours. It serves one connection at a time: none is spent on asking what
    # it speaks.
    curl -sS --http1.1 --cacert data/mitm/rootCA.pem "https://$host/" | grep -q 's_server'
    if curl -s --cacert vendor.pem "https://$host/" >/dev/null; then echo "not intercepted"; exit 1; fi
    case $end in
    stop) mitm stop && kill $router ;;
    kill) kill -9 $router && wait $router || true; mitm repair ;;
    term) kill $router ;;
    esac
    wait $router 2>/dev/null || true
    cmp hosts-before /etc/hosts
    rm out
done
echo "all is as it was"
