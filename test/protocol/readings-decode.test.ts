import { fromHex } from '@fieldproof/protocol/bytes';
import { columnsToSenml } from '@fieldproof/protocol/columns';
import { checkTelemetry, decodeTelemetry } from '@fieldproof/protocol/readings-decode';
import { ReadingSink } from '@fieldproof/protocol/readings-sink';
import { describe, expect, test } from '@jest/globals';

/** The example payloads of docs/spec/telemetry.md. */
const SENML = fromHex(
  '84a5020021686169722f74656d70221a6b0187ac236343656c24c48221190869a202c4822102060aa202c48221240614a402182f21666169722f726823632552482400',
);
const COLUMNS = fromHex(
  '8184636169721a6b0187ac820a0382856474656d706343656c21190869d848430002fb856272686325524800182fd84843000001',
);
const T0 = 1795262380;
const temp = [21.53, 21.55, 21.48].map((v, i) => ({ n: 'air/temp', u: 'Cel', t: T0 + 10 * i, v }));

describe('the example payloads of the specification', () => {
  test('in SenML mean what it says', () => {
    const readings = decodeTelemetry(SENML, 112);
    expect(columnsToSenml(readings)).toEqual([...temp, { n: 'air/rh', u: '%RH', t: T0, v: 47 }]);
  });

  test('in columns mean what it says', () => {
    const rh = [47, 47, 48].map((v, i) => ({ n: 'air/rh', u: '%RH', t: T0 + 10 * i, v }));
    expect(columnsToSenml(decodeTelemetry(COLUMNS, 65001))).toEqual([...temp, ...rh]);
  });

  test.each([
    [SENML, 112, 4],
    [COLUMNS, 65001, 6],
  ])('pass a gate with their count and times', (payload, contentType, readings) => {
    expect(checkTelemetry(payload, contentType)).toEqual({
      readings,
      minTimeMs: T0 * 1000,
      maxTimeMs: (T0 + 20) * 1000,
      absolute: true,
      relative: false,
    });
  });
});

describe('decoding telemetry', () => {
  test('leaves nothing of an earlier payload in a reused sink', () => {
    const sink = new ReadingSink();
    const fresh = structuredClone({
      ...decodeTelemetry(SENML, 112),
      runs: decodeTelemetry(SENML, 112).runs,
    });
    decodeTelemetry(COLUMNS, 65001, sink);
    const { count, runs, objects } = decodeTelemetry(SENML, 112, sink);
    expect({ count, runs, objects }).toEqual({
      count: fresh.count,
      runs: fresh.runs,
      objects: fresh.objects,
    });
    expect(() => decodeTelemetry(SENML.subarray(1), 112, sink)).toThrow();
    expect(decodeTelemetry(COLUMNS, 65001, sink).count).toBe(6);
  });

  test('refuses a payload under the other content type', () => {
    expect(() => decodeTelemetry(SENML, 65001)).toThrow(
      expect.objectContaining({ code: 'ERR_COLUMNS_MALFORMED' }),
    );
    expect(() => decodeTelemetry(COLUMNS, 112)).toThrow(
      expect.objectContaining({ code: 'ERR_SENML_MALFORMED' }),
    );
    expect(() => decodeTelemetry(SENML, 60)).toThrow(
      expect.objectContaining({ code: 'ERR_ARGUMENT' }),
    );
  });

  test('of a pack with base fields only gives no readings and no times', () => {
    expect(checkTelemetry(fromHex('81a1216161'), 112)).toEqual({
      readings: 0,
      minTimeMs: Number.NaN,
      maxTimeMs: Number.NaN,
      absolute: false,
      relative: false,
    });
  });
});
