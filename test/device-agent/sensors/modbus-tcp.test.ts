import type { AddressInfo } from 'node:net';
import { createServer, type Server, type Socket } from 'node:net';
import { systemClock } from '@fieldproof/device-agent/clock';
import { decodeAnswer, encodeRequest } from '@fieldproof/device-agent/sensors/modbus-frame';
import type { RejectReason } from '@fieldproof/device-agent/sensors/sensor';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { fakeClock, until } from '../fake-clock.ts';
import { createSensor } from './run-driver.ts';

/** A server written from MODBUS Application Protocol V1.1b3: 0 to 99 exist, the rest is exception 2. */
class Device {
  readonly registers = new Uint16Array(100);
  readonly bits = new Uint8Array(100);
  asked: Buffer[] = [];
  /** Turns an answer into what is sent; undefined sends nothing. */
  answer: (frame: Buffer, socket: Socket) => Buffer | undefined = (frame) => frame;

  handle(socket: Socket): void {
    let pending = Buffer.alloc(0);
    socket.on('error', () => {});
    socket.on('data', (chunk) => {
      pending = Buffer.concat([pending, chunk]);
      while (pending.length >= 12) {
        const request = pending.subarray(0, 12);
        pending = pending.subarray(12);
        this.asked.push(request);
        const frame = this.answer(this.#respond(request), socket);
        if (frame !== undefined && !socket.destroyed) socket.write(frame);
      }
    });
  }

  #respond(request: Buffer): Buffer {
    const code = request[7]!;
    const [address, count] = [request.readUInt16BE(8), request.readUInt16BE(10)];
    const pdu = ((): number[] => {
      if (code < 1 || code > 4) return [code | 0x80, 1];
      if (count < 1 || count > (code <= 2 ? 2000 : 125)) return [code | 0x80, 3];
      if (address + count > 100) return [code | 0x80, 2];
      if (code <= 2) {
        const bytes = new Array<number>(Math.ceil(count / 8)).fill(0);
        for (let i = 0; i < count; i += 1) bytes[i >> 3]! |= this.bits[address + i]! << (i & 7);
        return [code, bytes.length, ...bytes];
      }
      const words = [...this.registers.subarray(address, address + count)];
      return [code, 2 * count, ...words.flatMap((word) => [word >> 8, word & 255])];
    })();
    const header = Buffer.from(request.subarray(0, 7));
    header.writeUInt16BE(pdu.length + 1, 4);
    return Buffer.concat([header, Buffer.from(pdu)]);
  }
}

const V = { metric: 'v', address: 10 };

