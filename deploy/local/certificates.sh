#!/usr/bin/env bash
# certificates.sh DIR: makes a certificate authority in DIR, a certificate of 127.0.0.1 and localhost that it signs (server.pem), one of the same key
# whose time is over (expired.pem), and another authority that signs nothing. For development and tests: the keys lie open.
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
  # `openssl ca` alone sets both ends of the time; it wants a folder in order beside its arguments.
  printf '%s\n' '[ca]' default_ca=expired '[expired]' database=expired.index serial=expired.serial new_certs_dir=. default_md=sha256 policy=any \
    '[any]' commonName=supplied >expired.cnf
  : >expired.index
  echo 01 >expired.serial
  openssl ca -batch -notext -config expired.cnf -cert ca.pem -keyfile ca.key -startdate 20200101000000Z -enddate 20200201000000Z \
    -extfile server.ext -in server.csr -out expired.pem || return
  # What Kafka reads as a keystore.
  cat server.key server.pem >kafka.pem
  cat server.key expired.pem >kafka-expired.pem
}
if ! make_all >certificates.log 2>&1; then
  cat certificates.log >&2
  echo "certificates: openssl failed" >&2
  exit 1
fi
