.PHONY: help revision build demo test test-tls test-clients test-pages pictures test-exports test-registry test-rules lint deny-tool lint-deploy lint-deploy-quick sbom bench services-up services-down

help: ## what there is
	@grep -E '^[a-z-]+:.*##' Makefile | sed 's/:.*##/ -/'

# The commit that is built, with `-dirty` where tracked files differ from it: `millrace_build_info` tells it, by which builds of one version are told apart.
REVISION := $(shell git describe --always --exclude='*' --abbrev=12 --dirty 2>/dev/null || echo unknown)
MILLRACE_REVISION ?= $(REVISION)
build demo: export MILLRACE_REVISION := $(MILLRACE_REVISION)

revision: ## the commit that a build is told: for docker build --build-arg REVISION="$(make -s revision)"
	@echo $(MILLRACE_REVISION)

build: ## target/release/millrace
	cargo build --release --locked

demo: ## set up what the demo needs, build, and play payments, chat messages and clicks through the whole path
	deploy/local/setup.sh --postgres-only
	cargo build --release --locked
	$${CARGO_TARGET_DIR:-target}/release/millrace demo

test: ## set up what the tests need (a real Kafka and Postgres), and run every test
	deploy/local/with.sh cargo test --locked

test-tls: ## the encrypted connections, in a build that has TLS and SASL for Kafka (links the system's OpenSSL)
	deploy/local/setup.sh --tls >/dev/null
	deploy/local/with.sh cargo test --locked --features tls --test it tls::

test-clients: ## the clients of OpenAI and Hugging Face, a validator of OpenAPI and TensorBoard's reader against the program (Python 3.11, pip)
	deploy/local/setup.sh >/dev/null
	cargo test --locked --test it --no-run
	deploy/local/with.sh tests/clients/run.sh $${CARGO_TARGET_DIR:-target}/debug/millrace

test-pages: ## the live page in a real Chromium, with a check of accessibility (Node.js 20, npm, Chromium)
	cargo build --locked --example page_server
	tests/browser/run.sh check.mjs "$$(realpath $${CARGO_TARGET_DIR:-target}/debug/examples/page_server)"

pictures: ## the pictures of docs/images anew, of a real worker under load (as test-pages; five minutes)
	cargo build --release --locked
	deploy/local/with.sh tests/browser/pictures.sh $${CARGO_TARGET_DIR:-target}/release/millrace docs/images

test-registry: ## a schema registry and serialisers of others: Apicurio Registry, confluent-kafka (Java 17, Maven, Python 3.11, pip)
	deploy/local/setup.sh >/dev/null
	cargo build --locked
	deploy/local/with.sh tests/registry/run.sh $${CARGO_TARGET_DIR:-target}/debug/millrace

test-exports: ## folders that training writes, loaded by transformers (MILLRACE_TORCH_PYTHON: a Python with torch and transformers; some 6 GB, so CI does not)
	cargo build --locked
	$${MILLRACE_TORCH_PYTHON:-python3} tests/exports/check.py $${CARGO_TARGET_DIR:-target}/debug/millrace

test-rules: ## the rules of Prometheus by its own promtool (installed, or built by Go from its module)
	deploy/prometheus/check.sh

lint: ## format, clippy, documentation, shell syntax, dashboards as their source says; crates by cargo-deny where it is installed (make deny-tool)
	cargo fmt --check
	cargo clippy --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --locked
	for script in deploy/*.sh deploy/compose/*.sh deploy/kafka/*.sh deploy/local/*.sh deploy/prometheus/*.sh tests/clients/*.sh tests/browser/*.sh tests/fixtures/*.sh tests/registry/*.sh .ci/run .ci/deny; do bash -n $$script || exit 1; done
	python3 deploy/grafana/make.py --check
	.ci/deny

deny-tool: ## cargo-deny for lint, built once a version (some three minutes of a processor)
	.ci/deny --install

lint-deploy: ## what deploy/ ships: image, compose, chart, units, rules (deploy/README.md; builds Helm through Go, once)
	deploy/lint.sh

lint-deploy-quick: ## the same, but for what needs a tool that Go has yet to build
	deploy/lint.sh --quick

sbom: ## what is in the program, as CycloneDX: target/sbom.cdx.json (FEATURES=tls as the image has it)
	deploy/sbom.py $${CARGO_TARGET_DIR:-target}/sbom.cdx.json --features "$${FEATURES:-tls}"

bench: ## the whole pipeline on real services, decide rounds, sentiment and embed beside plain candle (MILLRACE_MINILM_DIR: all-MiniLM-L6-v2)
	deploy/local/with.sh cargo bench --locked --bench copy_pipeline -- throughput
	deploy/local/with.sh cargo bench --locked --bench copy_pipeline -- latency
	deploy/local/with.sh cargo bench --locked --bench copy_pipeline -- kill --kills 5
	deploy/local/with.sh cargo bench --locked --bench decide
	cargo bench --locked --bench fold
	cargo bench --locked --bench sentiment
	cargo bench --locked --bench embed_texts

services-up: ## a real Kafka and Postgres for development; prints their addresses
	deploy/local/up.sh .services

services-down: ## stop them and remove their data
	deploy/local/down.sh .services
