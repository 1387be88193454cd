// Asks: how much of the usual mix, 70 reads, 20 writes and 10 deletes in a hundred, is carried?
// Fails: a failed request or a wrong byte, or a P99 above 500 ms of any of the three.
import { atMost, bucket, bodies, fill, fresh, name, ok, s3, seconds, skewed } from './target.js';

const objects = atMost(1000);
const b = bodies(4096);
const mine = [];

export const options = {
  scenarios: { all: { executor: 'constant-vus', vus: 16, duration: seconds(10) } },
  thresholds: {
    cairn_s3_failed: ['rate==0'],
    'cairn_s3_duration{op:get}': ['p(99)<500'], 'cairn_s3_duration{op:put}': ['p(99)<500'], 'cairn_s3_duration{op:delete}': ['p(99)<500'],
  },
};

export function setup() {
  fill(objects, b);
}

export default function () {
  const dice = Math.random();
  if (dice < 0.7) {
    ok(s3.get(bucket, name(skewed(objects)), b));
  } else if (dice < 0.9 || mine.length === 0) {
    const key = fresh();
    if (ok(s3.put(bucket, key, b))) {
      mine.push(key);
    }
  } else {
    ok(s3.delete(bucket, mine.pop()));
  }
}
