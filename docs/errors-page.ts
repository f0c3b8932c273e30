/** Makes docs/errors.md from the packages' tables: `node --import tsx docs/errors-page.ts`. A test compares the two. */

import { writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { ANALYTICS_ERRORS } from '@fieldproof/analytics/errors';
import { BROKER_ERRORS } from '@fieldproof/broker/errors';
import { COMPUTE_ERRORS } from '@fieldproof/compute/errors';
import { AGENT_ERRORS } from '@fieldproof/device-agent/errors';
import { FLOWS_ERRORS } from '@fieldproof/flows/errors';
import { type ErrorRow, PROTOCOL_ERRORS } from '@fieldproof/protocol/errors';
import { STACK_ERRORS } from '@fieldproof/stack/errors';

export const ERROR_TABLES: Readonly<Record<string, Readonly<Record<string, ErrorRow>>>> = {
  protocol: PROTOCOL_ERRORS,
  compute: COMPUTE_ERRORS,
  'device-agent': AGENT_ERRORS,
  broker: BROKER_ERRORS,
  analytics: ANALYTICS_ERRORS,
  flows: FLOWS_ERRORS,
  stack: STACK_ERRORS,
};

const HEAD = `# Error codes

Codes are stable: rejects, counters, problem details, logs and command lines use them. Each is listed with the package that raises it.
`;

/** The whole page. */
export function errorsPage(): string {
  const sections = Object.entries(ERROR_TABLES).map(([name, table]) => {
    const rows = Object.entries(table)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([code, { what, remedy }]) => `| \`${code}\` | ${cell(what)} | ${cell(remedy)} |`);
    return `## ${name}\n\n| Code | What happened | What to do |\n| --- | --- | --- |\n${rows.join('\n')}\n`;
  });
  return [HEAD, ...sections].join('\n');
}

function cell(text: string): string {
  return text.replaceAll('|', '\\|');
}

if (process.argv[1] === import.meta.filename) {
  writeFileSync(resolve(import.meta.dirname, 'errors.md'), errorsPage());
}
