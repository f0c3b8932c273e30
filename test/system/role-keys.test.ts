/**
 * All four role keys of a live network replaced under load: agents go on in the sessions they have, nothing is lost or
 * parked, and from the root key alone every entry verifies under the keys in force at its index.
 */

import { randomBytes } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { auditConservation } from '@fieldproof/analytics/audit/conservation';
import {
  evidenceFolder,
  readCheckpoint,
  readRejects,
  readSegments,
} from '@fieldproof/analytics/audit/evidence-files';
import { readOutbox } from '@fieldproof/analytics/audit/outbox-files';
import { initAgent } from '@fieldproof/device-agent/init';
import { loadStatus } from '@fieldproof/device-agent/status';
import { fromBase64url } from '@fieldproof/protocol/bytes';
import { verifyCheckpoint } from '@fieldproof/protocol/checkpoint';
import { verify } from '@fieldproof/protocol/ed25519-node';
import { downAad, open } from '@fieldproof/protocol/envelope';
import { decodeEvidenceEntry } from '@fieldproof/protocol/log-entries';
import { NetworkHistory } from '@fieldproof/protocol/network-history';
import { decodeReceipt } from '@fieldproof/protocol/settlement-messages';
import { createJoinLine } from '@fieldproof/stack/broker-admin';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { type Commands, startCommands } from '../broker/support/commands.ts';
import { until } from '../support/network.ts';
import { type OwnProcess, startProcess } from '../torn/support/own-process.ts';

const ROLES = ['registry', 'log', 'control', 'ledger'] as const;
const AGENTS = ['roof', 'yard'];
const AGENT_YAML = `name: load
sensors:
  - { driver: simulated, profile: room, intervalMs: 100, seed: 1 }
batch: { sealEveryMs: 100 }
outbox: { fsyncEveryMs: 20 }
link: { backoffMinMs: 100, backoffMaxMs: 1000 }
`;

let folder: string;
let broker: OwnProcess;
let commands: Commands;
let agents: OwnProcess | undefined;
const agentFolders = () => AGENTS.map((name) => join(folder, name));

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'fieldproof-role-keys-'));
  broker = await startProcess('broker/src/broker-main.ts', {
    env: {
      FIELDPROOF_BROKER_DATA_DIR: join(folder, 'broker'),
      FIELDPROOF_BROKER_HTTP_PORT: '0',
      FIELDPROOF_BROKER_MQTT_PORT: '0',
      FIELDPROOF_BROKER_RECEIPT_INTERVAL_MS: '100',
      FIELDPROOF_BROKER_PUBLISH_INTERVAL_MS: '100',
    },
  });
  const { http } = broker.ready.addresses as { http: string };
  const admin = { url: http, tokenFile: join(folder, 'broker/tokens/admin') };
  const joinLine = await createJoinLine(admin, { uses: AGENTS.length, hours: 1 });
  for (const dataDir of agentFolders()) {
    await initAgent({
      ...{ dataDir, joinLine, name: 'load', configYaml: AGENT_YAML },
      owner: { type: 'phrase', phrase: `${'abandon '.repeat(11)}about` },
      random: (length) => new Uint8Array(randomBytes(length)),
    });
  }
  commands = await startCommands();
  agents = await startProcess('stack/src/agents-main.ts', { args: agentFolders() });
});

afterAll(async () => {
  await commands?.stop();
  await agents?.end('SIGKILL');
  await broker?.end('SIGKILL');
  rmSync(folder, { recursive: true, force: true });
});

/** Waits until the broker has recorded so many envelopes more. */
async function recordMore(count: number): Promise<void> {
  const { http } = broker.ready.addresses as { http: string };
  const token = readFileSync(join(folder, 'broker/tokens/admin'), 'utf8').trim();
  const accepted = async () => {
    const headers = { authorization: `Bearer ${token}` };
    const status = await (await fetch(`${http}/admin/status`, { headers })).json();
    return (status as { verdicts: { accepted: number } }).verdicts.accepted;
  };
  const before = await accepted();
  await until(
    `${count} more envelopes are recorded`,
    async () => (await accepted()) >= before + count,
  );
}

test('all four role keys are replaced under load, and nothing is lost', async () => {
  const data = join(folder, 'broker');
  await recordMore(10);
  for (const role of ROLES) {
    const rotated = await commands.run('keys', 'rotate', role, '--data', data, '--json');
    expect([role, rotated]).toEqual([role, expect.objectContaining({ code: 0 })]);
    expect(JSON.parse(rotated.stdout)).toMatchObject({ installed: true });
    await recordMore(10);
  }
  await agents!.end('SIGTERM');
  const told = agents!.output();
  const sessions = broker
    .output()
    .split('\n')
    .filter((line) => line.includes('"session-begin"'));
  // Each agent has kept the session with which it began.
  expect(sessions).toHaveLength(AGENTS.length);
  expect(told).toContain('newer network descriptor');
  expect(told).not.toMatch(/ignored|put aside|not renewed/);
  await broker.end('SIGTERM');

  const { segments, rejects, checkpoint } = evidenceFolder(data);
  const devices = await Promise.all(agentFolders().map((dataDir) => readOutbox(dataDir)));
  const report = await auditConservation({
    frames: (onProblem) => readSegments(segments, onProblem),
    rejects: await readRejects(rejects, () => {}),
    checkpoint: await readCheckpoint(checkpoint),
    devices,
  });
  expect(report.checks.filter(({ violations }) => violations > 0)).toEqual([]);

  // As an outsider: the root key, and what is in the log.
  const network = String(broker.ready.network);
  const rootKey = fromBase64url(readFileSync(join(data, 'keys/root.pub'), 'utf8').trim());
  const history = new NetworkHistory({ network, rootKey, verify });
  let statements = 0;
  for await (const frame of readSegments(segments, () => {})) {
    const { index } = frame;
    const entry = decodeEvidenceEntry(frame.entry);
    if (entry.type === 'network') history.add({ ...entry, index });
    if (entry.type !== 'registry') continue;
    history.openRegistryEntry({ ...entry, index });
    statements += 1;
  }
  expect(statements).toBeGreaterThanOrEqual(1 + AGENTS.length);
  expect(history.versions.map(({ descriptor }) => descriptor.version)).toEqual([1, 2, 3, 4, 5]);
  const [first, last] = [history.versions.at(0)!, history.versions.at(-1)!];
  for (const role of ROLES) {
    expect(last.descriptor.keys[role]).not.toEqual(first.descriptor.keys[role]);
  }
  const note = readFileSync(checkpoint, 'utf8');
  const { size } = (await readCheckpoint(checkpoint))!;
  const { origins } = last.descriptor;
  const log = history.checkpointKey(size);
  verifyCheckpoint(note, { origin: origins.evidence, log, verify });
  for (const [i, dataDir] of agentFolders().entries()) {
    const path = join(dataDir, 'state/receipt.cose');
    expect(existsSync(path)).toBe(true);
    const device = (await loadStatus(dataDir))!;
    expect(device.counts).toMatchObject({ rejected: 0, parked: 0 });
    const bytes = new Uint8Array(readFileSync(path));
    const externalAad = downAad(network, 'receipt', devices[i]!.device);
    const opened = history
      .receiptKeys(0)
      .flatMap((publicKey) => tryOpen(() => open(bytes, { externalAad, publicKey, verify })));
    expect(opened).toHaveLength(1);
    const [entry] = decodeReceipt(opened[0]!.payload).entry;
    expect(entry).toBeLessThan(size);
  }
});

function tryOpen<T>(work: () => T): T[] {
  try {
    return [work()];
  } catch {
    return [];
  }
}
