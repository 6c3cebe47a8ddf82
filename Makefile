# The targets of the original service. `make` lists them.

IMAGE ?= rafay-relay-sop
TAG ?= latest
PLATFORMS ?= linux/amd64,linux/arm64
NAMESPACE ?= rafay-core
CLUSTER_NAME ?=
REGION ?=
ACCOUNT_ID ?=
# The address of the repository, for the label of the image.
SOURCE ?=
# How pods get the role: irsa or pod-identity.
IDENTITY ?= irsa
# More arguments of `serve`, setup-iam.sh and `kubectl logs`, such as --simulate, --dry-run and --follow.
RUN_ARGS ?=
SETUP_ARGS ?=
LOGS_ARGS ?= --tail=200
# For run-sop and check-sop: the address of the service, else kubectl forwards a port of this machine to the service for
# the time of the call; the runbook, else the service's default; the file with the service's token, if it asks for one.
URL ?=
RUNBOOK ?=
TOKEN_FILE ?=

CARGO ?= cargo
CURL ?= curl
DOCKER ?= docker
KUBECTL ?= kubectl

SERVICE := rafay-relay-sop
MANIFEST := k8s/deployment.yaml
# The namespace that is written in the manifest.
MANIFEST_NAMESPACE := rafay-core
IMAGE_ARGS = --tag '$(IMAGE):$(TAG)' \
  --build-arg VERSION="$$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)" \
  --build-arg REVISION="$$(git rev-parse HEAD 2>/dev/null || echo unknown)" \
  $(if $(SOURCE),--build-arg SOURCE='$(SOURCE)')

.DEFAULT_GOAL := help
.PHONY: build test run docker-build docker-buildx docker-buildx-push docker-push setup-iam deploy deploy-with-iam \
  undeploy status logs port-forward run-sop check-sop fmt lint help

# $(call require,TARGET,VARIABLE …,USAGE) stops before the first command when a variable is empty.
require = $(foreach name,$(2),$(if $(strip $($(name))),,$(error $(name) is not set: make $(1) $(3))))
# $(call require_given,TARGET,VARIABLE,USAGE) does when a variable has only its default.
is_given = $(filter command environment override,$(firstword $(origin $(1))))
require_given = $(if $(call is_given,$(2)),,$(error $(2) is not set: make $(1) $(3)))

iam_usage = CLUSTER_NAME=… REGION=… ACCOUNT_ID=…
push_usage = IMAGE=REGISTRY/$(SERVICE) TAG=…

# The manifest with the image that was given, if one was.
image_line := ^\([ -]*image: *\)[^ ]*$(SERVICE):[^ ]*
set_image = $(if $(call is_given,IMAGE)$(call is_given,TAG),s|$(image_line)|\1$(IMAGE):$(TAG)|)
require_namespace = $(if $(filter $(MANIFEST_NAMESPACE),$(NAMESPACE)),,$(error $(MANIFEST) is for the namespace \
  $(MANIFEST_NAMESPACE): for another one, write a kustomize overlay of k8s/base))

# Prints the objects of the manifest that `undeploy` removes. What it keeps: the definitions (with them, all journals
# would be removed), what protects the journals, and the namespace, which belongs to the relay.
define own_objects
awk 'function flush() { if (own) printf "%s", text; text = ""; own = 1 } BEGIN { own = 1 } /^---/ { flush() } \
  /^kind: (CustomResourceDefinition|Namespace|ValidatingAdmissionPolicy(Binding)?) *$$/ { own = 0 } \
  { text = text $$0 "\n" } END { flush() }' $(MANIFEST)
endef

# $(call request,PATH) prints the service's response to a GET. The token is not an argument of curl, which others could
# see.
define request
@set -eu; url='$(URL)'; \
if [ -z "$$url" ]; then \
  log=$$(mktemp); \
  $(KUBECTL) port-forward --namespace '$(NAMESPACE)' service/$(SERVICE) :8080 > "$$log" & \
  forward=$$!; \
  trap 'kill "$$forward" 2>/dev/null || true; rm -f "$$log"' EXIT; \
  until port=$$(sed -n 's/^Forwarding from 127\.0\.0\.1:\([0-9]*\) .*/\1/p' "$$log"); [ -n "$$port" ]; do \
    kill -0 "$$forward" 2>/dev/null || { echo "kubectl forwards no port to the service" >&2; exit 1; }; \
    sleep 0.1; \
  done; \
  url=http://127.0.0.1:$$port; \
