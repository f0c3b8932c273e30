import { addressRule, isAddressOrSubnet } from '@fieldproof/protocol/address-share-node';
import { describe, expect, test } from '@jest/globals';

const shareOf = addressRule();

describe('who is counted as one', () => {
  test.each([
    ['192.0.2.7', '192.0.2.7'],
    ['::ffff:192.0.2.7', '192.0.2.7'],
    ['2001:db8::1', '2001:db8:0:0'],
    ['2001:0DB8:0:0:ffff::1', '2001:db8:0:0'],
    ['2001:db8:0:1::', '2001:db8:0:1'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2'],
    ['fe80::1%eth0', 'fe80:0:0:0'],
    ['::', '0:0:0:0'],
    ['64:ff9b::192.0.2.7', '64:ff9b:0:0'],
    ['', ''],
    ['no address', 'no address'],
  ])('%s counts as %s', (address, name) => {
    expect(shareOf(address)).toEqual({ name, isTrusted: false });
  });
});

describe('who is trusted', () => {
  test.each(['127.0.0.1', '127.9.9.9', '::1', '::ffff:127.0.0.1'])('%s by default', (address) => {
    expect(shareOf(address).isTrusted).toBe(true);
  });

  test('addresses and subnets, of both kinds', () => {
    const rule = addressRule(['10.0.0.0/8', '2001:db8::/32', '192.0.2.1']);
    const trusted = ['10.255.0.1', '::ffff:10.0.0.1', '2001:db8:ffff::1', '192.0.2.1'];
    const others = ['127.0.0.1', '11.0.0.1', '2001:db9::1', '192.0.2.2', '::1', 'x', ''];
    expect(trusted.map((address) => rule(address).isTrusted)).toEqual(trusted.map(() => true));
    expect(others.map((address) => rule(address).isTrusted)).toEqual(others.map(() => false));
    expect(addressRule([])('127.0.0.1').isTrusted).toBe(false);
  });

  test.each(['', 'localhost', '10.0.0.0/33', '::/129', '10.0.0.0/8/8', '10.0.0.0/-1', 'fe80::1%1'])(
    '%s is no entry',
    (entry) => {
      expect(isAddressOrSubnet(entry)).toBe(false);
      expect(() => addressRule([entry])).toThrow(TypeError);
    },
  );
});
