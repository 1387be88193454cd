// Package plan says what hardware a load needs: nodes, drives, cores, memory and
// network, what gives out first, and how sure that is.
//
// It rests on three things: a profile of the machine (harness/probe), a model
// fitted to loads that were really run (Calibrate), and arithmetic. A model is
// judged by loads that it was not fitted to (Check), and its errors are printed
// with every plan.
//
// Throughput against concurrency follows Gunther's Universal Scalability Law
// (https://arxiv.org/abs/0808.1431), written as response times; a term for the
// wait for a group's sync under way is added (Response). Latency quantiles
// against utilisation follow the heavy-traffic form of a G/G/k queue (Tail).
// Mixes add up by the operational laws: what an operation costs at the
// bottleneck, weighted by its share.
package plan
