// What the engine's scripts say at their end. Not a script itself.
import { headline, result } from 'k6/x/cairn';

// summary prints the verdict, and leaves the whole histograms in the file that
// CAIRN_RESULT names. A scaled pass is called so: it is not the target.
export function summary(name) {
  const h = headline(name);
  const v = h.verdict();
  const out = { stdout: `\n${name}: ${v.outcome.toUpperCase()}\n  ${v.reasons.join('\n  ')}\n` };
  const file = __ENV.CAIRN_RESULT;
  const text = result(name);
  if (file && text) {
    out[file] = text;
  }
  return out;
}
