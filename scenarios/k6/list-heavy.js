// Asks: do listings stay right and quick while objects are written into the same bucket?
// Fails: a walk that misses, doubles or misplaces a key, a failed request, or a page above 2 s at P99.
import { atMost, bucket, bodies, fill, fresh, name, ok, s3, seconds } from './target.js';
import { check } from 'k6';

const objects = atMost(3000);
const b = bodies(64);

export const options = {
  scenarios: { all: { executor: 'constant-vus', vus: 4, duration: seconds(10) } },
  thresholds: { cairn_s3_failed: ['rate==0'], checks: ['rate==1'], 'cairn_s3_duration{op:list}': ['p(99)<2000'] },
};

export function setup() {
  fill(objects, b, 'list-');
}

export default function () {
  const keys = [];
  let page = { next: '', truncated: true };
  while (page.truncated) {
    page = s3.list(bucket, { prefix: 'list-', next: page.next });
    if (!ok(page)) {
      return;
    }
    keys.push(...page.keys);
    ok(s3.put(bucket, fresh(), b));
  }
  check(keys, { 'each key once, in order': (k) => k.length === objects && k.every((key, n) => key === name(n, 'list-')) });
}
