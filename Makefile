# The commands of this repository. `make run` and `make test` need nothing but Python 3.11 or newer.

VENV := .venv
BIN := $(VENV)/bin
PYTHON_CANDIDATES := python3 python3.14 python3.13 python3.12 python3.11 python
IMAGE := async-endpoint

# Most tests wait, so there are more workers than cores.
SIDE_BY_SIDE := -n 4 --dist worksteal

.DEFAULT_GOAL := help
.PHONY: help install run test check format bench soak docs docker

help: ## Show this list
	@grep -E '^[a-z]+:.*## ' Makefile | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 16

install: $(VENV)/runtime.stamp ## Make the virtual environment and install what the service needs

run: install ## Serve on port 4321; jobs are kept in ./storage
	@APIFY_PURGE_ON_START="$${APIFY_PURGE_ON_START:-0}" exec $(BIN)/python -m async_endpoint

test: $(VENV)/tests.stamp ## Run the tests, without the long loops
	@$(BIN)/python -m pytest $(SIDE_BY_SIDE) -m "not soak and not bench"

soak: $(VENV)/tests.stamp ## Run the long loops: kills, waiters, malformed requests
	@$(BIN)/python -m pytest -n 2 -m soak --timeout 1200

bench: $(VENV)/tests.stamp ## Measure the service against a bare aiohttp app
	@$(BIN)/python tests/benchmarks/run.py
	@$(BIN)/python -m pytest -m bench

check: $(VENV)/tests.stamp ## Check style, formatting and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: $(VENV)/tests.stamp ## Format the code, and repair what can be repaired
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

docs: $(VENV)/runtime.stamp ## Write the Actor's schemas and the tables of the README anew
	@$(BIN)/python -m async_endpoint.docs

docker: ## Build the container image
	docker build --tag $(IMAGE) .

# A stamp is as new as the installation that it stands for.
$(VENV)/runtime.stamp: requirements.txt
	@$(MAKE_VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

$(VENV)/tests.stamp: tests/requirements.txt $(VENV)/runtime.stamp
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r tests/requirements.txt
	@touch $@

# Keeps a virtual environment that works. Else takes the first Python that is new enough and can make one, and says
# what is missing if none can.
define MAKE_VENV
$(BIN)/python -c 'import sys, pip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && exit; \
found=; \
for python in $(PYTHON_CANDIDATES); do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
	found=$$python; \
	$$python -c 'import venv, ensurepip' 2>/dev/null || continue; \
	echo "Installing into $(VENV) with $$($$python --version) ..."; \
	exec $$python -m venv --clear $(VENV); \
done; \
if [ -n "$$found" ]; then \
	echo "$$found cannot make virtual environments; install the package python3-venv (Debian, Ubuntu)." >&2; \
else \
	echo "Python 3.11 or newer is needed; none of these is: $(PYTHON_CANDIDATES)." >&2; \
fi; \
exit 1
endef
