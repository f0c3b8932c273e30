/** Reads the fields of a packet; null where the packet ends too early. */
export class Fields {
  private readonly body: Uint8Array;
  private at = 0;

  constructor(body: Uint8Array) {
    this.body = body;
  }

  get done(): boolean {
    return this.at === this.body.length;
  }

  byte(): number | null {
    return this.body[this.at++] ?? null;
  }

  uint16(): number | null {
    const high = this.byte();
    const low = this.byte();
    return high === null || low === null ? null : (high << 8) | low;
  }

  /** Length-prefixed bytes, a view. */
  string(): Uint8Array | null {
    const length = this.uint16();
    if (length === null || this.at + length > this.body.length) return null;
    this.at += length;
    return this.body.subarray(this.at - length, this.at);
  }

  /** Whatever is left, a view. */
  rest(): Uint8Array {
    const rest = this.body.subarray(this.at);
    this.at = this.body.length;
    return rest;
  }
}