fi; \
set -- --silent --show-error --fail-with-body --request GET "$$url$(1)"; \
if [ -n '$(TOKEN_FILE)' ]; then \
  token=$$(cat '$(TOKEN_FILE)'); \
  printf 'header = "Authorization: Bearer %s"\n' "$$token" | $(CURL) --config - "$$@"; \
else \
  $(CURL) "$$@"; \
fi; \
echo
endef

build: ## Build the program
	$(CARGO) build --release --locked --bin $(SERVICE)

test: ## Run the tests
	$(CARGO) test --locked --workspace

run: ## Serve on this machine, at 127.0.0.1:8080; RUN_ARGS=--simulate acts on a simulated cluster
	$(CARGO) run --locked --bin $(SERVICE) -- serve $(RUN_ARGS)

docker-build: ## Build the image IMAGE:TAG for this machine's platform
	$(DOCKER) build $(IMAGE_ARGS) .

docker-buildx: ## Build the image for all PLATFORMS, into the cache of the builder
	$(DOCKER) buildx build --platform '$(PLATFORMS)' $(IMAGE_ARGS) .

docker-buildx-push: ## Build the image for all PLATFORMS and push it, with provenance and SBOM
	$(call require_given,$@,IMAGE,$(push_usage))
	$(DOCKER) buildx build --platform '$(PLATFORMS)' $(IMAGE_ARGS) --provenance mode=max --sbom true --push .

docker-push: ## Push the image that docker-build built
	$(call require_given,$@,IMAGE,$(push_usage))
	$(DOCKER) push '$(IMAGE):$(TAG)'

setup-iam: ## Make the IAM role of the pods: CLUSTER_NAME=… REGION=… ACCOUNT_ID=… [IDENTITY=pod-identity]
	$(call require,$@,CLUSTER_NAME REGION ACCOUNT_ID,$(iam_usage))
	k8s/setup-iam.sh '--$(IDENTITY)' --cluster '$(CLUSTER_NAME)' --region '$(REGION)' --account '$(ACCOUNT_ID)' \
	  $(SETUP_ARGS)

deploy: ## Apply k8s/deployment.yaml, with the image IMAGE:TAG if one is given
	$(require_namespace)
	sed '$(set_image)' $(MANIFEST) | $(KUBECTL) apply --filename -

deploy-with-iam: ## The same with the IAM role of ACCOUNT_ID=…
	$(call require,$@,ACCOUNT_ID,ACCOUNT_ID=…)
	$(require_namespace)
	sed 's/ACCOUNT_ID/$(ACCOUNT_ID)/g; $(set_image)' $(MANIFEST) | $(KUBECTL) apply --filename -

undeploy: ## Remove the service; the definitions, the journals of all runs and the namespace stay
	$(require_namespace)
	$(own_objects) | $(KUBECTL) delete --ignore-not-found --filename -
	@echo "Kept: the namespace $(NAMESPACE), and the definitions of runs with the journals of all runs."
	@echo "Nothing can resume or roll back a run after: $(KUBECTL) delete --filename k8s/crds.yaml"

status: ## Show the pods and the Service
	$(KUBECTL) get pods --namespace '$(NAMESPACE)' --selector app=$(SERVICE)
	$(KUBECTL) get service --namespace '$(NAMESPACE)' $(SERVICE)

logs: ## Show the log of the pods; LOGS_ARGS=--follow goes on
	$(KUBECTL) logs --namespace '$(NAMESPACE)' --selector app=$(SERVICE) --prefix $(LOGS_ARGS)

port-forward: ## Forward localhost:8080 to the service
	$(KUBECTL) port-forward --namespace '$(NAMESPACE)' service/$(SERVICE) 8080:8080

run-sop: ## Start the procedure, or RUNBOOK=NAME, and print the response; TOKEN_FILE=FILE has the service's token
	$(call request,/run$(if $(RUNBOOK),?runbook=$(RUNBOOK)))

check-sop: ## Print the status of the procedure
	$(call request,/status)

fmt: ## Format the sources
	$(CARGO) fmt --all

lint: ## Check the sources, the Dockerfile and the scripts for mistakes
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	tests/image/lint || [ $$? = 69 ]

help: ## Show this list
	@echo "Targets:"
	@awk -F ': ## ' '/^[a-z-]+: ## / { printf "  %-19s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo "Variables: IMAGE=$(IMAGE) TAG=$(TAG) PLATFORMS=$(PLATFORMS) NAMESPACE=$(NAMESPACE)"
	@echo "           CLUSTER_NAME=$(CLUSTER_NAME) REGION=$(REGION) ACCOUNT_ID=$(ACCOUNT_ID)"
