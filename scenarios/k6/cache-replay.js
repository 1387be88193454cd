// Asks: in a recorded order of reads, what is hot drifts and a backup walks over everything. Do reads stay quick?
// Fails: a failed request or a wrong byte, or reads above 100 ms at P99.
import { atMost, bucket, bodies, fill, name, ok, s3, seconds } from './target.js';
import { SharedArray } from 'k6/data';
import exec from 'k6/execution';

const b = bodies(4096);
// The trace is that of cache-replay.yaml, its numbers folded into fewer objects.
const objects = atMost(4000);
const trace = new SharedArray('trace', () => open('../traces/drift-and-walks.txt').split('\n').filter((l) => l && l[0] !== '#').flatMap((l) => {
  const [from, to] = l.split('-').map(Number);
  return to === undefined ? [from] : Array.from({ length: to - from + 1 }, (_, n) => from + n);
}));

export const options = {
  setupTimeout: '5m',
  scenarios: { replay: { executor: 'constant-arrival-rate', rate: 500, timeUnit: '1s', duration: seconds(30), preAllocatedVUs: 8, maxVUs: 32 } },
  thresholds: { cairn_s3_failed: ['rate==0'], dropped_iterations: ['count==0'], 'cairn_s3_duration{op:get}': ['p(99)<100'] },
};

export function setup() {
  fill(objects, b, 'trace-');
}

export default function () {
  const n = trace[exec.scenario.iterationInTest % trace.length] % objects;
  ok(s3.get(bucket, name(n, 'trace-'), b));
}
