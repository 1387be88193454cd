// Asks: how many bytes a second go in and out in objects of 8 MiB?
// Fails: a failed request, a wrong byte, or a P99 above 10 s.
import { atMost, bucket, bodies, fill, fresh, name, ok, s3, seconds, uniform } from './target.js';

const objects = atMost(4);
const b = bodies(8 * 1024 * 1024);

export const options = {
  scenarios: { all: { executor: 'constant-vus', vus: 4, duration: seconds(10) } },
  thresholds: { cairn_s3_failed: ['rate==0'], 'cairn_s3_duration{op:put}': ['p(99)<10000'], 'cairn_s3_duration{op:get}': ['p(99)<10000'] },
};

export function setup() {
  fill(objects, b, 'large-');
}

export default function () {
  if (__ITER % 4 === 0) {
    ok(s3.put(bucket, `large-vu-${__VU}`, b));
  } else {
    ok(s3.get(bucket, name(uniform(objects), 'large-'), b));
  }
}
