# The whole paper in one command: `make reproduce`. `make help` lists the rest.
PROFILE ?= mini
WORKERS ?= 2
ENGINE ?= local
RESULTS ?= results/$(PROFILE)
DATA ?= data

# An active virtual or conda environment is used as it is; otherwise .venv is made here.
ENVIRONMENT := $(or $(VIRTUAL_ENV),$(CONDA_PREFIX),.venv)
PYTHON := $(ENVIRONMENT)/bin/python
DASK := $(ENVIRONMENT)/bin/dask
INSTALLED := $(ENVIRONMENT)/.plasticity-installed
export MPLBACKEND = Agg
export PYTHONWARNINGS = ignore::DeprecationWarning

EXECUTED := $(RESULTS)/notebooks
PAPERS_NETWORKS := 10_simplenet 11_resnet50 12_vit_b16
NETWORKS := $(if $(findstring imagenet,$(PROFILE)),13_efficientnet_lite0,$(PAPERS_NETWORKS))
RUNS := $(NETWORKS:%=$(EXECUTED)/%.ipynb)
READS := $(addprefix $(EXECUTED)/,20_analysis.ipynb 30_figures.ipynb)
WARM_START := $(EXECUTED)/50_warm_start.ipynb
COMPANIONS := $(WARM_START) $(patsubst %,$(EXECUTED)/%.ipynb,51_continual 52_soft_rescaling 53_plasticity_metrics 54_all_methods_on_transfer)
CHECKS := 40_paper_audit 41_claims $(if $(findstring imagenet,$(PROFILE)),,42_sensitivity) 45_playground 46_your_own_model
CHECKS := $(CHECKS:%=$(EXECUTED)/%.ipynb)
OWN := $(EXECUTED)/46_your_own_model.ipynb
REFERENCE := reference$(if $(filter mini,$(PROFILE)),,/$(PROFILE))
SOURCES := $(shell find plasticity -name '*.py')

.PHONY: help reproduce quick imagenet paper companions companions-reference checks own checks-reference plan status doctor scheduler worker test test-fast lab site benchmark lint reference clean-notebooks
.DELETE_ON_ERROR:

help:  ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  variables: PROFILE=$(PROFILE) (plasticity/config.py), WORKERS=$(WORKERS), ENGINE=$(ENGINE), RESULTS=$(RESULTS), DATA=$(DATA)"

reproduce: $(READS)  ## Every table and figure of a profile, from real training runs, into results/<profile>
	@echo "done: open $(EXECUTED), $(RESULTS)/tables and $(RESULTS)/figures"

quick:  ## The same in about a minute and a half, with few and weak runs: a first look
	@$(MAKE) reproduce PROFILE=quick

imagenet:  ## The same with a network that has real ImageNet weights (EfficientNet-Lite0), on real photographs, offline
	@$(MAKE) reproduce PROFILE=$(if $(findstring imagenet,$(PROFILE)),$(PROFILE),imagenet)

paper:  ## The paper itself: its data, its networks; wants a GPU (PROFILE=rehearsal or paper_bf16 replaces paper)
	@$(MAKE) reproduce PROFILE=$(if $(filter mini,$(PROFILE)),paper,$(PROFILE))

companions: $(COMPANIONS)  ## Hare & Tortoise, Soft Weight Rescaling and all methods on transfer (PROFILE=quick: a first look)
	@echo "done: open $(EXECUTED)/5*.ipynb, $(RESULTS)/tables and $(RESULTS)/figures"

checks: $(CHECKS)  ## The audit of the published numbers, a verdict on each claim, sensitivity, playground, your own model (40 to 46)
	@echo "done: open $(EXECUTED)/4*.ipynb, $(RESULTS)/tables and $(RESULTS)/figures"

own: | $(INSTALLED)  ## base against 10M on your own images: make own MODEL=resnet18 IMAGES=folder-with-a-folder-a-class
	$(EXECUTE_OWN)

plan: | $(INSTALLED)  ## What a profile costs before anything is spent: make plan PROFILE=paper
	@$(PYTHON) -m plasticity plan $(PROFILE) --data $(DATA) --results $(RESULTS)

$(RUNS): $(EXECUTED)/00_data_prep.ipynb
$(READS): $(RUNS)
$(filter-out $(WARM_START),$(COMPANIONS)): $(WARM_START)

$(EXECUTED)/41_claims.ipynb: $(RUNS)
$(EXECUTED)/42_sensitivity.ipynb $(EXECUTED)/45_playground.ipynb: $(EXECUTED)/00_data_prep.ipynb

