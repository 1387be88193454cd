// Asks: is the server in its last hour what it was in its first?
// Fails: a failed request, or a P99 above 250 ms in the first hour or in the last.
import { atMost, bucket, bodies, fill, fresh, name, ok, s3, seconds, skewed } from './target.js';

const objects = atMost(5000);
const b = bodies(8192);
const part = (start, long, tag) => ({
  executor: 'constant-arrival-rate', rate: 200, timeUnit: '1s', startTime: seconds(start), duration: seconds(long),
  preAllocatedVUs: 32, maxVUs: 128, tags: { part: tag },
});

export const options = {
  setupTimeout: '10m',
  scenarios: { first: part(0, 3600, 'first'), middle: part(3600, 6 * 3600, 'middle'), last: part(7 * 3600, 3600, 'last') },
  thresholds: {
    cairn_s3_failed: ['rate==0'], 'cairn_s3_duration{part:first}': ['p(99)<250'], 'cairn_s3_duration{part:last}': ['p(99)<250'],
  },
};

export function setup() {
  fill(objects, b);
}

export default function () {
  const dice = Math.random();
  if (dice < 0.5) {
    ok(s3.get(bucket, name(skewed(objects)), b));
  } else if (dice < 0.7) {
    ok(s3.put(bucket, name(skewed(objects)), b));
  } else if (dice < 0.98) {
    const key = fresh();
    ok(s3.put(bucket, key, b));
    ok(s3.delete(bucket, key));
  } else {
    ok(s3.list(bucket, { prefix: 'o-' }));
  }
}
