#!/usr/bin/env bash
# lint.sh [--quick]: checks what deploy/ ships as far as that goes without a cluster and without a container engine. deploy/README.md says what
# each check is. Tools come from the package registries, with fixed versions, into MILLRACE_CACHE; --quick leaves out those that Go has to build
# (some minutes once), unless they are there. What was skipped is said again at the end, and written to the file MILLRACE_NOT_CHECKED where that is set.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
quick=
if [ "${1:-}" = --quick ]; then quick=1; fi
tools=${MILLRACE_CACHE:-$HOME/.cache/millrace}/deploy-tools
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
helm_version=v3.22.0
compose_version=v2.16.2
# The oldest Kubernetes that the chart takes, and the newest whose schemas the validator has.
kubernetes=(1.27 1.31 1.37)

failed=()
skipped=()
# Runs one check; its output is shown when it fails.
check() {
  local name=$1
  shift
  if "$@" >"$work/out" 2>&1; then
    printf 'ok       %s\n' "$name"
  else
    printf 'FAILED   %s\n' "$name"
    sed 's/^/         /' "$work/out"
    failed+=("$name")
  fi
}
skip() {
  printf 'skipped  %s: %s\n' "$1" "$2"
  skipped+=("$1: $2")
}

python_tools() {
  local key venv
  key=$(sha256sum lint/requirements.txt | cut -c1-12)
  venv=$tools/venv-$key
  if [ ! -e "$venv/complete" ]; then
    mkdir -p "$tools"
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/pip" install -q --disable-pip-version-check -r lint/requirements.txt
    touch "$venv/complete"
  fi
  PATH=$venv/bin:$PATH
}

# go_tool NAME MODULE@VERSION: $tools/NAME-VERSION, built when it is not there.
go_tool() {
  local name=$1 module=$2 file=$tools/$1-${2##*@}
  if [ ! -x "$file" ]; then
    if [ -n "$quick" ] || ! command -v go >/dev/null; then return 1; fi
    echo "lint: building $name, once" >&2
    GOBIN=$work/go go install "$module" >"$work/go.log" 2>&1 || { cat "$work/go.log" >&2; return 1; }
    mkdir -p "$tools"
    mv "$work/go/$(basename "${module%@*}")" "$file"
  fi
  echo "$file"
}

# promtool of the PATH, else out of Debian's package, which is unpacked and not installed.
promtool_file() {
  if command -v promtool; then return; fi
  if [ ! -x "$tools/prometheus/usr/bin/promtool" ]; then
    command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || return 1
    mkdir -p "$work/deb"
    (cd "$work/deb" && { apt-get download -q prometheus || { apt-get update -q && apt-get download -q prometheus; }; }) >"$work/deb.log" 2>&1 || return 1
    mkdir -p "$tools"
    dpkg-deb -x "$work"/deb/prometheus_*.deb "$tools/prometheus"
  fi
  echo "$tools/prometheus/usr/bin/promtool"
}

dockerfile() {
  hadolint Dockerfile
  # One toolchain: what builds the image is what the tests run with.
  local wanted
  wanted=$(sed -n 's/^channel = "\(.*\)"$/\1/p' ../rust-toolchain.toml)
  grep -q "^ARG RUST_IMAGE=rust:$wanted-slim-bookworm$" Dockerfile || { echo "RUST_IMAGE is not $wanted of rust-toolchain.toml"; return 1; }
}

# Each way to build that is shipped tells the program its commit, by which two builds of one version differ in `millrace_build_info`.
revision() {
  local told
  told=$(make -s -C .. revision)
  if git -C .. rev-parse HEAD >/dev/null 2>&1; then
    case $told in "$(git -C .. rev-parse --short=12 HEAD)"*) ;; *) echo "make revision says $told"; return 1 ;; esac
  fi
  make -pn -C .. build >"$work/make" 2>/dev/null
  grep -qxF "build: MILLRACE_REVISION := $told" "$work/make" || { echo "make build sets no revision"; return 1; }
  # shellcheck disable=SC2016 # Compose expands it, not this shell.
  grep -qF 'REVISION: "${MILLRACE_REVISION:-unknown}"' compose.yaml || { echo "compose.yaml builds without a revision"; return 1; }
  if grep -n 'docker build -f' README.md Dockerfile | grep -v -- '--build-arg REVISION='; then echo "an image is built without a revision"; return 1; fi
  # A source without git builds all the same.
  cp ../Makefile "$work/Makefile"
  [ "$(GIT_CEILING_DIRECTORIES=$(dirname "$work") make -s -C "$work" revision)" = unknown ] || { echo "outside git the revision is not unknown"; return 1; }
}

