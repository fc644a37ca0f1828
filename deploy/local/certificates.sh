#!/usr/bin/env bash
# certificates.sh DIR: makes a certificate authority in DIR, a certificate of 127.0.0.1 and localhost that it signs, and another
# authority that signs nothing. For development and tests: the keys lie open.
set -euo pipefail
dir=${1:?usage: certificates.sh DIR}
mkdir -p "$dir"
cd "$dir"
make_all() {
  local key=(-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes)
  for name in ca other-ca; do
    openssl req -x509 "${key[@]}" -days 30 -keyout "$name.key" -out "$name.pem" -subj "/CN=Millrace development $name" \
      -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign || return
  done
  openssl req "${key[@]}" -keyout server.key -out server.csr -subj /CN=localhost || return
  printf 'basicConstraints=CA:FALSE\nsubjectAltName=IP:127.0.0.1,DNS:localhost\n' >server.ext
  openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -out server.pem -extfile server.ext || return
  cat server.key server.pem >kafka.pem # what Kafka reads as a keystore
}
if ! make_all >certificates.log 2>&1; then
  cat certificates.log >&2
  echo "certificates: openssl failed" >&2
  exit 1
fi
