/** What `npm start` prints: the way up, and where everything is. Pure text. */

import type { RunningNetwork } from './network.ts';

const LABELS: Readonly<Record<string, string>> = {
  broker: 'broker: verifies and records',
  control: 'control: store, API, dashboard',
  flows: 'flows: Node-RED',
  agent: 'agent: this machine’s own sensors',
  fleet: 'demo fleet: 8 devices that replay recorded data',
};

/** One line for a process that has become ready. */
export function readyLine(name: string, detail: string): string {
  return `  ✓ ${(LABELS[name] ?? name).padEnd(50)} ${detail}`.trimEnd();
}

export function recordedLine(event: { readonly name: string; readonly atMs: number }): string {
  return `first reading recorded ${clock(event.atMs)} (${event.name})`;
}

/** Where everything is and how to log in. */
export function summary(
  network: RunningNetwork,
  secrets: {
    readonly controlToken: string;
    readonly editorPassword: string;
    readonly dataDir: string;
    readonly store: string;
  },
): string {
  const rows: readonly (readonly [string, string])[] = [
    ['Dashboard', `${network.control.url}/#token=${secrets.controlToken}`],
    ['Editor', `${network.flows.url}   user admin, password ${secrets.editorPassword}`],
    ['MQTT', [network.broker.mqtt, network.broker.mqtts].filter(Boolean).join('   ')],
    ...(network.broker.plain === null
      ? []
      : [['MQTT tools', `${network.broker.plain}   the plain profile`] as const]),
    ['Evidence log', `${network.broker.http}/log/evidence/checkpoint`],
    ['Network', network.network],
    ['Store', secrets.store],
    ['Data and logs', secrets.dataDir],
  ];
  const lines = rows.map(([label, value]) => `  ${label.padEnd(14)} ${value}`);
  return ['', ...lines, '', '  Ctrl-C stops everything.', ''].join('\n');
}

/** How other machines join; with the QR code of the line. */
export function joinInstructions(joinLine: string, qr: string): string {
  return [
    '  Other devices of this network join with',
    '',
    `    npx fieldproof-agent init --join '${joinLine}' && npx fieldproof-agent run`,
    '',
    qr,
    '',
  ].join('\n');
}

/** Local time of day, HH:MM:SS. */
export function clock(atMs: number): string {
  const date = new Date(atMs);
  return [date.getHours(), date.getMinutes(), date.getSeconds()]
    .map((part) => String(part).padStart(2, '0'))
    .join(':');
}