define EXECUTE_OWN
$(PYTHON) -m plasticity.book.execute notebooks/46_your_own_model.ipynb $(OWN) -p profile $(PROFILE) -p results $(RESULTS) -p data $(DATA) \
-p workers $(WORKERS) $(if $(MODEL),-p model $(MODEL)) $(if $(IMAGES),-p images "$(IMAGES)")
endef

$(OWN): notebooks/46_your_own_model.ipynb $(SOURCES) | $(INSTALLED)
	$(EXECUTE_OWN)

$(EXECUTED)/%.ipynb: notebooks/%.ipynb $(SOURCES) | $(INSTALLED)
	$(PYTHON) -m plasticity.book.execute $< $@ -p profile $(PROFILE) -p results $(RESULTS) -p data $(DATA) -p workers $(WORKERS) -p engine $(ENGINE)

status: | $(INSTALLED)  ## How far a profile is, from another terminal too: done, running, missing, failed, lost, stale
	@$(PYTHON) -m plasticity status $(PROFILE) --results $(RESULTS)

doctor: | $(INSTALLED)  ## What is installed, which device, data and weights are there, and what to do next
	@$(PYTHON) -m plasticity doctor $(PROFILE) --results $(RESULTS) --data $(DATA) --engine $(ENGINE)

scheduler: | $(INSTALLED)  ## A Dask scheduler on port 8786, or at the scheduler file ENGINE=FILE.json
	@while true; do $(DASK) scheduler --no-dashboard $(if $(filter %.json,$(ENGINE)),--port 0 --scheduler-file $(ENGINE),--port 8786); \
	sleep 2; done

worker: | $(INSTALLED)  ## A worker for the scheduler ENGINE=tcp://HOST:8786 or FILE.json, started again when it ends
	@while true; do $(DASK) worker $(if $(filter %.json,$(ENGINE)),--scheduler-file) $(ENGINE) --nthreads 1 --memory-limit 0 --no-dashboard \
	--preload plasticity.running.dask --death-timeout 60 --local-directory $${TMPDIR:-/tmp}; sleep 5; done

test: | $(INSTALLED)  ## All tests, the notebooks included, in three processes
	$(PYTHON) -m pytest -n 3 --dist loadfile --no-loadscope-reorder

test-fast: | $(INSTALLED)  ## The tests that take under a minute together
	$(PYTHON) -m pytest -m "not slow"

lab: | $(INSTALLED)  ## JupyterLab in notebooks/
	$(PYTHON) -m jupyterlab notebooks

site: | $(INSTALLED)  ## A static book of the executed notebooks, into results/<profile>/site; nothing is trained
	@$(PYTHON) -m plasticity.book.site $(PROFILE) --results $(RESULTS)

benchmark: | $(INSTALLED)  ## Re-initialisation, augmentation, packing, the miniatures' throughput (benchmarks/pipelines.py: by hand)
	$(PYTHON) benchmarks/reinit_speed.py
	$(PYTHON) benchmarks/throughput.py $(DATA)
	$(PYTHON) benchmarks/augmentation.py
	$(PYTHON) benchmarks/packing.py

lint: | $(INSTALLED)  ## ruff
	$(PYTHON) -m ruff check .

reference: $(READS)  ## Copy the tables, figures and runs.csv of a full run into reference/ (mini) or reference/<profile>
	mkdir -p $(REFERENCE)/tables $(REFERENCE)/figures
	cp $(RESULTS)/runs.csv $(REFERENCE)/
	cp $(RESULTS)/tables/*.csv $(RESULTS)/tables/*.md $(REFERENCE)/tables/
	cp $(RESULTS)/figures/*.png $(REFERENCE)/figures/

companions-reference: $(COMPANIONS)  ## The same of the companions, into reference/companions
	mkdir -p reference/companions
	cp $(RESULTS)/runs_5?.csv $(RESULTS)/tables/5?_*.csv $(RESULTS)/tables/5?_*.md $(RESULTS)/figures/5?_*.png reference/companions/

checks-reference: $(CHECKS)  ## The same of the checks, into reference/checks
	mkdir -p reference/checks
	cp $(RESULTS)/tables/4?_*.csv $(RESULTS)/tables/4?_*.md $(RESULTS)/figures/4?_*.png reference/checks/

clean-notebooks:  ## Remove the executed notebooks, so that the next `make reproduce` makes them again from the records
	rm -rf $(EXECUTED)

$(INSTALLED): pyproject.toml constraints.txt
	@test -x $(PYTHON) || python3 -m venv $(ENVIRONMENT)
	$(PYTHON) -m pip install -q -c constraints.txt -e ".[notebooks,cluster,site,examples,test]"
	@touch $@
