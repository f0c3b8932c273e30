/** `fieldproof status`: how the network is doing, in a few lines. */
import type { AddCommand } from '../program.ts';
import { ageText, printable } from '../table.ts';

interface Status {
  readonly nowMs: number;
  readonly startedMs: number;
  readonly network: string | null;
  readonly versions: { readonly fieldproof: string; readonly node: string };
  readonly store: { readonly kind: string; readonly ok: boolean; readonly version: string };
  readonly counts: {
    readonly devices: number | null;
    readonly online: number | null;
    readonly values: number | null;
  };
  readonly projection: {
    readonly nextIndex: number;
    readonly evidenceSize: number;
    readonly lagMs: number;
    readonly name?: string;
    readonly reportedMs?: number;
  } | null;
  readonly broker: { readonly ok: boolean; readonly detail: string };
}

export const addStatus: AddCommand = (program, { run, io }) => {
  const command = program.command('status').description('versions, store, counts and lag');
  command.addHelpText('after', '\nExamples:\n  fieldproof status\n  fieldproof status --json\n');
  run(command, async ({ client, json }) => {
    const status = await client.json<Status>('GET', '/v1/status');
    if (json(status)) return;
    const { counts, store, projection, broker, versions } = status;
    const known = (count: number | null) =>
      count === null ? 'unknown' : count.toLocaleString('en');
    const rows = [
      ['network', status.network ?? 'unknown'],
      ['api', `${client.url}, up for ${ageText(status.nowMs - status.startedMs)}`],
      ['version', `${versions.fieldproof} on Node ${versions.node}`],
      ['store', `${store.kind} ${store.version}${store.ok ? '' : ' (DOES NOT ANSWER)'}`],
      ['devices', `${known(counts.devices)}, online ${known(counts.online)}`],
      ['values', `${known(counts.values)} stored: readings and windows`],
      [
        'projection',
        projection === null ? 'lag unknown' : projectionText(projection, status.nowMs),
      ],
      ['broker', broker.ok ? 'answers' : broker.detail],
    ];
    io.out(rows.map(([name, text]) => `${name!.padEnd(12)}${printable(text!)}\n`).join(''));
  });
};

/** A report older than this says where the projection stopped, not where it is. */
const STALE_MS = 30_000;

function projectionText(projection: NonNullable<Status['projection']>, nowMs: number): string {
  const { nextIndex, evidenceSize, lagMs, name, reportedMs = nowMs } = projection;
  const behind = lagMs < 10_000 ? `${Math.round(lagMs)} ms` : ageText(lagMs);
  const place = `${nextIndex} of ${evidenceSize} entries, ${behind} behind`;
  const who = name === undefined ? '' : ` (${name})`;
  const stale = nowMs - reportedMs > STALE_MS ? `, SILENT for ${ageText(nowMs - reportedMs)}` : '';
  return `${place}${who}${stale}`;
}