# Every folder that the build needs is let in, and the sources alone make a package that cargo takes.
docker_context() {
  local context=$work/context
  mkdir -p "$context"
  (cd .. && git ls-files -z | grep -zE "$(sed -n 's/^!\(.*\)$/^\1(\/|$)/p' .dockerignore | paste -sd '|')" | xargs -0 cp --parents -t "$context")
  cargo metadata --manifest-path "$context/Cargo.toml" --locked --offline --no-deps --format-version 1 >/dev/null
  local include
  while IFS= read -r include; do
    [ -e "$include" ] || { echo "$include is included by a source and kept out by .dockerignore"; return 1; }
  done < <(cd "$context" && grep -rnoE 'include_(str|bytes)!\("[^"]+"\)' src | sed -E 's/^([^:]+):[0-9]+:include_[a-z]+!\("([^"]+)"\)$/\1 \2/' |
    while read -r source file; do echo "$context/$(dirname "$source")/$file"; done)
}

compose_loads() {
  mkdir -p "$work/compose"
  sed -E 's/\$\{[A-Z_]+:[?-][^}]*\}/lint/g' compose.yaml >"$work/compose/compose.yaml"
  if grep -n '\$[A-Z{]' "$work/compose/compose.yaml"; then echo "a variable without :? or :-"; return 1; fi
  "$1" "$work/compose/compose.yaml"
}

# Every port is published on loopback, no password has a value, every file that is mounted is there.
compose_habits() {
  local file
  if grep -nE '^ +ports:' compose.yaml | grep -v '127\.0\.0\.1:'; then echo "a port is published beyond loopback"; return 1; fi
  # shellcheck disable=SC2016 # Compose expands it, not this shell.
  if grep -nE '(PASSWORD|SECRET)[A-Z_]*: ' compose.yaml | grep -v ': \${[A-Z_]*:?'; then echo "a secret has a value"; return 1; fi
  if grep -nE '^[A-Z_]*PASSWORD=.' .env.example; then echo "an example has a password"; return 1; fi
  grep -oE '(- |\[)\.\.?/[^:]+:/' compose.yaml | sed -E 's/^(- |\[)(.*):\/$/\2/' | sort -u | while read -r file; do
    [ -e "$file" ] || { echo "$file is mounted and not there"; return 1; }
  done
}

