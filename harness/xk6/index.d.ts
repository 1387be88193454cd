// k6/x/cairn: an S3 client that signs natively, and Cairn's engine in process.
//
// Calls that count (put, get, setMany, putMany, …) work in setup, teardown and
// iterations, not in the init context. A misuse throws; a request that fails
// does not: its Answer says so, and the metrics count it.
//
// Metrics, all usable in thresholds:
//
//   cairn_s3_requests, cairn_s3_duration, cairn_s3_failed,
//   cairn_s3_sent, cairn_s3_received            tag op: put get head list delete multipart bucket
//   cairn_cache_writes, cairn_cache_write_duration, cairn_cache_write_failed
//   cairn_cache_reads, cairn_cache_read_duration, cairn_cache_read_failed
//   cairn_durable_puts, cairn_durable_put_duration, cairn_durable_put_failed
//   cairn_engine_gets, cairn_engine_get_duration, cairn_engine_get_failed
//
// Durations are milliseconds of a call: each of a batch waited for the whole, so
// that a percentile over calls of one size is one over writes. The counters'
// rate is per second.

/** What came of a request. */
export interface Answer {
  ok: boolean;
  /** HTTP status; 0 where there was no answer. */
  status: number;
  /** S3's error code, or NoAnswer, WrongBytes, Unknown; "" if ok. */
  code: string;
  message: string;
  /** With its quotes. */
  etag: string;
  /** Bytes sent by a put or multipart, received by a get. */
  size: number;
  /** Of a get without Bodies; else null. */
  body: ArrayBuffer | null;
  /** Of a list; null if there are none. */
  keys: string[] | null;
  truncated: boolean;
  /** Of a list that is truncated: for the next page. */
  next: string;
}

/** A client in path style. Every request is signed with SigV4, body included. */
export class S3 {
  constructor(options: {
    /** http://host[:port] or https://host[:port]; HTTP/1.1 over both */
    endpoint: string;
    accessKey: string;
    secretKey: string;
    /** us-east-1 */
    region?: string;
    /** Milliseconds of one request; 60000. */
    timeout?: number;
    /** PEM file of the authorities, or of the server's own certificate, to trust instead of the system's. */
    ca?: string;
    /** Accept any certificate, as of a test server that signs its own. k6's insecureSkipTLSVerify has no say here. */
    insecure?: boolean;
  });
  /** Makes a bucket; one that is there is fine. */
  createBucket(bucket: string): Answer;
  put(bucket: string, key: string, body: string | ArrayBuffer | Bodies): Answer;
  /** With Bodies every byte is compared in Go, and the answer has no body. */
  get(bucket: string, key: string, expect?: Bodies): Answer;
  head(bucket: string, key: string): Answer;
  /** One page of keys in order (ListObjectsV2). */
  list(bucket: string, options?: { prefix?: string; after?: string; next?: string; max?: number; delimiter?: string }): Answer;
  /** A key that is not there is fine. */
  delete(bucket: string, key: string): Answer;
  /** One object of parts, each of 5 MiB at least but the last. Aborted if one fails. */
  multipart(bucket: string, key: string, parts: (string | ArrayBuffer)[]): Answer;
}

/** What objects hold, by seed and key: reproducible, not compressible, compared natively. */
export class Bodies {
  constructor(options: { seed?: number; /** Bytes. */ size: number });
  readonly size: number;
}

/** Keys and values that are made in Go, anew for each call. One VU's own. */
export class Batch {
  constructor(options: {
    /** Pairs in each call, 1 to 65536. */
    count: number;
    /** Bytes of each value. */
    size?: number;
    /** How many keys there are, chosen uniformly; 0: each is new. */
    keys?: number;
    prefix?: string;
    seed?: number;
  });
}

export type Pairs = Batch | [key: string, value: string | ArrayBuffer][];

/** Opens Cairn's engine in this process, at its first use. VUs that name one dir share it. */
export function open(options: { dir: string; /** Negative: no cache. */ cacheBytes?: number }): Engine;

/** Cairn's engine. What putMany has put survives the loss of power. */
export class Engine {
  createBucket(name: string): void;
  /** Durable puts with one wait for all; returns how many were acknowledged, throws if one was not. */
  putMany(bucket: string, pairs: Pairs): number;
  /** Reads objects whole; returns how many were there. */
  getMany(bucket: string, keys: Batch | string[]): number;
  /** For all VUs: in teardown. */
  close(): void;
}

/** Opens the engine's memory cache by itself. VUs that give one name share it. */
export function openCache(options: { name?: string; /** Budget for everything, 8 MiB at least. */ bytes: number }): Cache;

/** A memory cache. What is written to it is lost with the process: never a durable write. */
export class Cache {
  /** Returns how many were kept. */
  setMany(pairs: Pairs): number;
  /** Returns how many were found. */
  getMany(keys: Batch | string[]): number;
  get(key: string): ArrayBuffer | null;
  /** For all VUs: in teardown. */
  close(): void;
}

/** A target of the product, scaled to this machine: cache-writes or durable-puts. */
export function headline(name: string): Headline;

/** For thresholds: `rate>=${headline.rate}` and `p(99)<${headline.p99}`. */
export class Headline {
  readonly name: string;
  /** Per second, on this machine. */
  readonly rate: number;
  /** Per second, of the target itself. */
  readonly targetRate: number;
  /** Milliseconds. */
  readonly p99: number;
  /** rate / targetRate; below 1 a pass is a scaled pass. */
  readonly scale: number;
  readonly durability: string;
  /** Of all that the VUs have done: pass, scaled pass, fail or cannot tell. */
  verdict(): { outcome: string; reasons: string[] };
}

/** All that the VUs have done, with raw histograms, as JSON for lab run; "" if nothing. */
export function result(headline: string): string;
