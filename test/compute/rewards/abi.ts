/** Solidity's ABI encoding of the types that the published trees use. */

export function abiEncode(types: readonly string[], values: readonly string[]): Uint8Array {
  const heads: Buffer[] = [];
  const tails: Buffer[] = [];
  let tailAt = 32 * types.length;
  for (const [at, type] of types.entries()) {
    const value = values[at]!;
    if (type === 'string') {
      const bytes = Buffer.from(value, 'utf8');
      const padded = Buffer.alloc(Math.ceil(bytes.length / 32) * 32);
      bytes.copy(padded);
      heads.push(word(BigInt(tailAt)));
      tails.push(word(BigInt(bytes.length)), padded);
      tailAt += 32 + padded.length;
    } else
      heads.push(type === 'bytes32' ? Buffer.from(value.slice(2), 'hex') : word(BigInt(value)));
  }
  return Buffer.concat([...heads, ...tails]);
}

function word(value: bigint): Buffer {
  return Buffer.from(value.toString(16).padStart(64, '0'), 'hex');
}
