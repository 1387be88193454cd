# Experiments that ill-treat a server in a container (chaos/plans).

.PHONY: chaos chaos-quick chaos-sweep

# The long forms: 500 kills, 100 ends by SIGTERM, 100 losses of power, and every
# other fault some times. About an hour and a half on two cores.
CHAOS_PLANS ?= kill term power-loss freeze memory cpu descriptors full-volume no-space slow-volume failed-sync bad-reads network clock

chaos: build-lab ## ill-treat a server: every fault, long; CHAOS= more flags
	bin/lab chaos run $(CHAOS_PLANS) --remains results/remains $(CHAOS)
	bin/lab chaos run power-loss --build plantedbug --must-fail --times 20 --results ''

chaos-quick: build-lab ## the same, each fault twice
	bin/lab chaos run $(CHAOS_PLANS) --times 2 --results '' $(CHAOS)
	bin/lab chaos run power-loss --build plantedbug --must-fail --times 20 --results ''

chaos-sweep: build-lab ## remove what killed experiments left behind
	bin/lab chaos sweep
