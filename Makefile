# The whole paper in one command: `make reproduce`. `make help` lists the rest.
VARIABLES := PROFILE WORKERS ENGINE RESULTS DATA MODEL IMAGES
OUTSIDE := $(foreach name,$(VARIABLES),$(if $(filter environment,$(origin $(name))),$(name)))
PROFILE = mini
WORKERS = 0
ENGINE = local
RESULTS = results/$(PROFILE)
DATA = data
MODEL =
IMAGES =

# An active virtual or conda environment is used as it is; otherwise .venv is made here.
ACTIVE := $(or $(value VIRTUAL_ENV),$(value CONDA_PREFIX))
ENVIRONMENT := $(or $(ACTIVE),.venv)
PYTHON := $(ENVIRONMENT)/bin/python
PLASTICITY := $(PYTHON) -m plasticity
DASK := $(PYTHON) -m dask
# A stamp for each set of extras of pyproject.toml that has been installed: each target asks for what it needs. Its name
# is of this folder and this Python, since the copy of an environment imports the code of the folder it was made for.
HAS = $(ENVIRONMENT)/.plasticity-$(INSTALLED)-
SUITE = $(HAS)suite$(if $(filter local,$(ENGINE)),,-cluster)$(if $(filter rl rl_%,$(PROFILE)),-rl)
PLAY = $(subst -rl,,$(SUITE))-rl
TESTS = $(HAS)suite-rl-test
ALL = $(HAS)suite-cluster-rl-site-examples-test-benchmarks
export MPLBACKEND = Agg
export PYTHONWARNINGS = ignore::DeprecationWarning
# Python looks for no module in this folder: a torch.py here is not PyTorch.
export PYTHONSAFEPATH = 1

