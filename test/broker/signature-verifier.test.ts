import { loadSignatureVerifier } from '@fieldproof/broker/gate/signature-verifier';
import { verify as opensslVerify } from '@fieldproof/protocol/ed25519-node';
import { describe, expect, test } from '@jest/globals';

describe('the library that verifies signatures', () => {
  test('is libsodium where its binding loads', async () => {
    expect(await loadSignatureVerifier('auto')).toMatchObject({
      library: 'libsodium',
      reason: null,
    });
  });

  test('is OpenSSL when it is asked for', async () => {
    const fail = () => Promise.reject(new Error('must not be loaded'));
    expect(await loadSignatureVerifier('openssl', fail)).toEqual({
      ...{ library: 'openssl', reason: null, verify: opensslVerify },
    });
  });

  test('is OpenSSL where there is no binding, and why is said', async () => {
    const load = () => Promise.reject(new Error("Cannot find package 'sodium-native'"));
    expect(await loadSignatureVerifier('auto', load)).toEqual({
      ...{ library: 'openssl', verify: opensslVerify },
      reason: "libsodium does not load: Cannot find package 'sodium-native'",
    });
  });

  test('is OpenSSL when libsodium judges by another rule', async () => {
    const result = await loadSignatureVerifier('auto', async () => () => true);
    expect(result).toMatchObject({ library: 'openssl', verify: opensslVerify });
    expect(result.reason).toContain('another rule');
  });
});
