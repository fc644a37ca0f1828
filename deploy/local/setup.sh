#!/usr/bin/env bash
# Makes sure of what a local Kafka and Postgres need: a JDK and Maven, Kafka's jars from Maven Central, PostgreSQL.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${MILLRACE_CACHE:-$HOME/.cache/millrace}
# --postgres-only leaves out what Kafka needs; --tls adds what a build with the feature `tls` links.
postgres_only=
if [ "${1:-}" = --postgres-only ]; then postgres_only=1; fi
need=()
if [ -z "$postgres_only" ]; then
  command -v java >/dev/null || need+=(openjdk-17-jre-headless)
  command -v mvn >/dev/null || need+=(maven)
  command -v openssl >/dev/null || need+=(openssl)
fi
if [ "${1:-}" = --tls ] && ! pkg-config --exists 'openssl >= 3' 2>/dev/null; then need+=(libssl-dev pkg-config); fi
compgen -G '/usr/lib/postgresql/*/bin/pg_ctl' >/dev/null || command -v pg_ctl >/dev/null || need+=(postgresql)
if ((${#need[@]})); then
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "setup: missing: ${need[*]}. Install them (as root on Debian: apt-get install ${need[*]}) and run this again." >&2
    exit 1
  fi
  mkdir -p /etc/postgresql-common
  [ -e /etc/postgresql-common/createcluster.conf ] || echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf
  apt-get update -q >&2
  DEBIAN_FRONTEND=noninteractive apt-get install -yq --no-install-recommends "${need[@]}" >&2
fi
if [ -n "$postgres_only" ]; then exit 0; fi
key=$(sha256sum "$here/pom.xml" | cut -c1-16)
jars=$cache/kafka-$key
if [ ! -e "$jars/complete" ]; then
  mkdir -p "$cache"
  fresh=$(mktemp -d "$cache/kafka.XXXXXX")
  echo "setup: fetching Kafka's jars" >&2
  if ! mvn -B -ntp -q -f "$here/pom.xml" org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies \
    -DincludeScope=runtime -DoutputDirectory="$fresh" >"$cache/maven.log" 2>&1; then
    cat "$cache/maven.log" >&2
    echo "setup: Maven could not fetch Kafka's jars" >&2
    exit 1
  fi
  touch "$fresh/complete"
  rm -rf "$jars"
  mv "$fresh" "$jars"
fi
echo "$jars"
