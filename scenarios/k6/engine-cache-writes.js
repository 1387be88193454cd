// Asks: does the engine's cache take a million writes a second, in process, with a P99 below 10 ms?
// Fails: less, or a P99 of 10 ms and more. A smaller machine must show its share, and that is a scaled pass.
// These writes are lost with the process. engine-durable-puts.js asks for those that are not.
import { Batch, headline, openCache } from 'k6/x/cairn';
import { summary } from './verdict.js';

const goal = headline('cache-writes');
const cache = openCache({ bytes: 512 * 1024 * 1024 });
const batch = new Batch({ count: 512, size: 256, keys: 1e6, seed: 1 });

export const options = {
  scenarios: { all: { executor: 'constant-vus', vus: Number(__ENV.CAIRN_VUS || 4), duration: __ENV.CAIRN_DURATION || '10s', gracefulStop: '5s' } },
  thresholds: { cairn_cache_writes: [`rate>=${goal.rate}`], cairn_cache_write_duration: [`p(99)<${goal.p99}`], cairn_cache_write_failed: ['rate==0'] },
};

export default function () {
  cache.setMany(batch);
}

export function teardown() {
  cache.close();
}

export function handleSummary() {
  return summary('cache-writes');
}
