import { formatAppeals, formatDevice, formatDevices } from '@fieldproof/broker/cli/device-view';
import { parseDuration } from '@fieldproof/broker/cli/duration';
import { findDevice } from '@fieldproof/broker/cli/find-device';
import { hint } from '@fieldproof/broker/cli/hint';
import { cut, formatFields, formatTable, widthOf } from '@fieldproof/broker/cli/text-layout';
import { sealAppeal } from '@fieldproof/protocol/appeal';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { startTestBroker, type TestBroker } from './support/broker.ts';
import { type Commands, startCommands } from './support/commands.ts';
import { TestDevice } from './support/device.ts';
import { readRegistryLog } from './support/registry-log.ts';

const NOW = 1_795_262_400_000;
const VIEW = { width: 80, now: NOW };
const ID = 'z6MkfDRC7Y5TSZ2h4PFbNWJcfQfo5SzijZ4qtwbkWrUQuyzY';
const OWNER = 'did:key:z6MkiDfTY9tP5muuWrReLsLorLrXv8w1y9dJNkp8xNokRQM3';

const DEVICE = {
  deviceId: ID,
  name: 'The very long name of a station on the roof of the old school, north side',
  owner: OWNER,
  formerOwners: [OWNER],
  group: 'a group whose name is long as well, for it is of a school',
  cell: '871f91d91ffffff',
  texts: { site: 'ab'.repeat(32), notes: 'cd'.repeat(32) },
  written: { site: { text: 'Elm Street 5\nroof', salt: '' }, notes: null },
  streams: [{ metric: 'air/temperature', cadenceMs: 60_000, resolution: 0.01 }],
  status: 'suspended',
  standing: 'suspended',
  suspension: {
    index: 12,
    at: NOW - 1000,
    kind: 'ERR_BOOT_CLONED',
    reason: `two copies are at work, ${'x'.repeat(100)}`,
    evidence: [7, 9],
    until: NOW + 1000,
    appealUntil: NOW + 2000,
    appeal: { index: 13, at: NOW },
    decision: { index: 14, at: NOW, outcome: 'upheld', reason: 'they were' },
  },
  quarantined: ['7.a1b2c3d4'],
  released: [],
  online: false,
  lastSeenMs: NOW - 180_000,
  profiles: { air: [{ metric: 'temp', unit: 'Cel' }] },
  agent: 'evil/1 \u001b[2J\u009b1m',
  enrolledAt: NOW,
  credentialIssued: NOW,
  credentialExpires: NOW,
  credentialExpired: true,
  logIndex: 12,
  later: { novelty: 1 },
};

const widest = (text: string) => Math.max(...text.split('\n').map(widthOf));

describe('devices on 80 columns', () => {
  test('a table has a line for each, with the ends of ids', () => {
    const wide = { ...DEVICE, name: '温度計の屋上の北側にある長い名前', online: true, cell: '' };
    const text = formatDevices({ devices: [DEVICE, wide] }, VIEW);
    expect(widest(text)).toBeLessThanOrEqual(80);
    const [titles, first, second] = text.split('\n');
    expect(titles).toMatch(/^NAME +DEVICE +OWNER +GROUP +SITE +STANDING +SEEN$/);
    expect(first).toMatch(
      /^The very.*… +WrUQuyzY +xNokRQM3 +a group.*… +\S+ +suspended +3 min ago$/,
    );
    expect(second).toMatch(/online$/);
    expect(formatDevices({ devices: [] }, VIEW)).toBe('no device is enrolled');
  });

  test('one of them is shown whole, and nothing in it moves the cursor', () => {
    const text = formatDevice(DEVICE, VIEW);
    expect(widest(text)).toBeLessThanOrEqual(80);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: that there are none
    expect(text.replaceAll('\n', '')).not.toMatch(/[\u0000-\u001f\u007f-\u009f]/);
    for (const part of [
      ID,
      OWNER,
      'Elm Street 5',
      'every 60 s',
      '7.a1b2c3d4',
      'entries 7, 9',
      'upheld',
      'novelty',
    ]) {
      expect(text).toContain(part);
    }
    expect(text.replace(/\n +/g, ' ')).toContain(DEVICE.name);
    expect(text).toContain('EXPIRED');
  });

  test('appeals without a decision come first', () => {
    const appeal = { device: ID, name: 'roof', owner: OWNER, suspension: DEVICE.suspension };
    const open = { ...appeal, suspension: { ...DEVICE.suspension, decision: null } };
    const appeals = [
      { ...appeal, text: 'decided' },
      { ...open, text: 'it was\nsteam' },
    ];
    const text = formatAppeals({ appeals }, VIEW);
    expect(text.indexOf('steam')).toBeLessThan(text.indexOf('decided'));
    expect(widest(text)).toBeLessThanOrEqual(80);
    expect(formatAppeals({ appeals: [] }, VIEW)).toBe('no appeals');
  });

  test('cells are cut at their width, whatever is in them', () => {
    expect(cut('温度計', 4)).toBe('温…');
    expect(cut('abc', 3)).toBe('abc');
    const columns = [{ title: 'A', of: (row: string) => row, min: 3 }];
    expect(formatTable(['a\nb', 'x'.repeat(9)], columns, 5)).toBe('A\na b\nxxxx…');
  });

  test('a word that is too long for its line is broken between characters, not within one', () => {
    for (let before = 0; before < 3; before++) {
      const text = formatFields([['x', 'a'.repeat(before) + '🌡'.repeat(30)]], 24);
      expect(text).not.toMatch(/\p{Surrogate}/u);
      expect(text.replaceAll(/[^a🌡]/gu, '')).toBe('a'.repeat(before) + '🌡'.repeat(30));
    }
  });
});

