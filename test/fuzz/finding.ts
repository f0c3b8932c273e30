/** What the fuzzer finds: an oracle that was contradicted, with the input that did it. */

export class Finding extends Error {
  /** The input, for whoever looks into it. */
  readonly input: string;

  constructor(message: string, input: Uint8Array | string = '') {
    super(message);
    this.name = 'Finding';
    this.input = typeof input === 'string' ? input : Buffer.from(input).toString('hex');
  }
}

/** Where a finding was made; enough to make it again. */
export interface Found {
  readonly area: string;
  readonly number: number;
  readonly message: string;
  readonly input: string;
}