# What comes from outside is taken as it is, dollar signs too. `quoted` makes one word of the shell of it.
said = $(if $(filter file,$(origin $1)),$($1),$(value $1))
quoted = $(subst '~/,~/','$(subst ','\'',$(said))')
# Targets are made of some, and make has no quotes.
ODD := \# $$ % : ; & | < > ( ) { } [ ] * ? ` ' " \ ^
odd = $(strip $(filter-out 1,$(words [$(said)])) $(foreach one,$(ODD),$(findstring $(one),$(said))))
refuse = $(if $(odd),$(error $1 is '$(said)'; make takes no path with a space or one of $(ODD): $2))
$(foreach name,PROFILE WORKERS ENGINE RESULTS DATA,$(if $(call said,$(name)),,$(error $(name) is empty: leave it out or give a value)))
$(foreach name,PROFILE WORKERS RESULTS,$(call refuse,$(name),name another))
$(if $(ACTIVE),$(call refuse,$(if $(value VIRTUAL_ENV),VIRTUAL_ENV,CONDA_PREFIX),`deactivate` it and .venv is used instead))
$(if $(ACTIVE),$(if $(wildcard $(PYTHON)),,$(error the active environment $(ACTIVE) has no bin/python: put one there (with \
conda: `conda install python pip`), or `unset VIRTUAL_ENV CONDA_PREFIX` and .venv is used instead)))
$(if $(filter 0,$(MAKELEVEL)),$(foreach name,$(OUTSIDE),$(if $(filter file,$(origin $(name))),$(warning $(name) of the \
environment is not used: only `make TARGET $(name)=...` counts))))
ADDRESS = $(shell printf %s $(call quoted,ENGINE) | grep -Ex '(.+://)?[^/ ]+:[0-9]+|.+\.json')
$(if $(filter worker,$(MAKECMDGOALS)),$(if $(ADDRESS),,$(error make worker needs a scheduler, not ENGINE=$(call \
said,ENGINE): say ENGINE=tcp://HOST:8786 or ENGINE=FILE.json, as that of `make scheduler`)))
$(if $(filter scheduler,$(MAKECMDGOALS)),$(if $(filter local %.json,$(ENGINE)),,$(error make scheduler listens on port \
8786, or says where in ENGINE=FILE.json; not ENGINE=$(call said,ENGINE))))
HERE = { pwd -P; $(PYTHON) -V; } 2>&1 | cksum
INSTALLED := $(firstword $(shell $(HERE)))

EXECUTED := $(RESULTS)/notebooks
PAPERS_NETWORKS := 10_simplenet 11_resnet50 12_vit_b16
NETWORKS := $(if $(findstring imagenet,$(PROFILE)),13_efficientnet_lite0,$(PAPERS_NETWORKS))
RUNS := $(NETWORKS:%=$(EXECUTED)/%.ipynb)
METHOD := $(EXECUTED)/05_the_method.ipynb
READS := $(addprefix $(EXECUTED)/,20_analysis.ipynb 30_figures.ipynb)
WARM_START := $(EXECUTED)/50_warm_start.ipynb
TRANSFER := $(EXECUTED)/54_all_methods_on_transfer.ipynb
COMPANIONS := $(WARM_START) $(patsubst %,$(EXECUTED)/%.ipynb,51_continual 52_soft_rescaling 53_plasticity_metrics) $(TRANSFER)
COMPANIONS := $(if $(findstring imagenet,$(PROFILE)),$(TRANSFER),$(COMPANIONS))
LENGTHS := $(EXECUTED)/55_lengths.ipynb
GAMES := $(EXECUTED)/56_reinforcement_learning.ipynb
CHECKS := 40_paper_audit 41_claims $(if $(findstring imagenet,$(PROFILE)),,42_sensitivity) 45_playground 46_your_own_model
CHECKS := $(CHECKS:%=$(EXECUTED)/%.ipynb)
OWN := $(EXECUTED)/46_your_own_model.ipynb
REFERENCE := reference$(if $(filter mini,$(PROFILE)),,/$(PROFILE))
# What a notebook's numbers and tables can depend on: all rooms but the command line.
SOURCES := $(filter-out plasticity/cli/%,$(wildcard plasticity/*.py plasticity/*/*.py plasticity/*/*/*.py))

.PHONY: help reproduce quick imagenet paper companions lengths companions-reference rl rl-reference checks own checks-reference plan status doctor \
scheduler worker test test-rest test-all test-fast lab site benchmark lint reference clean-notebooks
.DELETE_ON_ERROR:

help:  ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-21s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  variables: PROFILE=$(PROFILE) (plasticity/profiles.py), WORKERS=$(WORKERS), RESULTS=$(RESULTS)," \
	ENGINE=$(call quoted,ENGINE), DATA=$(call quoted,DATA)

# What trains takes all cores, one notebook after the other; what only reads is done at the same time.
reproduce: $(RUNS)  ## Every table and figure of a profile, from real training runs, into results/<profile>
	@$(MAKE) --no-print-directory -j3 $(METHOD) $(READS)
	@echo "done: open $(EXECUTED), $(RESULTS)/tables and $(RESULTS)/figures"

quick:  ## The same in about a minute, with few and weak runs: a first look
	@$(MAKE) reproduce PROFILE=quick

imagenet:  ## The same with a network that has real ImageNet weights (EfficientNet-Lite0), on real photographs, offline
	@$(MAKE) reproduce PROFILE=$(if $(findstring imagenet,$(PROFILE)),$(PROFILE),imagenet)

paper:  ## The paper itself: its data, its networks; wants a GPU (PROFILE=rehearsal or paper_bf16 replaces paper)
	@$(MAKE) reproduce PROFILE=$(if $(filter mini,$(PROFILE)),paper,$(PROFILE))

companions: $(COMPANIONS)  ## Hare & Tortoise, Soft Weight Rescaling and all methods on transfer (PROFILE=quick, imagenet)
	@echo "done: open $(EXECUTED)/5*.ipynb, $(RESULTS)/tables and $(RESULTS)/figures"

lengths: $(LENGTHS)  ## How a companion verdict depends on the length of training (notebook 55; its own command: some 40 minutes)
	@echo "done: open $(LENGTHS); \`make lengths-reference\` shows it in notebook 50"

rl: $(GAMES)  ## Hare & Tortoise in games (notebook 56): MinAtar (PROFILE=quick; paper or rehearsal: Atari-100k)
	@echo "done: open $(GAMES), $(RESULTS)/tables and $(RESULTS)/figures"

checks: $(CHECKS)  ## The audit of the published numbers, a verdict on each claim, sensitivity, playground, your own model (40 to 46)
	@echo "done: open $(EXECUTED)/4*.ipynb, $(RESULTS)/tables and $(RESULTS)/figures"

own: | $(SUITE)  ## base against 10M on your own images: make own MODEL=resnet18 IMAGES=folder (with a subfolder for each class)
	$(PLASTICITY) own $(PROFILE) --results $(RESULTS) --data $(call quoted,DATA) --workers $(WORKERS) \
	$(if $(value MODEL),--model $(call quoted,MODEL)) $(if $(value IMAGES),--images $(call quoted,IMAGES))

plan: | $(SUITE)  ## What a profile costs before anything is spent: make plan PROFILE=paper
	@$(PLASTICITY) plan $(PROFILE) --data $(call quoted,DATA) --results $(RESULTS)

$(METHOD): | $(EXECUTED)/00_data_prep.ipynb
$(RUNS): $(EXECUTED)/00_data_prep.ipynb
$(READS): $(RUNS)
$(if $(filter $(WARM_START),$(COMPANIONS)),$(filter-out $(WARM_START),$(COMPANIONS)): $(WARM_START))

$(EXECUTED)/41_claims.ipynb: $(RUNS)
$(EXECUTED)/42_sensitivity.ipynb $(EXECUTED)/45_playground.ipynb: $(EXECUTED)/00_data_prep.ipynb

GIVEN = -p profile $(PROFILE) -p results $(RESULTS) -p data $(call quoted,DATA) -p workers $(WORKERS)

$(OWN): notebooks/46_your_own_model.ipynb $(SOURCES) | $(SUITE)
	$(PLASTICITY) execute $< $@ $(GIVEN) $(if $(value MODEL),-p model $(call quoted,MODEL)) $(if $(value IMAGES),-p images $(call quoted,IMAGES))

$(EXECUTED)/%.ipynb: notebooks/%.ipynb $(SOURCES) | $(SUITE)
	$(PLASTICITY) execute $< $@ $(GIVEN) -p engine $(call quoted,ENGINE)

$(GAMES): notebooks/56_reinforcement_learning.ipynb $(SOURCES) | $(PLAY)
	$(PLASTICITY) execute $< $@ $(GIVEN) -p engine $(call quoted,ENGINE)

status: | $(SUITE)  ## How far a profile is, from another terminal too: done, running, missing, failed, lost, stale
	@$(PLASTICITY) status $(PROFILE) --results $(RESULTS)

doctor: | $(SUITE)  ## The device, the packages, the data and weights, the runs, and what to do next
	@$(PLASTICITY) doctor $(PROFILE) --results $(RESULTS) --data $(call quoted,DATA)

PAUSE = 5
# Started again when it ends; but what can't begin, three times within 20 seconds, is wrong.
again = quick=0; while [ $$quick -lt 3 ]; do began=$$(date +%s); $1; \
	[ $$(($$(date +%s) - began)) -lt 20 ] && quick=$$((quick + 1)) || quick=0; sleep $(PAUSE); done; \
	echo "error: $@ has ended three times at once; the last lines above say why" >&2; exit 1

scheduler: | $(HAS)suite-cluster  ## A Dask scheduler on port 8786, or at the scheduler file ENGINE=FILE.json
	@export DASK_DISTRIBUTED__SCHEDULER__WORKER_SATURATION=1.0 DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES=50; \
	$(call again,$(DASK) scheduler --no-dashboard --preload plasticity.running.dask \
	$(if $(filter %.json,$(ENGINE)),--port 0 --scheduler-file $(call quoted,ENGINE),--port 8786))

worker: | $(HAS)suite-cluster  ## A worker for the scheduler ENGINE=tcp://HOST:8786 or FILE.json, started again when it ends
	@$(call again,$(DASK) worker $(if $(filter %.json,$(ENGINE)),--scheduler-file) $(call quoted,ENGINE) --nthreads 1 \
	--memory-limit 0 --no-dashboard --preload plasticity.running.dask --death-timeout 60 \
	--local-directory "$${TMPDIR:-/tmp}")

PYTEST = $(PYTHON) -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test: | $(TESTS)  ## The quick notebooks and the fast tests, in two processes: at most 3 minutes
	$(PYTEST) -m "not slow"

test-rest: | $(ALL)  ## The tests that `make test` leaves out
	$(PYTEST) -m slow

test-all: test test-rest  ## All tests

test-fast:
	@echo "make test-fast is called \`make test\` now; \`make test-all\` runs all tests" >&2; exit 2

lab: | $(SUITE)  ## JupyterLab in notebooks/
	unset PYTHONSAFEPATH; $(PYTHON) -P -m jupyterlab notebooks $$(test $$(id -u) -ne 0 || echo --allow-root) \
	--ServerApp.kernel_spec_manager_class=plasticity.book.execute.OwnKernel

site: | $(HAS)suite-site  ## A static site of the executed notebooks, into results/<profile>/site; nothing is trained
	@$(PLASTICITY) site $(PROFILE) --results $(RESULTS)

benchmark: | $(SUITE)  ## Re-initialisation, augmentation, packing, the miniatures' throughput (the others of benchmarks/: by hand)
	$(PYTHON) benchmarks/reinit_speed.py
	$(PYTHON) benchmarks/throughput.py $(call quoted,DATA)
	$(PYTHON) benchmarks/augmentation.py
	$(PYTHON) benchmarks/packing.py

lint: | $(TESTS)  ## ruff: its checks, and its format
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .

reference: $(METHOD) $(READS)  ## Copy the tables, figures and runs.csv of a full run into reference/ (mini) or reference/<profile>
	mkdir -p $(REFERENCE)/tables $(REFERENCE)/figures $(REFERENCE)/findings
	cp $(RESULTS)/runs.csv $(REFERENCE)/
	cp $(RESULTS)/findings/[0-3]*.md $(REFERENCE)/findings/
	cp $(RESULTS)/tables/*.csv $(RESULTS)/tables/*.md $(REFERENCE)/tables/
	cp $(RESULTS)/figures/*.png $(REFERENCE)/figures/

lengths-reference: $(LENGTHS)
	mkdir -p reference/companions reference/findings
	cp $(RESULTS)/findings/55*.md reference/findings/
	cp $(RESULTS)/runs_55.csv $(RESULTS)/tables/55_*.csv $(RESULTS)/tables/55_*.md $(RESULTS)/figures/55_*.png reference/companions/

rl-reference: $(GAMES)  ## The same of the games, into reference/rl
	mkdir -p reference/rl reference/findings
	cp $(RESULTS)/findings/56*.md reference/findings/
	cp $(RESULTS)/runs_56.csv $(RESULTS)/tables/56_*.csv $(RESULTS)/tables/56_*.md $(RESULTS)/figures/56_*.png reference/rl/

companions-reference: COMPANIONS_REFERENCE := $(if $(filter mini,$(PROFILE)),reference,$(REFERENCE))/companions
companions-reference: $(COMPANIONS)  ## The same of the companions, into reference/companions (mini) or reference/<profile>/companions
	mkdir -p $(COMPANIONS_REFERENCE) $(COMPANIONS_REFERENCE)/../findings
	cp $(RESULTS)/findings/5[0-4]*.md $(COMPANIONS_REFERENCE)/../findings/
	cp $(foreach name,$(notdir $(COMPANIONS)),$(wildcard $(RESULTS)/runs_$(firstword $(subst _, ,$(name))).csv) \
	$(RESULTS)/tables/$(firstword $(subst _, ,$(name)))_*.csv $(RESULTS)/tables/$(firstword $(subst _, ,$(name)))_*.md \
	$(RESULTS)/figures/$(firstword $(subst _, ,$(name)))_*.png) $(COMPANIONS_REFERENCE)/

checks-reference: $(CHECKS)  ## The same of the checks, into reference/checks
	mkdir -p reference/checks reference/findings
	cp $(RESULTS)/findings/4*.md reference/findings/
	cp $(RESULTS)/tables/4?_*.csv $(RESULTS)/tables/4?_*.md $(RESULTS)/figures/4?_*.png reference/checks/

clean-notebooks:  ## Remove the executed notebooks, so that the next `make reproduce` makes them again from the records
	rm -rf $(EXECUTED)

# pip is asked for, because an environment that could not be finished has a Python, too.
GOOD = $(PYTHON) -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' 2> /dev/null
MOVED = $(filter-out $(HAS)%,$(wildcard $(ENVIRONMENT)/.plasticity-*))
comma := ,
$(HAS)%: pyproject.toml constraints.txt
ifdef ACTIVE
	@$(GOOD) || { echo "error: $(PYTHON) has no pip (\`$(PYTHON) -m ensurepip\` brings it) or is older than 3.11 (\`deactivate\`)" >&2; exit 2; }
else
	@$(GOOD) || python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	echo "error: python3 is missing or older than 3.11: \`python3.12 -m venv --clear $(ENVIRONMENT)\` takes another one" >&2; exit 2; }
	@$(GOOD) || { $(PYTHON) -m ensurepip && $(GOOD); } > /dev/null 2>&1 || python3 -m venv --clear $(ENVIRONMENT) || { \
	echo "error: python3 can't make $(ENVIRONMENT): on Debian or Ubuntu \`apt install python3-venv\`, then say make again" >&2; \
	exit 2; }
endif
	$(if $(MOVED),@echo "$(ENVIRONMENT) has the plasticity of another folder or Python: it gets that of this one" >&2; rm $(MOVED))
	$(PYTHON) -m pip install -q -c constraints.txt -e ".[$(subst -,$(comma),$*)]"
# By the name that the next make looks for: this one had no Python yet when it looked, if it has just made .venv.
	@set -- $$($(HERE)) && touch $(ENVIRONMENT)/.plasticity-$$1-$*
