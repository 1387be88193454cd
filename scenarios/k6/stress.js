// Asks: when the load rises past what the server can carry, is it itself again afterwards?
// Fails: in the calm before or after, a failed request or a P99 above 250 ms. In the storm refusals are right.
import { atMost, bucket, bodies, fill, fresh, name, s3, seconds, uniform } from './target.js';

const objects = atMost(1000);
const b = bodies(4096);
const calm = { executor: 'constant-arrival-rate', rate: 200, timeUnit: '1s', preAllocatedVUs: 32, maxVUs: 64, gracefulStop: '1s' };

export const options = {
  scenarios: {
    before: { ...calm, duration: seconds(5), tags: { part: 'before' } },
    storm: {
      executor: 'ramping-arrival-rate', startTime: seconds(6), startRate: 200, timeUnit: '1s', preAllocatedVUs: 128, gracefulStop: '1s',
      stages: [{ target: 20000, duration: seconds(10) }, { target: 20000, duration: seconds(5) }], tags: { part: 'storm' },
    },
    after: { ...calm, startTime: seconds(26), duration: seconds(10), tags: { part: 'after' } },
  },
  thresholds: {
    'cairn_s3_failed{part:before}': ['rate==0'], 'cairn_s3_failed{part:after}': ['rate==0'],
    'cairn_s3_duration{part:after}': ['p(99)<250'],
  },
};

export function setup() {
  fill(objects, b);
}

export default function () {
  if (Math.random() < 0.6) {
    s3.get(bucket, name(uniform(objects)), b);
  } else {
    s3.put(bucket, fresh(), b);
  }
}
