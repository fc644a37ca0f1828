#!/usr/bin/env bash
# Makes sure of what a local Kafka and Postgres need: a JDK and Maven, Kafka's jars from Maven Central, PostgreSQL.
# As root on Debian also iproute2, with which some tests lose packets.
# --postgres-only leaves out what Kafka needs; --tls adds what a build with the feature `tls` links.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${MILLRACE_CACHE:-$HOME/.cache/millrace}
. "$here/find_postgres.sh"
can_install=
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then can_install=1; fi

# Installs packages through apt.
install_packages() {
  mkdir -p /etc/postgresql-common
  [ -e /etc/postgresql-common/createcluster.conf ] || echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf
  apt-get update -q >&2
  DEBIAN_FRONTEND=noninteractive apt-get install -yq --no-install-recommends "$@" >&2
}

# Runs a goal of Maven's dependency plugin.
fetch() {
  local goal=$1
  shift
  mkdir -p "$cache"
  if ! mvn -B -ntp -q "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:$goal" "$@" >"$cache/maven.log" 2>&1; then
    cat "$cache/maven.log" >&2
    echo "setup: Maven could not fetch what it was asked for" >&2
    return 1
  fi
}

# PostgreSQL from Maven Central: initdb, pg_ctl and postgres alone, for machines where it can neither be found nor installed.
fetch_postgres() {
  local version=18.6.0 machine fresh
  case $(uname -m) in
    x86_64) machine=amd64 ;;
    aarch64) machine=arm64v8 ;;
    *)
      echo "setup: there is no PostgreSQL to fetch for $(uname -m); install it" >&2
      return 1
      ;;
  esac
  if ! command -v mvn >/dev/null; then
    if [ -z "$can_install" ] || ! install_packages openjdk-17-jre-headless maven; then
      echo "setup: PostgreSQL is missing; install it, or Maven and a JDK, with which it is fetched" >&2
      return 1
    fi
  fi
  echo "setup: fetching PostgreSQL $version" >&2
  mkdir -p "$postgres_cache"
  fresh=$(mktemp -d "$postgres_cache/fresh.XXXXXX")
  # Maven leaves its marks where it runs.
  (cd "$fresh" && fetch unpack -Dartifact="io.zonky.test.postgres:embedded-postgres-binaries-linux-$machine:$version" \
    -DoutputDirectory="$fresh/jar") || return
  mkdir "$fresh/postgres"
  tar -xJf "$fresh"/jar/postgres-*.txz -C "$fresh/postgres" || return
  chmod -R a+rX "$fresh"
  rm -rf "$postgres_cache/postgres-$version"
  mv "$fresh/postgres" "$postgres_cache/postgres-$version"
  rm -rf "$fresh"
}

need=()
if [ "${1:-}" != --postgres-only ]; then
  command -v java >/dev/null || need+=(openjdk-17-jre-headless)
  command -v mvn >/dev/null || need+=(maven)
  command -v openssl >/dev/null || need+=(openssl)
  # Services go without; the tests that need it say so.
  if [ -n "$can_install" ] && ! command -v tc >/dev/null; then need+=(iproute2); fi
fi
if [ "${1:-}" = --tls ] && ! pkg-config --exists 'openssl >= 3' 2>/dev/null; then need+=(libssl-dev pkg-config); fi
if ((${#need[@]})); then
  if [ -z "$can_install" ]; then
    echo "setup: missing: ${need[*]}. Install them (as root on Debian: apt-get install ${need[*]}) and run this again." >&2
    exit 1
  fi
  install_packages "${need[@]}"
fi
if ! postgres_bin >/dev/null; then
  if [ -n "$can_install" ]; then install_packages postgresql || echo "setup: apt could not install PostgreSQL" >&2; fi
  postgres_bin >/dev/null || fetch_postgres
fi
if [ "${1:-}" = --postgres-only ]; then exit 0; fi
key=$(sha256sum "$here/pom.xml" | cut -c1-16)
jars=$cache/kafka-$key
if [ ! -e "$jars/complete" ]; then
  mkdir -p "$cache"
  fresh=$(mktemp -d "$cache/kafka.XXXXXX")
  echo "setup: fetching Kafka's jars" >&2
  fetch copy-dependencies -f "$here/pom.xml" -DincludeScope=runtime -DoutputDirectory="$fresh"
  touch "$fresh/complete"
  rm -rf "$jars"
  mv "$fresh" "$jars"
fi
echo "$jars"
