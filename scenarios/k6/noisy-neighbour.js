// Asks: small requests at a steady rate, while somebody else uploads large objects. Do the small ones notice?
// Fails: a failed request, or a P99 above 250 ms of small reads or writes.
import { atMost, bucket, bodies, fill, fresh, name, ok, s3, seconds, uniform } from './target.js';

const objects = atMost(500);
const small = bodies(4096);
const large = bodies(16 * 1024 * 1024);

export const options = {
  scenarios: {
    small: { executor: 'constant-arrival-rate', rate: 200, timeUnit: '1s', duration: seconds(15), preAllocatedVUs: 32, maxVUs: 64, tags: { who: 'small' } },
    neighbour: { executor: 'constant-arrival-rate', rate: 3, timeUnit: '1s', duration: seconds(15), preAllocatedVUs: 2, maxVUs: 8, exec: 'neighbour', tags: { who: 'neighbour' } },
  },
  thresholds: { cairn_s3_failed: ['rate==0'], 'cairn_s3_duration{who:small}': ['p(99)<250'] },
};

export function setup() {
  fill(objects, small);
}

export default function () {
  if (Math.random() < 0.5) {
    ok(s3.get(bucket, name(uniform(objects)), small));
  } else {
    ok(s3.put(bucket, fresh(), small));
  }
}

export function neighbour() {
  ok(s3.put(bucket, `neighbour-${__VU}`, large));
}
