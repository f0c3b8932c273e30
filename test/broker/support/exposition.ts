/** A strict reader of the Prometheus text format 0.0.4, for what a scrape gives. */

export interface ReadFamily {
  readonly name: string;
  readonly type: string;
  readonly help: string;
  readonly samples: Map<string, number>;
}

const NAME = '[a-zA-Z_:][a-zA-Z0-9_:]*';
const LABEL = '[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\\\\n]|\\\\["\\\\n])*"';
const SAMPLE = new RegExp(`^(${NAME})(\\{${LABEL}(?:,${LABEL})*\\})? (\\S+)$`);

/** @throws {Error} at the first line that is not as the format says. */
export function readExposition(text: string): Map<string, ReadFamily> {
  if (!text.endsWith('\n')) throw new Error('expected a line feed at the end');
  const families = new Map<string, ReadFamily>();
  const lines = text.slice(0, -1).split('\n');
  let family: ReadFamily | null = null;
  for (let i = 0; i < lines.length; i++) {
    const line = lines[i]!;
    const help = new RegExp(`^# HELP (${NAME}) (.+)$`).exec(line);
    if (help) {
      const name = help[1]!;
      const type = new RegExp(`^# TYPE ${name} (counter|gauge|histogram)$`).exec(lines[++i] ?? '');
      if (!type || families.has(name)) throw new Error(`${line}: expected one TYPE after it`);
      family = { name, type: type[1]!, help: help[2]!, samples: new Map() };
      families.set(name, family);
      continue;
    }
    const sample = SAMPLE.exec(line);
    if (!sample || family === null) throw new Error(`${line}: expected a sample`);
    const [, name = '', labels = '', value = ''] = sample;
    const suffixes = family.type === 'histogram' ? ['_bucket', '_sum', '_count'] : [''];
    if (!suffixes.some((suffix) => name === `${family!.name}${suffix}`)) {
      throw new Error(`${line}: expected a sample of ${family.name}`);
    }
    const series = `${name.slice(family.name.length)}${labels}`;
    if (family.samples.has(series)) throw new Error(`${line}: expected it once`);
    family.samples.set(series, readValue(value));
  }
  for (const { name, samples } of families.values()) {
    if (samples.size === 0) throw new Error(`${name}: expected a sample`);
  }
  return families;
}

function readValue(text: string): number {
  if (text === '+Inf') return Number.POSITIVE_INFINITY;
  if (text === '-Inf') return Number.NEGATIVE_INFINITY;
  const value = Number(text);
  if (Number.isNaN(value) && text !== 'NaN') throw new Error(`${text}: expected a number`);
  return value;
}
