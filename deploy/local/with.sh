#!/usr/bin/env bash
# with.sh COMMAND...: runs a command beside a private Kafka and Postgres, and leaves nothing running.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
dir=$(mktemp -d /tmp/millrace-services.XXXXXX)
trap '"$here/down.sh" "$dir"' EXIT
"$here/up.sh" "$dir" >&2
. "$dir/env"
"$@"
