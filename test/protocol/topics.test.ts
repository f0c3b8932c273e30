import { deviceIdFromPublicKey } from '@fieldproof/protocol/did-key';
import { publicKeyFromSeed } from '@fieldproof/protocol/ed25519';
import {
  formatTopic,
  isDeviceIdText,
  isUpKind,
  parseTopic,
  UP_KINDS,
  upKindFromNumber,
} from '@fieldproof/protocol/topics';
import { describe, expect, test } from '@jest/globals';

const deviceId = deviceIdFromPublicKey(publicKeyFromSeed(new Uint8Array(32)));

describe('topics', () => {
  test('read back as they were written', () => {
    const topic = { network: 'net-1', deviceId, kind: 'telemetry' };
    expect(parseTopic(formatTopic(topic))).toEqual(topic);
  });

  test.each([
    `fp/2/net/d/${deviceId}/telemetry`,
    `fp/1/net/d/${deviceId}`,
    `fp/1/net/d/${deviceId}/`,
    `fp/1/net/d/${deviceId}/telemetry/x`,
    `fp/1/Net/d/${deviceId}/telemetry`,
    `fp/1//d/${deviceId}/telemetry`,
    `/fp/1/net/d/${deviceId}/telemetry`,
    `fp/1/net/x/${deviceId}/telemetry`,
    `fp/1/net/d/${deviceId.slice(1)}/telemetry`,
    'fp/1/net/d/+/telemetry',
    '#',
    '',
  ])('%p is no topic', (topic) => {
    expect(() => parseTopic(topic)).toThrow(
      expect.objectContaining({ code: 'ERR_TOPIC_MALFORMED' }),
    );
  });

  test('every up kind has its number, and back', () => {
    for (const [kind, number] of Object.entries(UP_KINDS)) {
      expect(upKindFromNumber(number)).toBe(kind);
    }
    expect(upKindFromNumber(0)).toBeUndefined();
    expect(upKindFromNumber(7)).toBeUndefined();
    expect(isUpKind('constructor')).toBe(false);
  });

  test('a device id has 48 characters of base58', () => {
    expect(isDeviceIdText(deviceId)).toBe(true);
    expect(isDeviceIdText(deviceId.replace(/.$/, '0'))).toBe(false);
    expect(isDeviceIdText(`${deviceId}1`)).toBe(false);
  });
});
