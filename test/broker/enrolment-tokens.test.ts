import { type FileLayer, nodeFiles } from '@fieldproof/broker/evidence/file-layer';
import { TokenDesk } from '@fieldproof/broker/registry/token-desk';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { startTestBroker, type TestBroker } from './support/broker.ts';
import { TestDevice } from './support/device.ts';

let broker: TestBroker;
let isFull = false;

const files: FileLayer = {
  ...nodeFiles,
  open: async (path, mode) => {
    const file = await nodeFiles.open(path, mode);
    return {
      ...file,
      write: async (position, bytes) => {
        if (isFull) throw Object.assign(new Error('no space'), { code: 'ENOSPC' });
        await file.write(position, bytes);
      },
    };
  },
};

beforeAll(async () => {
  broker = await startTestBroker({}, { files });
});
afterAll(() => broker.close());

interface Shown {
  readonly hash: string;
  readonly uses: number;
  readonly used: number;
}

async function create(body: object = {}): Promise<{ joinLine: string; token: Shown }> {
  const answer = await broker.admin('POST', '/admin/tokens', body);
  expect(answer.status).toBe(201);
  return answer.body as { joinLine: string; token: Shown };
}

const list = async () =>
  ((await broker.admin('GET', '/admin/tokens')).body as { tokens: readonly Shown[] }).tokens;

const usedOf = async ({ hash }: Shown) => (await list()).find((it) => it.hash === hash)?.used;

function newcomer(): TestDevice {
  const { http, mqtt } = broker.running.addresses;
  return new TestDevice({ http, mqtt, network: broker.running.network });
}

const codeOf = async (response: Response) => ((await response.json()) as { code: string }).code;

describe('a use of a token', () => {
  test('is given back when the log does not take the enrolment, or its nonce is used up', async () => {
    const { joinLine, token } = await create();
    const device = newcomer();
    isFull = true;
    for (let i = 0; i < 3; i += 1) {
      expect(await codeOf(await device.enrolRequest(joinLine))).toBe('ERR_LOG_FULL');
      expect(await usedOf(token)).toBe(0);
    }
    isFull = false;
    let response = await device.enrolRequest(joinLine);
    while (response.status === 503) {
      await new Promise((resolve) => setTimeout(resolve, 50));
      response = await device.enrolRequest(joinLine);
    }
    expect([response.status, await usedOf(token)]).toEqual([200, 1]);

    const other = await create({ uses: 2 });
    const nonce = await device.hello();
    const answers = await Promise.all(
      [newcomer(), newcomer()].map((it) => it.enrolRequest(other.joinLine, { nonce })),
    );
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 401]);
    expect(await usedOf(other.token)).toBe(1);
  });
});

test('a request that is refused makes no token', async () => {
  const device = await broker.device();
  const before = await list();
  const bodies = [[], { host: 'my host!' }, { host: '' }, { host: 7 }];
  for (const path of ['/admin/tokens', `/admin/devices/${device.id}/swap`]) {
    for (const body of bodies) {
      expect([body, await broker.admin('POST', path, body)]).toMatchObject([
        body,
        { status: 400, body: { code: 'ERR_REQUEST' } },
      ]);
    }
  }
  expect(await list()).toEqual(before);
});

test('a beginning that several tokens have revokes none of them', async () => {
  const tokens = ['abcdef00', 'abcdef01', 'abcdef02'].map((hash) => ({ hash, revoked: false }));
  const desk = new TokenDesk({ registry: { tokens: async () => tokens } } as never);
  const refusal = { code: 'ERR_REQUEST', message: expect.stringContaining('got several') };
  await expect(desk.revoke('abcdef')).rejects.toMatchObject(refusal);
});
