// Asks: does the server carry the traffic of an ordinary day, which rises, stays and falls?
// Fails: a failed request, arrivals that could not be sent, or a P99 above 100 ms of reads, 250 ms of writes.
import { atMost, bucket, bodies, fill, fresh, name, ok, s3, seconds, skewed } from './target.js';

const objects = atMost(2000);
const b = bodies(8192);

export const options = {
  scenarios: {
    day: {
      executor: 'ramping-arrival-rate', startRate: 50, timeUnit: '1s', preAllocatedVUs: 32, maxVUs: 128,
      stages: [{ target: 400, duration: seconds(10) }, { target: 400, duration: seconds(30) }, { target: 50, duration: seconds(10) }],
    },
  },
  thresholds: {
    cairn_s3_failed: ['rate==0'], dropped_iterations: ['count==0'],
    'cairn_s3_duration{op:get}': ['p(99)<100'], 'cairn_s3_duration{op:put}': ['p(99)<250'],
  },
};

export function setup() {
  fill(objects, b);
}

export default function () {
  const dice = Math.random();
  if (dice < 0.8) {
    ok(s3.get(bucket, name(skewed(objects)), b));
  } else if (dice < 0.9) {
    ok(s3.head(bucket, name(skewed(objects))));
  } else {
    ok(s3.put(bucket, fresh(), b));
  }
}
