// Asks: when the load rises past what the server can carry, does it refuse politely and go on, and is it itself again afterwards?
// Fails: an error other than a refusal for too much load (503, 429), or in the calm before or after any, or after it a P99 above 250 ms.
import { check } from 'k6';
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
    checks: ['rate==1'],
    'cairn_s3_failed{part:before}': ['rate==0'], 'cairn_s3_failed{part:after}': ['rate==0'],
    'cairn_s3_duration{part:after}': ['p(99)<250'],
  },
};

export function setup() {
  fill(objects, b);
}

const right = { 'answered, or refused for too much load': (a) => a.ok || a.status === 503 || a.status === 429 };

export default function () {
  const answer = Math.random() < 0.6 ? s3.get(bucket, name(uniform(objects)), b) : s3.put(bucket, fresh(), b);
  check(answer, right);
}
