// Asks: do readers of a few keys that are overwritten all the time see whole versions?
// Fails: a read of any other bytes than were written, a failed request, or a P99 above 500 ms.
import { atMost, bucket, bodies, fill, name, ok, s3, seconds, uniform } from './target.js';
import { check } from 'k6';

const objects = atMost(50);
const b = bodies(4096);

export const options = {
  scenarios: { all: { executor: 'constant-vus', vus: 16, duration: seconds(10) } },
  thresholds: { cairn_s3_failed: ['rate==0'], checks: ['rate==1'], cairn_s3_duration: ['p(99)<500'] },
};

export function setup() {
  fill(objects, b, 'over-');
}

// A version is one letter over and over: a mix of two is seen at once.
export default function () {
  const key = name(uniform(objects), 'letter-');
  ok(s3.put(bucket, key, String.fromCharCode(97 + uniform(26)).repeat(4096)));
  const got = s3.get(bucket, key);
  if (ok(got)) {
    const bytes = new Uint8Array(got.body);
    check(bytes, { 'one whole version': (v) => v.length === 4096 && v.every((c) => c === v[0]) });
  }
}
