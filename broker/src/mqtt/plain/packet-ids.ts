/** A set of packet identifiers: whatever a client does, it takes 8 KiB at most. */

const IDS = 65_536;

export class PacketIds {
  private bits: Uint8Array | null = null;

  has(id: number): boolean {
    return this.bits !== null && (this.bits[id >> 3]! & (1 << (id & 7))) !== 0;
  }

  add(id: number): void {
    this.bits ??= new Uint8Array(IDS / 8);
    this.bits[id >> 3]! |= 1 << (id & 7);
  }

  delete(id: number): void {
    if (this.bits !== null) this.bits[id >> 3]! &= ~(1 << (id & 7));
  }
}
