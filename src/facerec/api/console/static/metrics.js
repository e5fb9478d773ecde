// Reads what /metrics tells (Prometheus' text) as far as the console shows it.

const LINE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)/;
const LABEL = /(\w+)="((?:[^"\\]|\\.)*)"/g;

/** The samples of a text: [{name, labels, value}]. */
export function readMetrics(text) {
  const samples = [];
  for (const line of text.split("\n")) {
    const found = line.startsWith("#") ? null : LINE.exec(line);
    if (!found) continue;
    const labels = Object.fromEntries([...(found[2] ?? "").matchAll(LABEL)].map(([, name, value]) => [name, value]));
    samples.push({ name: found[1], labels, value: Number(found[3]) });
  }
  return samples;
}

/** The sum of the samples of a name that are to be kept. */
export const total = (samples, name, keep) =>
  samples.filter((each) => each.name === name && keep(each)).reduce((sum, each) => sum + each.value, 0);

/** The value under which a share of a histogram's observations lies, between two readings; null for none. */
export function quantile(before, after, name, share, keep) {
  const sums = new Map();
  const add = (samples, sign) => {
    for (const each of samples) {
      if (each.name !== `${name}_bucket` || !keep(each)) continue;
      const bound = each.labels.le === "+Inf" ? Infinity : Number(each.labels.le);
      sums.set(bound, (sums.get(bound) ?? 0) + sign * each.value);
    }
  };
  add(after, 1);
  add(before, -1);
  const bounds = [...sums].sort(([a], [b]) => a - b);
  const wanted = (bounds.at(-1)?.[1] ?? 0) * share;
  if (wanted <= 0) return null;
  let [low, counted] = [0, 0];
  for (const [bound, upTo] of bounds) {
    if (upTo >= wanted) return bound === Infinity ? low : low + (bound - low) * ((wanted - counted) / (upTo - counted));
    [low, counted] = [bound, upTo];
  }
  return null;
}
