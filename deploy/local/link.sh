#!/usr/bin/env bash
# link.sh up|cut|mend|down DIR, link.sh weather DIR LOST DETOURED: a network namespace of its own behind a link (a veth pair), for tests that lose
# real packets. DIR/link names the namespace; services that are to be reached from it listen at this end's address, DIR/link.here. `cut` takes the
# link down at this end and `mend` up again. `weather` loses LOST of 100 packets in each direction, and sends DETOURED of 100 a slow way round (256 kbit/s),
# so that they come late and others overtake them; 0 0 is fair weather. netem is not needed. It takes root (CAP_SYS_ADMIN and CAP_NET_ADMIN) and iproute2.
set -euo pipefail
usage='usage: link.sh up|cut|mend|down DIR | link.sh weather DIR LOST DETOURED'
action=${1:?$usage}
dir=$(cd "${2:?$usage}" && pwd)

fail() {
  if [ -s "$dir/link.log" ]; then cat "$dir/link.log" >&2; fi
  echo "link.sh $action: $1" >&2
  exit 1
}

# Address of an end: 1 is here, 2 there. Each number has a net of its own, of those that are set aside for tests of networks (RFC 2544).
address() { echo "198.$((18 + number / 16384)).$((number / 64 % 256)).$((number % 64 * 4 + $1))"; }

# The way round of an end: what goes into it comes in again at that end, one packet after the other.
make_detour() {
  "$@" link add "$detour" type ifb 2>>"$dir/link.log" || fail 'this kernel has no ifb (CONFIG_IFB)'
  "$@" link set "$detour" up
}

make_link() {
  local way
  for way in ip tc nsenter; do
    command -v "$way" >/dev/null || fail "$way is missing (Debian: apt-get install iproute2 util-linux)"
  done
  space=millrace-$PPID-$(basename "$dir")
  echo "$space" >"$dir/link"
  ip netns add "$space" 2>"$dir/link.log" ||
    fail 'a network namespace cannot be made: run this as root, in a container with --cap-add SYS_ADMIN --cap-add NET_ADMIN'
  for _ in $(seq 100); do
    number=$RANDOM
    # Who gets the name has the number, and its addresses, alone.
    if ip link add "mr$number" type veth peer name far netns "$space" 2>"$dir/link.log"; then
      echo "$number" >"$dir/link.number"
      break
    fi
    grep -q 'File exists' "$dir/link.log" || break
  done
  [ -e "$dir/link.number" ] || fail 'a veth pair cannot be made: it takes CAP_NET_ADMIN, and CONFIG_VETH in the kernel'
  # Each packet travels, and is lost, alone: no large ones that are cut further down.
  ip link set "mr$number" alias "$space" gso_max_segs 1 up
  ip addr add "$(address 1)/30" dev "mr$number"
  ip -n "$space" link set far gso_max_segs 1 up
  ip -n "$space" addr add "$(address 2)/30" dev far
  ip -n "$space" link set lo up
  detour=mrd$number make_detour ip
  detour=round make_detour ip -n "$space"
  tc qdisc add dev "mrd$number" root tbf rate 256kbit burst 1600 limit 16000
  tc -n "$space" qdisc add dev round root tbf rate 256kbit burst 1600 limit 16000
  address 1 >"$dir/link.here"
}

# Classic BPF over what comes in: so many of 100 packets, by a random number, get the answer $2, and the others the answer $3.
one_of() {
  echo "4,32 0 0 4294963256,53 0 1 $((4294967295 * $1 / 100)),6 0 0 $3,6 0 0 $2,"
}

# What comes in at a device: LOST of 100 packets end there (2 is TC_ACT_SHOT), of the others DETOURED of 100 go the way round.
turn() {
  local device=$1 detour=$2
  shift 2
  "$@" qdisc del dev "$device" clsact 2>/dev/null || : # There is none at first.
  "$@" qdisc add dev "$device" clsact || return
  "$@" filter add dev "$device" ingress prio 1 protocol all bpf da bytecode "$(one_of "$lost" 2 4294967295)" || return
  "$@" filter add dev "$device" ingress prio 2 protocol all bpf bytecode "$(one_of "$detoured" 4294967295 0)" \
    action mirred egress redirect dev "$detour"
}

if [ "$action" = up ]; then
  make_link
  exit
fi
space=$(cat "$dir/link")
number=$(cat "$dir/link.number" 2>/dev/null) || number=
case $action in
  cut) ip link set "mr$number" down ;;
  mend) ip link set "mr$number" up ;;
  weather)
    lost=${3:?$usage} detoured=${4:?$usage}
    : >"$dir/link.log"
    { turn "mr$number" "mrd$number" tc && turn far round tc -n "$space"; } 2>>"$dir/link.log" ||
      fail 'the weather cannot be made: it takes the classifier bpf and the action mirred (CONFIG_NET_CLS_BPF, CONFIG_NET_ACT_MIRRED)'
    ;;
  down)
    for device in ${number:+"mr$number" "mrd$number"}; do
      if ip link show dev "$device" >/dev/null 2>&1; then ip link del dev "$device"; fi
    done
    if [ -e "/run/netns/$space" ]; then ip netns del "$space"; fi
    rm -f "$dir"/link "$dir"/link.*
    ;;
  *)
    echo "link.sh: unknown action $action; $usage" >&2
    exit 2
    ;;
esac
