// Asks: ten times as many as a moment ago come at once and leave again. Are they served, and is all as before?
// Fails: a failed request, or a P99 above 250 ms when they have left.
import { atMost, bucket, bodies, fill, fresh, name, ok, s3, seconds, skewed } from './target.js';

const objects = atMost(1000);
const b = bodies(16384);
const part = (rate, start, long, tag) => ({
  executor: 'constant-arrival-rate', rate, timeUnit: '1s', startTime: seconds(start), duration: seconds(long),
  preAllocatedVUs: 64, maxVUs: 256, tags: { part: tag },
});

export const options = {
  scenarios: { before: part(100, 0, 8, 'before'), spike: part(1000, 8, 4, 'spike'), settling: part(100, 12, 4, 'settling'), after: part(100, 16, 8, 'after') },
  thresholds: {
    cairn_s3_failed: ['rate==0'], 'cairn_s3_duration{part:before}': ['p(99)<100'], 'cairn_s3_duration{part:spike}': ['p(99)<5000'],
    'cairn_s3_duration{part:after}': ['p(99)<250'],
  },
};

export function setup() {
  fill(objects, b);
}

export default function () {
  if (Math.random() < 0.9) {
    ok(s3.get(bucket, name(skewed(objects)), b));
  } else {
    ok(s3.put(bucket, fresh(), b));
  }
}
