/** Counts connections that were ended or refused, by reason: a clause of MQTT 3.1.1, a limit or a CONNACK code. */

export class Refusals {
  private readonly counts = new Map<string, number>();

  count(why: string): void {
    this.counts.set(why, (this.counts.get(why) ?? 0) + 1);
  }

  values(): Readonly<Record<string, number>> {
    return Object.fromEntries(this.counts);
  }
}
