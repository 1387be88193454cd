# The small tour of the lab: a probe of this machine, the smoke scenario and loads
# on a fresh Cairn, and a page that shows all. Under three minutes; all of it goes
# to LAB_TOUR. Where the machine is too busy to tell whether smoke passes (status 3),
# the tour goes on, and the page says so.

LAB_TOUR ?= results/tmp/lab

.PHONY: lab

LAB_TOUR_TO = --dir $(LAB_TOUR)/data --results $(LAB_TOUR)/runs --profile $(LAB_TOUR)/profile.yaml

lab: build build-lab ## the small tour, under three minutes: probe, smoke and short loads on a fresh Cairn, a report
	@rm -rf $(LAB_TOUR) && mkdir -p $(LAB_TOUR)/data
	bin/lab probe --quick --dir $(LAB_TOUR)/data --name this-machine --out $(LAB_TOUR)/profile.yaml
	bin/lab run smoke $(LAB_TOUR_TO) || [ $$? -eq 3 ]
	bin/lab bench compare --cairn bin/cairn --rounds 1 --duration 4s --only put4k,get4k,mixed,put1m,get1m,list --no-ceiling $(LAB_TOUR_TO)
	bin/lab bench latency --cairn bin/cairn --objects 20000 --warmup 1s --capacity 4s --duration 8s --upload-size 128 $(LAB_TOUR_TO)
	@rmdir $(LAB_TOUR)/data
	bin/lab report $(LAB_TOUR)/runs/*.json --title 'A tour of the lab' --profile $(LAB_TOUR)/profile.yaml --out $(LAB_TOUR)/report.html

# One machine's profile, model and page of requirements. On this repository's own
# machine nothing else may run meanwhile: the files say how noisy it was.

MACHINE ?= epyc-2-threads-24g

.PHONY: calibrate

calibrate: build build-lab ## measure this machine and fit the planner's model on it (MACHINE= names it): 20 min in which nothing else runs
	@mkdir -p hardware/profiles hardware/models results/tmp
	bin/lab probe --name $(MACHINE) --out hardware/profiles/$(MACHINE).yaml
	bin/lab plan calibrate --profile hardware/profiles/$(MACHINE).yaml --model hardware/models/$(MACHINE).yaml
	bin/lab plan check --profile hardware/profiles/$(MACHINE).yaml --model hardware/models/$(MACHINE).yaml || [ $$? -ge 3 ]
	bin/lab plan requirements --profile hardware/profiles/$(MACHINE).yaml --model hardware/models/$(MACHINE).yaml --out docs/HARDWARE_REQUIREMENTS.md
