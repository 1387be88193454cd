// Asks: does the engine take a million durable puts a second, in process, with a P99 below 10 ms?
// Fails: less, a P99 of 10 ms and more, or a put that fails. A smaller machine must show its share, and that is a
// scaled pass. Each put counted has been synced to the drive.
import { Batch, headline, open } from 'k6/x/cairn';
import { summary } from './verdict.js';

const goal = headline('durable-puts');
const engine = open({ dir: __ENV.CAIRN_DIR || './data-k6' });
const batch = new Batch({ count: Number(__ENV.CAIRN_BATCH || 64), size: 256, seed: 1 });

export const options = {
  scenarios: { all: { executor: 'constant-vus', vus: Number(__ENV.CAIRN_VUS || 12), duration: __ENV.CAIRN_DURATION || '20s', gracefulStop: '10s' } },
  thresholds: { cairn_durable_puts: [`rate>=${goal.rate}`], cairn_durable_put_duration: [`p(99)<${goal.p99}`], cairn_durable_put_failed: ['rate==0'] },
};

export function setup() {
  engine.createBucket('bench');
}

export default function () {
  engine.putMany('bench', batch);
}

export function teardown() {
  engine.close();
}

export function handleSummary() {
  return summary('durable-puts');
}