test('a command to paste finds the same broker', () => {
  expect(hint('status', { data: './data/broker' })).toBe('fieldproof-broker status');
  const flags = { data: "my 'lab", url: 'https://b:1/', token: 't' };
  expect(hint('status', flags)).toBe(
    "fieldproof-broker status --data 'my '\\''lab' --url https://b:1/ --token t",
  );
});

test('durations are those that people write', () => {
  expect(['14', '14d', '36h', '90m', '45s', '2w', '0.5d'].map(parseDuration)).toEqual([
    ...[14 * 86_400_000, 14 * 86_400_000, 36 * 3_600_000, 90 * 60_000, 45_000],
    ...[14 * 86_400_000, 43_200_000],
  ]);
  for (const text of ['', '0', '-1d', '1y', 'd', '1 d', '1e3d']) {
    expect(() => parseDuration(text)).toThrow(expect.objectContaining({ code: 'ERR_REQUEST' }));
  }
});

test('a device is found by its name or a part of its id, and only when one is meant', async () => {
  const other = `${ID.slice(0, 40)}AAAAAAAA`;
  const END = ID.slice(-8);
  const devices = [
    { deviceId: ID, name: 'roof' },
    { deviceId: other, name: 'twin' },
    { deviceId: `${other.slice(0, 47)}B`, name: 'twin' },
  ];
  const client = { call: async () => ({ devices }) };
  // What a newcomer calls itself does not take the place of another device.
  const posing = { call: async () => ({ devices: [...devices, { deviceId: 'z6Mk', name: END }] }) };
  await expect(findDevice(posing, END)).rejects.toMatchObject({ code: 'ERR_REQUEST' });
  for (const text of [ID, 'roof', END]) expect(await findDevice(client, text)).toBe(ID);
  for (const [text, code] of [
    ['twin', 'ERR_REQUEST'],
    [ID.slice(0, 8), 'ERR_REQUEST'],
    ['zX', 'ERR_DEVICE_UNKNOWN'],
    ['cellar', 'ERR_DEVICE_UNKNOWN'],
  ] as const) {
    await expect(findDevice(client, text)).rejects.toMatchObject({ code });
  }
  for (const short of ['zY', 'z6Mkf']) {
    const message = expect.stringContaining('too short, expected 6 or more characters');
    await expect(findDevice(client, short)).rejects.toMatchObject({ code: 'ERR_REQUEST', message });
  }
});

