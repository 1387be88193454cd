// Asks: how many objects of 4 KiB can be written and read in a second, when each client goes on at once?
// Fails: a failed request or a wrong byte, or a P99 above 500 ms. The rate is for comparisons to judge.
import { atMost, bucket, bodies, fill, fresh, name, ok, s3, seconds, uniform } from './target.js';

const objects = atMost(1000);
const b = bodies(4096);

export const options = {
  scenarios: { all: { executor: 'constant-vus', vus: 16, duration: seconds(10) } },
  thresholds: { cairn_s3_failed: ['rate==0'], 'cairn_s3_duration{op:put}': ['p(99)<500'], 'cairn_s3_duration{op:get}': ['p(99)<500'] },
};

export function setup() {
  fill(objects, b);
}

export default function () {
  ok(s3.put(bucket, fresh(), b));
  ok(s3.get(bucket, name(uniform(objects)), b));
}
