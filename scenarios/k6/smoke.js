// Asks: does the server do everything that a client asks for, with the right bytes, at a trickle?
// Fails: one request that fails or one wrong byte or key.
import { bucket, bodies, done, fresh, ok, s3, seconds } from './target.js';
import { check } from 'k6';

const b = bodies(4096);
const part = new Uint8Array(5 * 1024 * 1024).fill(7).buffer;

export const options = {
  scenarios: { trickle: { executor: 'constant-arrival-rate', rate: 5, timeUnit: '1s', duration: seconds(10), preAllocatedVUs: 4 } },
  thresholds: { cairn_s3_failed: ['rate==0'], checks: ['rate==1'], cairn_s3_duration: ['p(99)<5000'], dropped_iterations: ['count==0'] },
};

export function setup() {
  done(s3.createBucket(bucket));
}

export default function () {
  const key = fresh('smoke-');
  ok(s3.put(bucket, key, b));
  ok(s3.get(bucket, key, b));
  ok(s3.head(bucket, key));
  const page = s3.list(bucket, { prefix: key });
  check(page, { 'the key is listed': (p) => p.ok && p.keys.length === 1 && p.keys[0] === key });
  ok(s3.delete(bucket, key));
  check(s3.list(bucket, { prefix: key }), { 'the key is gone': (p) => p.ok && p.keys.length === 0 });
  if (__ITER === 0) {
    const large = s3.multipart(bucket, key, [part, 'the end']);
    check(large, { 'parts make one object': (a) => a.ok && a.size === part.byteLength + 7 });
    const whole = s3.get(bucket, key);
    check(whole, { 'it comes back whole': (a) => a.ok && a.body.byteLength === part.byteLength + 7 && new Uint8Array(a.body)[4096] === 7 });
    ok(s3.delete(bucket, key));
  }
}