describe('commands', () => {
  let broker: TestBroker;
  let device: TestDevice;
  let running: Commands;

  beforeAll(async () => {
    broker = await startTestBroker();
    device = await broker.device();
    running = await startCommands();
  });
  afterAll(async () => {
    await running.stop();
    await broker.close();
  });

  const run = (parts: string[]) => running.run(...parts, '--data', broker.dataDir);

  async function cli(...parts: string[]): Promise<string> {
    const { code, stdout, stderr } = await run(parts);
    expect([code, stderr]).toEqual([0, '']);
    return stdout;
  }

  /** Its line on standard error. */
  async function failure(...parts: string[]): Promise<string> {
    const { code, stdout, stderr } = await run(parts);
    expect([code, stdout, stderr.trim().split('\n').length]).toEqual([1, '', 1]);
    return stderr;
  }

  test('site and streams say what a device is; list and show print it', async () => {
    const place = ['--cell', '871fa4aa4ffffff', '--text', 'Elm Street 5'];
    expect(await cli('devices', 'site', 'test device', ...place)).toContain('Elm Street 5');
    expect(await cli('devices', 'notes', device.id, 'dry')).toMatch(/Elm Street 5\nnotes +dry\n/);
    const stream = ['--add', 'node:1/load:1000:0.5'];
    const answer = await cli('devices', 'streams', device.id, ...stream, '--json');
    expect(JSON.parse(answer)).toMatchObject({
      deviceId: device.id,
      streams: [{ metric: 'node:1/load', cadenceMs: 1000, resolution: 0.5 }],
    });
    const shown = await cli('devices', 'show', device.id.slice(-8));
    for (const part of [device.id, '871fa4aa4ffffff', 'Elm Street 5', 'node:1/load']) {
      expect(shown).toContain(part);
    }
    expect(await cli('devices', 'list')).toMatch(
      /^NAME.*\ntest device .*871fa4aa4 +good +offline\n$/,
    );
  });

  test('enrol prints a line for one device, which has its name, place and notes when it joins', async () => {
    const said = ['--name', 'Dach “Süd”', '--site', 'Elm Street 5', '--notes', 'ring twice'];
    const place = ['--group', 'west', '--cell', '871fa4aa4ffffff', '--hours', '2'];
    const plain = await cli('devices', 'enrol', ...said, ...place);
    expect(plain).not.toMatch(/[▀▄█]/);
    expect(plain).toContain('one device, Dach “Süd”; valid until ');
    const qr = await cli('devices', 'enrol', '--qr');
    expect(qr).toMatch(/[▀▄█]/);
    const line = /^fieldproof:\S+$/m.exec(plain)![0];
    const { http, mqtt } = broker.running.addresses;
    const newcomer = new TestDevice({ http, mqtt, network: broker.running.network });
    await newcomer.enrol(line);
    const shown = await cli('devices', 'show', newcomer.id);
    for (const part of ['Dach “Süd”', 'Elm Street 5', 'ring twice', 'west', '871fa4aa4ffffff']) {
      expect(shown).toContain(part);
    }
    const other = new TestDevice({ http, mqtt, network: broker.running.network });
    expect((await other.enrolRequest(line)).status).toBe(403);
    const { tokens } = JSON.parse(await cli('token', 'list', '--json'));
    const own = tokens.find(({ name }: { name: string }) => name === 'Dach “Süd”');
    // They are the device's now.
    expect(own).toMatchObject({ used: 1, uses: 1, site: '', notes: '' });
    const log = JSON.stringify(await readRegistryLog(broker, newcomer.id));
    expect(log).not.toMatch(/Elm Street|ring twice/);
    expect(await failure('devices', 'enrol', '--name', 'a\u202eb')).toContain('ERR_REQUEST');
    const many = { uses: 2, name: 'roof' };
    expect((await broker.admin('POST', '/admin/tokens', many)).status).toBe(400);
    expect(qr).toMatch(new RegExp(`token revoke [0-9a-f]{64} --data ${broker.dataDir}\\n`));
    const end = /token revoke ([0-9a-f]{64})/.exec(qr)![1]!;
    expect(await cli('token', 'revoke', end)).toContain('revoked');
  });

  test('an access token has an end, or none where that is asked for', async () => {
    const create = ['access', 'create', '--name', 'tool', '--scope', 'mqtt'];
    expect(await cli(...create)).toMatch(/^fpa_.*until/s);
    expect(await cli(...create, '--days', 'none')).toContain('without an end');
  });

  test('go to the address of --url, but not unencrypted to another machine, where the token could be read', async () => {
    const { http } = broker.running.addresses;
    expect(await cli('devices', 'list', '--url', `${http}/`)).toContain('NAME');
    const elsewhere = 'http://192.0.2.1:7880';
    expect(await failure('status', '--url', elsewhere)).toMatch(/ERR_ADMIN_CLEAR.*https/);
    expect(await failure('status', '--token', '/no/such')).toMatch(
      /ERR_FILE_UNREADABLE: \/no\/such/,
    );
    expect(await failure('status', '--url', 'broker')).toMatch(/ERR_BROKER_UNREACHABLE: broker:/);
  });

  test('suspend, appeals and release; mistakes are one line with a remedy', async () => {
    const flags = ['--reason', 'smoke', '--for', '14d', '--evidence', '0', '1', '--json'];
    const suspended = JSON.parse(await cli('devices', 'suspend', device.id, ...flags));
    expect(suspended).toMatchObject({ standing: 'suspended', suspension: { evidence: [0, 1] } });
    const body = {
      nonce: await device.hello(),
      device: device.id,
      suspension: suspended.suspension.index,
      text: 'steam',
    };
    await fetch(`${broker.running.addresses.http}/v1/appeal`, {
      method: 'POST',
      headers: { 'content-type': 'application/cose' },
      body: Buffer.from(sealAppeal(body, { network: device.network, signer: device.owner })),
    });
    expect(await cli('appeals', 'list')).toMatch(/says +steam/);
    const upheld = ['--uphold', '--reason', 'it was smoke'];
    const decided = await cli('appeals', 'decide', device.id, ...upheld);
    expect(decided).toMatch(/decision +upheld .*it was smoke/);
    const boot = ['release', device.id, '7.a1b2c3d4'];
    expect(await failure('devices', ...boot)).toMatch(
      /ERR_STANDING: boot 7\.a1b2c3d4.*devices show/,
    );
  });
});