describe('the modbus-tcp sensor', () => {
  let device: Device;
  let server: Server;
  let port: number;
  let rejects: [RejectReason, string][];
  const sockets = new Set<Socket>();

  beforeAll(async () => {
    server = createServer((socket) => {
      sockets.add(socket);
      socket.on('close', () => sockets.delete(socket));
      device.handle(socket);
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    port = (server.address() as AddressInfo).port;
  });
  beforeEach(() => {
    device = new Device();
    rejects = [];
  });
  afterAll(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });

  async function open(metrics: object[] = [V], more: object = {}, clock = systemClock) {
    const keys = { host: '127.0.0.1', port, metrics, ...more };
    const sensor = await createSensor({ driver: 'modbus-tcp', keys, clock, dataDir: '/', rejects });
    if (sensor.kind !== 'pull') throw new Error('expected a pull sensor');
    return sensor;
  }

  test('requests and answers are those of the specification', () => {
    // V1.1b3 section 6.3: registers 108 to 110 are 0x022b, 0 and 0x64.
    const request = { unitId: 17, functionCode: 3, address: 107, count: 3 } as const;
    expect(Buffer.from(encodeRequest(1, request)).toString('hex')).toBe(
      '00010000000611' + '03006b0003',
    );
    const answer = Buffer.from('000100000009' + '11' + '0306022b00000064', 'hex');
    expect(Buffer.from(decodeAnswer(answer, request)).toString('hex')).toBe('022b00000064');
    const cut = (bytes: Buffer) => () => decodeAnswer(bytes, request);
    expect(cut(answer.subarray(0, -1))).toThrow(/data/);
    for (const at of [6, 7, 8]) {
      const bad = Buffer.from(answer);
      bad[at]! ^= 1;
      expect(cut(bad)).toThrow(/expected/);
    }
  });

  test.each([
    ['uint16', [0xfffe], {}, 65_534],
    ['int16', [0xfffe], {}, -2],
    ['uint32', [0x0001, 0x86a0], {}, 100_000],
    ['uint32', [0x86a0, 0x0001], { wordOrder: 'little' }, 100_000],
    ['int32', [0xffff, 0xfffd], {}, -3],
    ['int32', [0xfdff, 0xffff], { wordOrder: 'little', byteOrder: 'little' }, -3],
    ['float32', [0x41ac, 0x0000], {}, 21.5],
    ['float32', [0x3dcc, 0xcccd], {}, 0.1],
    ['float32', [0xcccd, 0x3dcc], { wordOrder: 'little' }, 0.1],
    ['float64', [0x4009, 0x21fb, 0x5444, 0x2d18], {}, Math.PI],
    ['uint16', [215], { scale: 0.5, offset: -7.5 }, 100],
  ])('%s %j %j is %d', async (type, words, more, expected) => {
    device.registers.set(words, 10);
    const sensor = await open([{ ...V, type, ...more }]);
    expect(await sensor.read()).toEqual([{ metric: 'v', value: expected }]);
    expect(device.asked[0]?.[7]).toBe(3);
  });

  test('reads all four tables, of the unit that is named', async () => {
    device.bits[10] = 1;
    device.registers[10] = 7;
    const tables = ['coil', 'discrete', 'holding', 'input'];
    const sensor = await open(tables.map((table) => ({ ...V, metric: table, table, unitId: 9 })));
    expect((await sensor.read()).map(({ value }) => value)).toEqual([true, true, 7, 7]);
    expect(device.asked.map((frame) => [frame[6], frame[7]])).toEqual(
      [1, 2, 3, 4].map((f) => [9, f]),
    );
  });

  test('an exception is told by name and costs only its own register', async () => {
    const beyond = { metric: 'beyond', address: 100 };
    const sensor = await open([beyond, V]);
    expect(await sensor.read()).toEqual([{ metric: 'v', value: 0 }]);
    expect(rejects).toEqual([['fault', 'beyond: exception 2 (illegal data address)']]);
    await expect((await open([beyond])).read()).rejects.toThrow(
      /exception 2 \(illegal data address\)/,
    );
  });

  test.each([
    [[0x7fc0, 0], 'NaN'],
    [[0x7f80, 0], 'infinity'],
  ])('a float that is no number is a counted reject: %j %s', async (words) => {
    device.registers.set(words, 10);
    const sensor = await open([
      { ...V, type: 'float32' },
      { metric: 'good', address: 1 },
    ]);
    expect(await sensor.read()).toEqual([{ metric: 'good', value: 0 }]);
    expect(rejects.map(([why]) => why)).toEqual(['not-a-number']);
  });

  test('answers byte by byte, and those to other transactions, do no harm', async () => {
    device.registers[10] = 42;
    device.answer = (frame, socket) => {
      const stale = Buffer.from(frame);
      stale.writeUInt16BE(777, 0);
      stale[10] = 13;
      for (const byte of Buffer.concat([stale, frame])) socket.write(Buffer.from([byte]));
      return undefined;
    };
    expect(await (await open()).read()).toEqual([{ metric: 'v', value: 42 }]);
  });

  test.each<[string, Device['answer'], RegExp]>([
    [
      'another protocol',
      (f) => Buffer.concat([f.subarray(0, 2), Buffer.from([1, 0]), f.subarray(4)]),
      /protocol/,
    ],
    [
      'a length beyond the limit',
      (f) => Buffer.concat([f.subarray(0, 4), Buffer.from([255, 255])]),
      /length/,
    ],
    [
      'a length of nothing',
      (f) => Buffer.concat([f.subarray(0, 4), Buffer.from([0, 1, 1])]),
      /length/,
    ],
    ['an HTTP answer', () => Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n'), /protocol/],
    ['a flood', () => Buffer.alloc(1_000_000), /without being asked|length/],
    ['a connection that closes', (_, socket) => void socket.destroy(), /closed|ECONNRESET/],
  ])('%s is an error, never a reading', async (_, answer, reason) => {
    device.answer = answer;
    await expect((await open()).read()).rejects.toThrow(reason);
  });

  test.each(['time', 'stop'])('a device that is silent ends by %s', async (how) => {
    device.answer = () => undefined;
    const clock = fakeClock();
    const stop = new AbortController();
    const outcome = (await open([V], {}, clock)).read(stop.signal).catch((e: Error) => e.message);
    await until(() => device.asked.length === 1, 'the request');
    if (how === 'time') await clock.advance(3000);
    else stop.abort();
    expect(await outcome).toMatch(how === 'time' ? /no answer within 3000 ms/ : /was stopped/);
    expect(clock.timers()).toBe(0);
    await until(() => sockets.size === 0, 'the end of the connection');
  });

  test('nobody there is an error', async () => {
    await expect((await open([V], { port: 1 })).read()).rejects.toThrow(/ECONNREFUSED/);
  });

  test.each([
    [[], 'metrics'],
    [[{ metric: 'v' }], 'address'],
    [[{ ...V, address: 65_535, type: 'float32' }], 'address'],
    [[{ ...V, type: 'int8' }], 'type'],
  ])('a configuration without sense is refused: %j', async (metrics, word) => {
    await expect(open(metrics)).rejects.toThrow(word);
  });
});
