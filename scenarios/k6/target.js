// What the scripts beside this one have in common: where the server is, the
// bucket, and times that can be shortened. Not a script itself.
//
//   CAIRN_ENDPOINT     http://127.0.0.1:9000; https:// too
//   CAIRN_CA           PEM file to trust instead of the system's authorities
//   CAIRN_INSECURE     1: accept any certificate
//   CAIRN_ACCESS_KEY, CAIRN_SECRET_KEY; else AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY
//   CAIRN_BUCKET       lab-k6
//   CAIRN_PACE         multiplies all times; 1
//   CAIRN_OBJECTS      at most so many objects are put before the load
import { S3, Bodies } from 'k6/x/cairn';
import { check, fail } from 'k6';

export const bucket = __ENV.CAIRN_BUCKET || 'lab-k6';
export const s3 = new S3({
  endpoint: __ENV.CAIRN_ENDPOINT || 'http://127.0.0.1:9000',
  accessKey: __ENV.CAIRN_ACCESS_KEY || __ENV.AWS_ACCESS_KEY_ID || 'minioadmin',
  secretKey: __ENV.CAIRN_SECRET_KEY || __ENV.AWS_SECRET_ACCESS_KEY || 'minioadmin',
  ca: __ENV.CAIRN_CA || '',
  insecure: __ENV.CAIRN_INSECURE === '1',
});

const pace = Number(__ENV.CAIRN_PACE || 1);

// seconds is a time as k6 writes it, shortened by the pace to a second at
// least, which is the least that k6 takes.
export function seconds(s) {
  return s === 0 ? '0s' : `${Math.max(1000, Math.round(s * pace * 1000))}ms`;
}

// atMost is how many objects a script works on.
export function atMost(n) {
  return Math.min(n, Number(__ENV.CAIRN_OBJECTS || n));
}

export function bodies(size) {
  return new Bodies({ seed: 1, size });
}

// fill makes the bucket and puts count objects, in setup.
export function fill(count, b, prefix = 'o-') {
  done(s3.createBucket(bucket));
  for (let n = 0; n < count; n++) {
    done(s3.put(bucket, name(n, prefix), b));
  }
}

export function name(n, prefix = 'o-') {
  return prefix + String(n).padStart(8, '0');
}

// fresh is a key that nobody has put yet.
export function fresh(prefix = 'p-') {
  return `${prefix}${__VU}-${__ITER}-${Math.floor(Math.random() * 1e9)}`;
}

export function uniform(count) {
  return Math.floor(Math.random() * count);
}

// skewed chooses few of count often: a Pareto distribution's tail index is 1.
export function skewed(count) {
  return Math.min(count - 1, Math.floor(1 / (1 - Math.random() * (1 - 1 / (count + 1)))) - 1);
}

// ok checks an answer; done fails the run without one.
export function ok(answer) {
  check(answer, { 'answered and right': (a) => a.ok });
  return answer.ok;
}

export function done(answer) {
  if (!answer.ok) {
    fail(`${answer.status} ${answer.code}: ${answer.message}`);
  }
}
