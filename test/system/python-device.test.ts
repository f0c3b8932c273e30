/**
 * The device of docs/guides/python-device, which shares no code with the network: it checks the published vectors,
 * and runs against a broker process as an honest device and as a dishonest one.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { programPath } from '../support/program.ts';
import { describeWith, findService, REPOSITORY } from '../support/services.ts';

const GUIDE = join(REPOSITORY, 'docs/guides/python-device');
const BROKER = 'broker/bin/fieldproof-broker.mjs';

interface Status {
  readonly verdicts: {
    readonly received: number;
    readonly accepted: number;
    readonly duplicate: number;
    readonly rejected: number;
    readonly rejectedByCode: Readonly<Record<string, number>>;
  };
  readonly devices: number;
}

describeWith(['python3'], 'the Python device', () => {
  let folder: string;
  let broker: ChildProcess;
  let http: string;
  let joinLine: string;

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'fieldproof-python-'));
    broker = spawn(
      process.execPath,
      [
        ...[programPath(BROKER), 'start', '--data', join(folder, 'broker')],
        ...['--http-port', '0', '--mqtt-port', '0'],
      ],
      { stdio: ['ignore', 'pipe', 'ignore'] },
    );
    http = await readyAddress(broker);
    ({ joinLine } = (await admin('POST', '/admin/tokens', { uses: 2 })) as { joinLine: string });
  });

  afterAll(async () => {
    if (broker?.exitCode === null) {
      const ended = new Promise((resolve) => broker.once('exit', resolve));
      broker.kill('SIGTERM');
      await ended;
    }
    rmSync(folder, { recursive: true, force: true });
  });

  test('every published vector holds', async () => {
    const { code, output } = await python('check_vectors.py');
    expect(output).toMatch(/^\d+ passed, 0 failed\n$/);
    expect(code).toBe(0);
  });

  test('its envelopes are recorded and receipted, and its keys are its own', async () => {
    const run = await device('--value', '21.53', '21.55', '21.48');
    expect(run).toMatchObject({ code: 0, accepted: 3, duplicate: 0, codes: {} });
    expect(run.lines[0]).toBe('enrolled');
    expect(run.lines.filter((line) => line.startsWith('settled')).sort()).toEqual([
      'settled boot=1 seq=0 kind=birth',
      'settled boot=1 seq=1 kind=telemetry',
      'settled boot=1 seq=2 kind=telemetry',
    ]);
    for (const key of ['device.key', 'owner.key'])
      expect(statSync(join(folder, 'device', key)).mode & 0o777).toBe(0o600);
  });

  test('a resend is a duplicate and records nothing', async () => {
    const run = await device('--resend');
    expect(run).toMatchObject({ code: 0, accepted: 3, duplicate: 1, codes: {} });
    expect(run.lines).not.toContain('enrolled');
    expect(run.lines.at(-1)).toBe('duplicate: nothing new recorded');
  });

  test('relative times without a clock are recorded', async () => {
    const run = await device('--unsynced', '--value', '1', '2.5', '-30');
    expect(run).toMatchObject({ code: 0, accepted: 3, codes: {} });
  });

  test('an altered copy is refused and the original recorded', async () => {
    const run = await device('--alter');
    expect(run).toMatchObject({ code: 0, accepted: 3, codes: { ERR_SIGNATURE_INVALID: 1 } });
    expect(rejected(run.lines)).toEqual(['seq=None code=ERR_SIGNATURE_INVALID permanent']);
  });

  test.each([
    { flags: ['--kind', 'event'], code: 'ERR_WRONG_KIND' },
    { flags: ['--kind', 'receipt'], code: 'ERR_TOPIC_FORBIDDEN' },
    { flags: ['--wrong-network'], code: 'ERR_WRONG_NETWORK' },
  ])('$flags is refused with $code, and a gap closes the hole', async ({ flags, code }) => {
    const run = await device(...flags);
    // Birth, columns and gap; the misdirected batch is parked.
    expect(run).toMatchObject({ code: 0, accepted: 3, codes: { [code]: 1 } });
    expect(rejected(run.lines)).toEqual([`seq=None code=${code} permanent`]);
    expect(run.lines.at(-1)).toMatch(/^settled boot=\d+ seq=3 kind=gap$/);
  });

  test('a batch from the future is refused, and the reject settles its seq', async () => {
    const run = await device('--future');
    expect(run).toMatchObject({ code: 0, accepted: 2, codes: { ERR_TIME_FUTURE: 1 } });
    expect(rejected(run.lines)).toEqual(['seq=1 code=ERR_TIME_FUTURE permanent']);
  });

  test('it refuses a network whose root key is not the one of the join line', async () => {
    const id = new URL(joinLine).searchParams.get('root') ?? '';
    const other = 'z6MkpC3s77mg1bzwhJdH5bBbmUQ4VwSR8jcByK44GNQUuWga';
    const data = join(folder, 'stranger');
    const run = await python('device.py', '--join', joinLine.replace(id, other), '--data', data);
    expect(run.code).toBe(1);
    expect(run.errors).toMatch(/^refused: COSE: another content type or key id/);
    expect(existsSync(data)).toBe(false);
  });

  /** Runs the device, and says what the broker counted meanwhile. */
  async function device(...flags: string[]) {
    const before = await status();
    const data = join(folder, 'device');
    const run = await python('device.py', '--join', joinLine, '--data', data, ...flags);
    const after = await status();
    expect(after.devices).toBe(1);
    const codes: Record<string, number> = {};
    for (const [code, count] of Object.entries(after.verdicts.rejectedByCode)) {
      const more = count - (before.verdicts.rejectedByCode[code] ?? 0);
      if (more > 0) codes[code] = more;
    }
    return {
      code: run.code,
      errors: run.errors,
      lines: run.output.trimEnd().split('\n'),
      accepted: after.verdicts.accepted - before.verdicts.accepted,
      duplicate: after.verdicts.duplicate - before.verdicts.duplicate,
      codes,
    };
  }

  async function status(): Promise<Status> {
    return (await admin('GET', '/admin/status')) as Status;
  }

  async function admin(method: string, path: string, body?: object): Promise<unknown> {
    const token = readFileSync(join(folder, 'broker/tokens/admin'), 'utf8').trim();
    const response = await fetch(`${http}${path}`, {
      method,
      headers: {
        authorization: `Bearer ${token}`,
        ...(body && { 'content-type': 'application/json' }),
      },
      ...(body && { body: JSON.stringify(body) }),
    });
    expect(response.ok).toBe(true);
    return response.json();
  }
});

/** The rejects among the device's lines, without their remedies. */
function rejected(lines: readonly string[]): string[] {
  return lines.flatMap((line) => /^rejected (.*?): /.exec(line)?.[1] ?? []);
}

async function readyAddress(child: ChildProcess): Promise<string> {
  for await (const line of createInterface({ input: child.stdout! })) {
    const message = JSON.parse(line) as { event?: string; addresses?: { http: string } };
    if (message.event === 'ready' && message.addresses) return message.addresses.http;
  }
  throw new Error('broker: expected a ready line, got the end of its output');
}

function python(script: string, ...args: string[]) {
  return new Promise<{ code: number | null; output: string; errors: string }>((resolve, reject) => {
    const child = spawn(findService('python3') ?? 'python3', [join(GUIDE, script), ...args], {
      env: { ...process.env, PYTHONDONTWRITEBYTECODE: '1', PYTHONUTF8: '1' },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let output = '';
    let errors = '';
    child.stdout.on('data', (chunk) => {
      output += String(chunk);
    });
    child.stderr.on('data', (chunk) => {
      errors += String(chunk);
    });
    child.once('error', reject);
    child.once('close', (code) => resolve({ code, output, errors }));
  });
}
