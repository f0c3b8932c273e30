/**
 * Members by the share that they belong to, so that the oldest one of the largest share is found at once: who takes
 * most gives way first, and whoever takes little is left alone by those who take much.
 */

export class Crowd<Member> {
  private readonly shares = new Map<string, Set<Member>>();
  /** Names of shares by their size. */
  private readonly bySize = new Map<number, Set<string>>();
  private largest = 0;
  private count = 0;

  get size(): number {
    return this.count;
  }

  sizeOf(share: string): number {
    return this.shares.get(share)?.size ?? 0;
  }

  has(share: string, member: Member): boolean {
    return this.shares.get(share)?.has(member) === true;
  }

  add(share: string, member: Member): void {
    const members = this.shares.get(share) ?? new Set();
    if (members.has(member)) return;
    members.add(member);
    this.shares.set(share, members);
    this.count += 1;
    this.move(share, { from: members.size - 1, to: members.size });
    this.largest = Math.max(this.largest, members.size);
  }

  /** @returns whether it was there. */
  delete(share: string, member: Member): boolean {
    const members = this.shares.get(share);
    if (members === undefined || !members.delete(member)) return false;
    this.count -= 1;
    if (members.size === 0) this.shares.delete(share);
    this.move(share, { from: members.size + 1, to: members.size });
    // One member less: the next size below has that share at least.
    if (!this.bySize.has(this.largest)) this.largest -= 1;
    return true;
  }

  /** The oldest of a share. */
  oldestOf(share: string): Member | undefined {
    return this.shares.get(share)?.values().next().value;
  }

  /** The oldest of the largest share. */
  oldestOfLargest(): Member | undefined {
    const [share] = this.bySize.get(this.largest) ?? [];
    return share === undefined ? undefined : this.oldestOf(share);
  }

  private move(share: string, { from, to }: { readonly from: number; readonly to: number }): void {
    const left = this.bySize.get(from);
    left?.delete(share);
    if (left?.size === 0) this.bySize.delete(from);
    if (to === 0) return;
    const joined = this.bySize.get(to) ?? new Set();
    joined.add(share);
    this.bySize.set(to, joined);
  }
}
