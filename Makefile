# Everything that is done with the tree, by name. `make help` lists it.
SHELL := bash
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
KUBERNETES := $(shell sed -n 's|^\tk8s.io/kubernetes \(v[0-9.]*\).*|\1|p' go.mod)
LDFLAGS := -s -w -X github.com/alb-appliance/appliance/appliance/cli.version=$(VERSION) \
	-X k8s.io/component-base/version.gitVersion=$(KUBERNETES) \
	-X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=$(word 2,$(subst ., ,$(KUBERNETES)))
RUN ?= .
# Of the tests of one package. The scenarios take two minutes on two idle cores, and many times that on busy ones.
TIMEOUT ?= 30m

# One binary that runs on any Linux, a quarter smaller than with cgo, which only resolves names and users here.
export CGO_ENABLED := 0

.PHONY: help
help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

.PHONY: build
build: ## build bin/appliance
	go build -ldflags '$(LDFLAGS)' -o bin/appliance .

.PHONY: serve
serve: build ## build and run the appliance
	bin/appliance serve

# It has a module of its own. Building it for the first time takes minutes, which are not to count as a scenario's.
.PHONY: helm
helm: ## build the helm that scenarios use
	cd testscripts/helm && go build -o /dev/null helm.sh/helm/v4/cmd/helm

.PHONY: test
test: helm ## run all tests, scenarios in both address modes and with both engines
	go test -timeout $(TIMEOUT) ./...
	APPLIANCE_ADDRESS_MODE=native go test -timeout $(TIMEOUT) ./testscripts
	APPLIANCE_ENGINE=std go test -timeout $(TIMEOUT) ./testscripts -run TestScripts

.PHONY: race
race: export CGO_ENABLED := 1
race: ## run all tests under the race detector
	go test -race -timeout $(TIMEOUT) ./...

.PHONY: scripts
scripts: ## run the scenarios whose name matches RUN
	go test ./testscripts -timeout $(TIMEOUT) -run 'TestScripts/$(RUN)'

.PHONY: update
update: ## rewrite the golden files
	go test ./dataplane ./appliance/apiserver ./appliance/controllers/alb ./appliance/controllers/nginx ./appliance/edge -update

.PHONY: bench
bench: build ## measure start, memory, apply-to-traffic and the API
	cd testscripts/helm && go build -o ../../bin/helm helm.sh/helm/v4/cmd/helm
	go run ./testscripts/bench -binary bin/appliance -helm bin/helm

# BENCH are flags of the program: `make bench-dataplane BENCH='-rows keepalive -contestants nginx,std -rounds 3 -duration 1s -latency=false'`.
.PHONY: bench-dataplane
bench-dataplane: BENCH ?= -write docs/benchmarks.md
bench-dataplane: build ## measure the data plane against nginx, HAProxy and Caddy
	go build -o bin/bench-dataplane ./testscripts/bench/dataplane
	bin/bench-dataplane -appliance bin/appliance $(BENCH)

# Without the limit on minimizing, go test fails when the time is over while an input is being minimized.
.PHONY: fuzz
fuzz: ## fuzz each parser for FUZZTIME (30s)
	@set -e; for target in $$(grep -rl --include='*_test.go' '^func Fuzz' . | xargs -n1 dirname | sort -u); do \
		for name in $$(grep -h '^func Fuzz' $$target/*_test.go | sed 's/^func \(Fuzz[A-Za-z0-9]*\).*/\1/'); do \
			echo "$$target $$name"; go test $$target -run '^$$' -fuzz "^$$name$$" -fuzztime $${FUZZTIME:-30s} -fuzzminimizetime 1x; done; done

# What random tests do a little of in `make test`, at length: histories compared with a real etcd, and kill -9 during a
# write load. A failure names its seed; SOAK_SEED=n repeats it. Last comes the data plane's soak, an hour of 1,000 WebSockets
# and steady load over 2,000 changes; alone it is `make soak-dataplane`.
.PHONY: soak
soak: SOAK_ROUNDS ?= 300
soak: SOAK_HISTORIES ?= 20000
soak: SOAK_SEED := $(or $(SOAK_SEED),$(shell date +%s))
soak: ## SOAK_HISTORIES (20000) against etcd, SOAK_ROUNDS (300) of kill -9, soak-dataplane; SOAK_SEED repeats a run
	@echo "SOAK_SEED=$(SOAK_SEED)"
	go test ./state/kv -run 'TestStoreBehavesLike' -rapid.seed $(SOAK_SEED) -rapid.checks $(SOAK_HISTORIES) -timeout 0
	SOAK_SEED=$(SOAK_SEED) SOAK_ROUNDS=$(SOAK_ROUNDS) go test ./testscripts -run 'TestKilledServerLosesNothing' -v -timeout 0
	@$(MAKE) soak-dataplane SOAK_SEED=$(SOAK_SEED)

# No tunnel may end and no request may fail while listeners, routes, upstreams, endpoints and certificates change and pods
# are restarted. SOAK_DURATION (1h), SOAK_WEBSOCKETS (1000), SOAK_CHANGES (2000), of which SOAK_RESTARTS (500) are restarts
# of pods, and SOAK_CLIENTS (16) say how much; SOAK_ENGINES (loop) which engines, "loop std" for both. A WebSocket takes
# four descriptors here (ulimit -n), since clients, engine and pods are one process. At the end come the figures: requests,
# messages, changes, restarts, and descriptors and goroutines before and after, which must be the same.
.PHONY: soak-dataplane
soak-dataplane: SOAK_SEED := $(or $(SOAK_SEED),$(shell date +%s))
soak-dataplane: ## SOAK_DURATION (1h) of SOAK_WEBSOCKETS (1000) and load over SOAK_CHANGES (2000) through the data plane
	@echo "SOAK_SEED=$(SOAK_SEED)"
	SOAK_SEED=$(SOAK_SEED) SOAK_DURATION=$(or $(SOAK_DURATION),1h) SOAK_WEBSOCKETS=$(or $(SOAK_WEBSOCKETS),1000) \
		SOAK_CHANGES=$(or $(SOAK_CHANGES),2000) SOAK_RESTARTS=$(or $(SOAK_RESTARTS),500) SOAK_CLIENTS=$(or $(SOAK_CLIENTS),16) \
		go test $(addprefix ./dataplane/,$(or $(SOAK_ENGINES),loop)) -p 1 -count 1 -run '^TestSoak$$' -v -timeout 0

# They are in one place only, the scenarios that prove them.
.PHONY: manifests
manifests: ## write the manifests of the README's sessions to manifests/
	@mkdir -p manifests
	@for scenario in alb_coffee alb_https nginx_websocket; do \
		awk '/^-- .+ --$$/ { file = "manifests/" $$2; printf "" > file; next } file { print > file }' testscripts/testdata/$$scenario.txtar; done

.PHONY: lint
lint: ## check format, vet and the static checker
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -l $$(git ls-files '*.go'); exit 1; }
	go vet ./...
	go tool staticcheck ./...

.PHONY: check
check: lint test ## what has to pass before a commit
	go mod tidy -diff

.PHONY: clean
clean: ## remove what was built
	rm -rf bin manifests
