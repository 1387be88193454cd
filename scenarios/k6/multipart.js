// Asks: do uploads in parts go through and arrive whole?
// Fails: an upload that fails, one of the quarter read back that differs, or one that takes 30 s at P99.
import { bucket, done, ok, s3, seconds } from './target.js';
import { check } from 'k6';

const mib = 1024 * 1024;
const parts = [1, 2, 3].map((n) => new Uint8Array(5 * mib).fill(n).buffer);

export const options = {
  scenarios: { all: { executor: 'constant-vus', vus: 2, duration: seconds(15) } },
  thresholds: { cairn_s3_failed: ['rate==0'], checks: ['rate==1'], 'cairn_s3_duration{op:multipart}': ['p(99)<30000'] },
};

export function setup() {
  done(s3.createBucket(bucket));
}

export default function () {
  const key = `parts-${__VU}`;
  ok(s3.multipart(bucket, key, parts));
  if (__ITER % 4 === 0) {
    const got = s3.get(bucket, key);
    check(got, {
      'all parts in order': (a) => {
        const v = a.ok ? new Uint8Array(a.body) : [];
        return v.length === 15 * mib && v[0] === 1 && v[5 * mib - 1] === 1 && v[5 * mib] === 2 && v[10 * mib] === 3 && v[15 * mib - 1] === 3;
      },
    });
  }
}
