/**
 * The Prometheus text exposition format, version 0.0.4: writes it, and nothing else. Pure.
 *
 * Left out: timestamps, summaries, exemplars and OpenMetrics. Names and label names are the program's own and checked;
 * label values may be anything.
 */

export const EXPOSITION_TYPE = 'text/plain; version=0.0.4; charset=utf-8';

export type Labels = Readonly<Record<string, string>>;

export interface Sample {
  readonly labels?: Labels;
  readonly value: number;
}

/** What was observed: how many values were at most each bound, and all of them. */
export interface Distribution {
  /** Upper bounds, rising; +Inf is implied. */
  readonly bounds: readonly number[];
  /** One more than bounds: how many fell between one bound and the next. */
  readonly counts: ArrayLike<number>;
  readonly sum: number;
}

/** A metric family: one name, one type, a sample for each set of labels. */
export type Family =
  | {
      readonly type: 'counter' | 'gauge';
      readonly name: string;
      readonly help: string;
      readonly samples: readonly Sample[];
    }
  | {
      readonly type: 'histogram';
      readonly name: string;
      readonly help: string;
      readonly distribution: Distribution;
    };

const METRIC_NAME = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/;
const LABEL_NAME = /^(?!__)[a-zA-Z_][a-zA-Z0-9_]*$/;

/** A family with one sample and no labels. */
export function single(
  type: 'counter' | 'gauge',
  name: string,
  { help, value }: { readonly help: string; readonly value: number },
): Family {
  return { type, name, help, samples: [{ value }] };
}

/** A family with one sample for each key, which is the value of the label. */
export function keyed(
  type: 'counter' | 'gauge',
  name: string,
  options: {
    readonly help: string;
    readonly label: string;
    readonly values: Readonly<Record<string, number>>;
  },
): Family {
  const { help, label, values } = options;
  const samples = Object.entries(values).map(([key, value]) => ({
    labels: { [label]: key },
    value,
  }));
  return { type, name, help, samples };
}

/**
 * Writes families; those without a sample are left out.
 *
 * @throws {RangeError} when a name is not one, or a family or a set of labels is there twice.
 */
export function formatMetrics(families: readonly Family[]): string {
  const names = new Set<string>();
  let text = '';
  for (const family of families) {
    const { name, help, type } = family;
    if (!METRIC_NAME.test(name) || names.has(name)) {
      throw new RangeError(`metric ${name}: expected a name of its own`);
    }
    names.add(name);
    const lines = type === 'histogram' ? histogramLines(family) : sampleLines(family);
    if (lines.length === 0) continue;
    text += `# HELP ${name} ${escapeHelp(help)}\n# TYPE ${name} ${type}\n${lines.join('\n')}\n`;
  }
  return text;
}

function sampleLines(family: Family & { readonly type: 'counter' | 'gauge' }): readonly string[] {
  const seen = new Set<string>();
  return family.samples.map(({ labels = {}, value }) => {
    const series = `${family.name}${formatLabels(labels)}`;
    if (seen.has(series)) throw new RangeError(`${series}: expected one sample, got two`);
    seen.add(series);
    return `${series} ${formatValue(value)}`;
  });
}

function histogramLines({
  name,
  distribution: { bounds, counts, sum },
}: Family & { readonly type: 'histogram' }): readonly string[] {
  let total = 0;
  const lines = [...bounds, Number.POSITIVE_INFINITY].map((bound, i) => {
    total += counts[i] ?? 0;
    return `${name}_bucket{le="${formatValue(bound)}"} ${total}`;
  });
  return [...lines, `${name}_sum ${formatValue(sum)}`, `${name}_count ${total}`];
}

function formatLabels(labels: Labels): string {
  const parts = Object.entries(labels).map(([key, value]) => {
    if (!LABEL_NAME.test(key)) throw new RangeError(`label ${key}: expected a label name`);
    return `${key}="${escapeValue(value)}"`;
  });
  return parts.length === 0 ? '' : `{${parts.join(',')}}`;
}

function formatValue(value: number): string {
  if (value === Number.POSITIVE_INFINITY) return '+Inf';
  return value === Number.NEGATIVE_INFINITY ? '-Inf' : String(value);
}

function escapeHelp(text: string): string {
  return text.replace(/\\/g, '\\\\').replace(/\n/g, '\\n');
}

function escapeValue(text: string): string {
  return escapeHelp(text).replace(/"/g, '\\"');
}