chart_lint() {
  local values
  for values in helm/millrace/ci/*-values.yaml; do
    "$1" lint --strict helm/millrace --kube-version 1.31.0 -f "$values" || return
    "$1" template m helm/millrace --kube-version 1.31.0 -n prod -f "$values" >"$work/$(basename "$values")" || return
  done
}

# Whatever the release is called, the job has the name that the rules and dashboards look for.
chart_job() {
  "$1" template m helm/millrace --kube-version 1.31.0 -f helm/millrace/ci/full-values.yaml --set nameOverride=scores --show-only templates/servicemonitor.yaml |
    python3 -c 'import sys, yaml
for endpoint in yaml.safe_load(sys.stdin)["spec"]["endpoints"]:
    assert {"targetLabel": "job", "replacement": "millrace"} in endpoint["relabelings"], endpoint'
}

# CronJobs are known to the alerts by how their names begin, under any release; a name is cut without becoming another's.
chart_cronjobs() {
  local release set=(--set 'schedules.seal[0].pipeline=A_pipeline.with-a-very-long-name,schedules.seal[0].schedule=@daily')
  set+=(--set 'schedules.seal[1].pipeline=A_pipeline.with-a-very-long-name-too,schedules.seal[1].schedule=@daily')
  set+=(--set 'schedules.seal[2].pipeline=a_b,schedules.seal[2].schedule=@daily,schedules.seal[3].pipeline=a.b,schedules.seal[3].schedule=@daily')
  for release in m payments-scoring payments-scoring-of-a-very-long-name-in-one-namespace payments-scoring-of-a-very-long-name-in-one-namespac2; do
    "$1" template "$release" helm/millrace --kube-version 1.31.0 -f helm/millrace/ci/full-values.yaml "${set[@]}" --show-only templates/cronjobs.yaml
  done | sed -n 's/^  name: //p' >"$work/names"
  [ "$(wc -l <"$work/names")" = 28 ] || { cat "$work/names"; return 1; }
  if grep -vE '^millrace-(seal|retention|verify)-[a-z0-9-]+$' "$work/names"; then echo "the alerts do not know these"; return 1; fi
  if grep -E '^.{53}' "$work/names"; then echo "these are too long"; return 1; fi
  if sort "$work/names" | uniq -d | grep .; then echo "these are two"; return 1; fi
  "$1" template prod helm/millrace --kube-version 1.31.0 -f helm/millrace/ci/full-values.yaml --show-only templates/cronjobs.yaml |
    grep -xF '  name: millrace-seal-prod-card-risk'
}

# The shipped rules become the object whole, each with a page that a phone opens where an address is given.
chart_rules() {
  local template=("$1" template m helm/millrace --kube-version 1.31.0 -f helm/millrace/ci/minimal-values.yaml --set prometheusRule.enabled=true)
  template+=(--set-file prometheusRule.rules=prometheus/rules.yaml --show-only templates/prometheusrule.yaml)
  "${template[@]}" | python3 lint/runbooks.py docs/runbooks/ &&
    "${template[@]}" --set prometheusRule.runbooks=https://git.example/docs/runbooks | python3 lint/runbooks.py https://git.example/docs/runbooks/
}

# What the config says of Kafka's security holds: the environment, which wins over the file, names none unless a value does.
chart_security() {
  local template=("$1" template m helm/millrace --kube-version 1.31.0 -f helm/millrace/ci/minimal-values.yaml --set 'config=security="sasl_ssl"')
  if "${template[@]}" | grep MILLRACE_KAFKA__SECURITY; then return 1; fi
  "${template[@]}" --set kafka.security=sasl_ssl,kafka.saslMechanism=PLAIN,kafka.saslSecret.name=s | grep -A 1 MILLRACE_KAFKA__SECURITY | grep -q 'value: sasl_ssl$'
}

# Brokers that the config names are spoken to: no value of the chart's own wins over them, and who scales by lag asks the same.
chart_brokers() {
  local template=("$1" template m helm/millrace --kube-version 1.31.0 -f helm/millrace/ci/keda-values.yaml) out
  out=$("${template[@]}" --set-string kafka.brokers= --set-file config=lint/brokers.toml --set 'networkPolicy.egress.kafka.ports={9093}')
  if grep MILLRACE_KAFKA__BROKERS <<<"$out"; then return 1; fi
  [ "$(grep -c 'bootstrapServers: "prod-1:9093,prod-2:9093"$' <<<"$out")" = 2 ] || { grep bootstrapServers <<<"$out"; return 1; }
  out=$("${template[@]}" --set kafka.brokers=kafka:9092 --set config=x)
  grep -A 1 MILLRACE_KAFKA__BROKERS <<<"$out" | grep -q 'value: "kafka:9092"$'
}

# A registry that the config names is let out, and no other is.
chart_registry() {
  local template=("$1" template m helm/millrace --kube-version 1.31.0 -f helm/millrace/ci/minimal-values.yaml --show-only templates/networkpolicy.yaml)
  if "${template[@]}" | grep -E 'port: (8081|8085)'; then return 1; fi
  "${template[@]}" --set-file config=lint/registry.toml --set 'networkPolicy.egress.registry.ports={8081,8085}' | grep -c -E 'port: (8081|8085)' | grep -qx 2
}

# One command of an operator's: off unless it is asked for, with the login that it names, on a config of its own; models only where they are wanted.
chart_operator() {
  local template=("$1" template m helm/millrace --kube-version 1.31.0 -f helm/millrace/ci/minimal-values.yaml --set migrate.urlSecret.name=owner-url)
  template+=(--set models.volume.emptyDir.sizeLimit=1Mi --show-only templates/operator.yaml)
  if "${template[@]}" 2>/dev/null | grep .; then echo "it is part of the release"; return 1; fi
  template+=(--set operator.enabled=true --set-string 'operator.args={adopt,--pipeline,a,--partition,3,--yes}')
  "${template[@]}" | python3 lint/one_command.py millrace-postgres --no-models &&
    "${template[@]}" --set operator.login=owner,operator.models=true | python3 lint/one_command.py owner-url --models || return
  # A config that was left over is not taken for another one.
  [ "$("${template[@]}" --set config=a | operator_config)" != "$("${template[@]}" --set config=b | operator_config)" ] || { echo "two configs have one name"; return 1; }
  # Who names a config gets no second one.
  template+=(--set-string 'operator.args={verify,--config=/x.toml}')
  if "${template[@]}" | grep -F '"--config"'; then return 1; fi
  if "${template[@]}" | grep -F -- '- --config$'; then return 1; fi
}
operator_config() { sed -n '/^kind: ConfigMap/,/^data:/s/^  name: //p' | grep .; }

# How long a worker stays after the signal: the config's, where it says so, else the value's; null for a config that the chart does not read.
chart_stay() {
  local template=("$1" template m helm/millrace --kube-version 1.31.0 -f helm/millrace/ci/minimal-values.yaml --show-only templates/workload.yaml)
  "${template[@]}" --set workload=Deployment | grep -qxF '            - {name: MILLRACE_ADMIN__DRAIN_STAY_MS, value: "5000"}' &&
    "${template[@]}" --set workload=Deployment,admin.drainStayMs=15000 | grep -qF 'DRAIN_STAY_MS, value: "15000"' &&
    "${template[@]}" --set workload=Deployment --set-file config=lint/stay.toml --set admin.drainStayMs=7000 >"$work/stay" || return
  if grep MILLRACE_ADMIN__DRAIN_STAY_MS "$work/stay"; then return 1; fi
  if "${template[@]}" --set workload=Deployment,admin.drainStayMs=null | grep MILLRACE_ADMIN__DRAIN_STAY_MS; then return 1; fi
  # One that stands in a comment is none.
  "${template[@]}" --set workload=Deployment --set-string 'config=# drain_stay_ms = 1' | grep -q MILLRACE_ADMIN__DRAIN_STAY_MS
}

# Values that must be refused, with what the refusal names.
chart_refuses() {
  local values=helm/millrace/ci/minimal-values.yaml set names out
  while IFS='|' read -r set names; do
    # shellcheck disable=SC2086 # Each word is an argument.
    if out=$("$1" template m helm/millrace --kube-version 1.31.0 -f "$values" $set 2>&1); then
      echo "$set is taken"
      return 1
    fi
    [[ $out == *"$names"* ]] || { echo "$set: the refusal does not name $names: $out"; return 1; }
  done <<'CASES'
--set replica=3|replica
--set postgres.urlSecret.name=|urlSecret
--set postgres.url=postgres://x|'url'
--set kafka.password=x|'password'
--set kafka.brokers=kafka|brokers
--set kafka.brokers=|one of the two must be given
--set kafka.brokers= --set existingConfigMap=c --set keda.enabled=true,keda.triggers[0].pipeline=a,keda.triggers[0].topic=t|one of the two must be given
--set-file config=lint/brokers.toml|config says prod-1:9093,prod-2:9093
--set kafka.brokers= --set-file config=lint/brokers.toml|networkPolicy.egress.kafka.ports
--set kafka.security=sasl_ssl|saslSecret
--set kafka.security=plaintext --set config=security="sasl_ssl"|config says sasl_ssl
--set kafka.brokers=a:9092\,b:9093|networkPolicy.egress.kafka.ports
--set telemetry.otlpEndpoint=https://collector.example/v1|networkPolicy.egress.otlp.ports
--set schemaRegistry.url=https://registry|networkPolicy.egress.registry.ports
--set schemaRegistry.url=registry:8081|url
--set schemaRegistry.url=http://registry:8081 --set schemaRegistry.secret.name=s|in the clear
--set-file config=lint/registry.toml|registry-2:8085
--set admin.tokenSecret.nam=x|'nam'
--set schedules.retention[0].pipeline=a,schedules.retention[0].schedule=@daily|olderThan
--set schedules.seal[0].pipeline=a,schedules.seal[0].schedule=daily|schedule
--set schedules.seal[0].pipeline=a,schedules.seal[0].schedule=@daily,schedules.seal[1].pipeline=a,schedules.seal[1].schedule=@daily|one CronJob
--set image.digest=latest|digest
--set operator.enabled=true|operator.args
--set operator.login=root|login
--set admin.port=80|port
--set admin.drainStayMs=20001|drainStayMs
--set terminationGracePeriodSeconds=10|terminationGracePeriodSeconds
--set keda.enabled=true|keda.triggers
--set keda.minReplicas=0|minReplicas
--set keda.enabled=true,keda.triggers[0].pipeline=a,keda.triggers[0].topic=t,workload=StatefulSet|Deployment
--set config=x,existingConfigMap=y|existingConfigMap
--set prometheusRule.enabled=true|prometheusRule.rules
--set prometheusRule.enabled=true,prometheusRule.rules=x|no groups
--set prometheusRule.enabled=true --set-file prometheusRule.rules=prometheus/prometheus.yaml|no groups
--set prometheusRule.runbooks=git.example|runbooks
CASES
}

manifests() {
  local version
  for version in "${kubernetes[@]}"; do
    kubernetes-validate -k "$version" --strict --quiet "$work"/*-values.yaml || return
  done
}

# The unit's program is somewhere else here.
units() {
  local unit
  for unit in systemd/*.service systemd/*.timer; do sed 's#/usr/local/bin/millrace#/bin/true#' "$unit" >"$work/$(basename "$unit")"; done
  local said
  said=$(systemd-analyze verify "$work"/*.service "$work"/*.timer 2>&1)
  # It warns with an exit code of 0.
  if [ -n "$said" ]; then
    echo "$said"
    return 1
  fi
  for unit in "$work"/*.timer; do
    [ -e "${unit%.timer}.service" ] || { echo "$(basename "$unit") starts nothing"; return 1; }
    systemd-analyze calendar "$(sed -n 's/^OnCalendar=//p' "$unit")" >/dev/null || return
  done
  for unit in "$work"/*.service; do systemd-analyze security --offline=true --threshold=15 "$unit" | tail -n 1 || return; done
}

python_tools
check "shell scripts: shellcheck" shellcheck -x -P SCRIPTDIR -e SC1091 kafka/*.sh compose/*.sh local/*.sh prometheus/*.sh lint.sh ../.ci/run ../.ci/deny ../tests/*/*.sh
check "Dockerfile: hadolint, and the toolchain's version" dockerfile
check "builds: make, image and compose tell the program its commit" revision
check "Dockerfile: .dockerignore lets in what the build needs" docker_context
check "YAML: yamllint" yamllint -c lint/yamllint.yaml compose.yaml prometheus otel helm/millrace/Chart.yaml helm/millrace/values.yaml helm/millrace/ci
check "compose.yaml: the Compose specification's schema" check-jsonschema --builtin-schema vendor.compose-spec compose.yaml
check "compose.yaml: loopback, secrets, mounts" compose_habits
check "values.schema.json: is a schema" check-jsonschema --check-metaschema helm/millrace/values.schema.json
if command -v systemd-analyze >/dev/null; then
  check "systemd: verify, and exposure of 1.5 at most" units
else
  skip "systemd: verify" "there is no systemd-analyze"
fi
if promtool=$(promtool_file); then
  check "Prometheus: its config and the rules, by promtool" "$promtool" check config prometheus/prometheus.yaml
  check "Prometheus: the rules' own tests, by promtool" "$promtool" test rules prometheus/rules_test.yaml prometheus/rules_week_test.yaml
else
  skip "Prometheus: config, rules and their tests" "promtool is neither installed nor to be had from Debian's packages"
fi
if compose=$(go_tool compose github.com/compose-spec/compose-go/v2/cmd@$compose_version); then
  check "compose.yaml: Compose's own loader" compose_loads "$compose"
else
  skip "compose.yaml: Compose's own loader" "needs Go, and a run without --quick"
fi
if helm=$(go_tool helm helm.sh/helm/v3/cmd/helm@$helm_version); then
  check "chart: helm lint --strict, and rendered with each of ci/" chart_lint "$helm"
  check "chart: wrong values are refused" chart_refuses "$helm"
  check "chart: CronJobs have names that the alerts know" chart_cronjobs "$helm"
  check "chart: the shipped rules, with the address of the runbooks" chart_rules "$helm"
  check "chart: the config's security is not overridden" chart_security "$helm"
  check "chart: the config's brokers are not overridden" chart_brokers "$helm"
  check "chart: an operator's job" chart_operator "$helm"
  check "chart: the config's stay after the signal is not overridden" chart_stay "$helm"
  check "chart: the schema registry of the config is let out" chart_registry "$helm"
  check "chart: the scrape job is millrace under any name" chart_job "$helm"
  check "chart: Kubernetes' schemas of ${kubernetes[*]}, strict" manifests
  check "chart: each pod has its network policy when it starts" python3 lint/policies.py "$work"/*-values.yaml
  check "chart: Pod Security restricted, no token, no secret in the environment" python3 lint/restricted.py "$work"/*-values.yaml
else
  skip "chart" "needs Go, and a run without --quick"
fi

echo "${#failed[@]} failed, ${#skipped[@]} skipped"
for what in "${skipped[@]}"; do
  echo "!! NOT checked: $what"
  if [ -n "${MILLRACE_NOT_CHECKED:-}" ]; then printf '%s\n' "$what" >>"$MILLRACE_NOT_CHECKED"; fi
done
[ ${#failed[@]} = 0 ]
