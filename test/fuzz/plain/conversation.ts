/**
 * One client publishes and another one reads, comes and goes: what the reader gets is computed by a model of the
 * specification that keeps nothing but lists.
 */

import type { IPublishPacket } from 'mqtt-packet';
import type { Chance } from '../chance.ts';
import { Finding } from '../finding.ts';
import { endSession, FuzzClient, type PlainTarget } from './plain-client.ts';
import { isMatch } from './second-reading.ts';

type Qos = 0 | 1 | 2;

interface Said {
  readonly topic: string;
  readonly text: string;
  readonly qos: Qos;
}

/** One message as the reader sees it; `again` where it is marked as sent before. */
type Seen = string;

export async function conversationCase(
  target: PlainTarget,
  number: number,
  chance: Chance,
): Promise<void> {
  const talk = new Talk(target, number, chance);
  await talk.start();
  for (let i = 0; i < 3 + chance.int(8); i++) await talk.step();
  await talk.end();
}

class Talk {
  private readonly target: PlainTarget;
  private readonly chance: Chance;
  private readonly base: string;
  private readonly clean: boolean;
  private writer!: FuzzClient;
  private reader: FuzzClient | null = null;
  private nextId = 1;
  /** The model. */
  private readonly filters = new Map<string, Qos>();
  private readonly retained = new Map<string, Said>();
  /** What the reader has got and not acknowledged, then what waits for it. */
  private unacknowledged: Said[] = [];
  private waiting: Said[] = [];
  private readonly steps: string[] = [];
  private texts = 0;

  constructor(target: PlainTarget, number: number, chance: Chance) {
    this.target = target;
    this.chance = chance;
    this.base = `talk${number}`;
    this.clean = chance.oneIn(3);
  }

  async start(): Promise<void> {
    this.writer = await new FuzzClient(this.target).enter({ clientId: `${this.base}-w` });
    await this.come(false);
  }

  async step(): Promise<void> {
    const { chance } = this;
    const way = chance.int(6);
    if (way < 3 || this.reader === null) await this.say();
    else if (way === 3) await this.subscribe(this.reader);
    else if (way === 4) await this.unsubscribe(this.reader);
    else await this.go(this.reader);
    if (this.reader === null && chance.oneIn(2)) await this.come(!this.clean);
  }

  /** Leaves nothing behind. */
  async end(): Promise<void> {
    this.reader?.wire.close();
    for (const topic of this.retained.keys()) {
      this.writer.send({
        ...{ cmd: 'publish', topic, payload: '', qos: 0, retain: true, dup: false },
      });
    }
    await this.writer.ping();
    await this.writer.leave('disconnect');
    await endSession(this.target, this.id);
  }

  private get id(): string {
    return `${this.base}-r`;
  }

  private async come(sessionPresent: boolean): Promise<void> {
    this.steps.push('come');
    const reader = new FuzzClient(this.target);
    reader.acknowledges = !this.chance.oneIn(3);
    await reader.enter({ clientId: this.id, clean: this.clean }, sessionPresent);
    this.reader = reader;
    const again = this.unacknowledged.map((said) => seen(said, { again: true }));
    const fresh = this.waiting.map((said) => seen(said, {}));
    if (!reader.acknowledges) this.unacknowledged.push(...this.waiting);
    else this.unacknowledged = [];
    this.waiting = [];
    await this.expect(reader, [...again, ...fresh]);
  }

  private async go(reader: FuzzClient): Promise<void> {
    const how = this.chance.pick(['disconnect', 'vanish'] as const);
    this.steps.push(how);
    await reader.leave(how);
    this.reader = null;
    if (!this.clean) return;
    this.filters.clear();
    this.unacknowledged = [];
  }

  private async subscribe(reader: FuzzClient): Promise<void> {
    const { chance } = this;
    const subscriptions = Array.from({ length: 1 + chance.int(3) }, () => ({
      topic: this.anyFilter(),
      qos: chance.int(3) as Qos,
    }));
    this.steps.push(`subscribe ${JSON.stringify(subscriptions)}`);
    reader.send({ cmd: 'subscribe', messageId: this.id16(), subscriptions });
    const granted = new Map(subscriptions.map(({ topic, qos }) => [topic, qos]));
    const brought: Said[] = [];
    for (const [filter, qos] of granted) {
      this.filters.set(filter, qos);
      for (const said of this.retained.values()) {
        if (isMatch(filter, said.topic)) brought.push({ ...said, qos: least(said.qos, qos) });
      }
    }
    // Which topic of a filter comes first is not said.
    const got = await this.hear(reader);
    const key = (texts: readonly Seen[]) => [...texts].sort().join('\n');
    const wanted = brought.map((said) => seen(said, { retain: true }));
    if (key(got) !== key(wanted)) this.fail(wanted, got);
    // They will come again in the order in which they came.
    const inOrder = got.map((text) => brought.find((s) => seen(s, { retain: true }) === text)!);
    if (!reader.acknowledges) this.note(inOrder.map((said) => ({ ...said, retain: true })));
  }

  private async unsubscribe(reader: FuzzClient): Promise<void> {
    const unsubscriptions = [this.anyFilter(), this.anyFilter()];
    this.steps.push(`unsubscribe ${unsubscriptions.join(' ')}`);
    reader.send({ cmd: 'unsubscribe', messageId: this.id16(), unsubscriptions });
    for (const filter of unsubscriptions) this.filters.delete(filter);
    await this.expect(reader, []);
  }

  /** Publishes a few, those of QoS 2 sometimes several times before their release. */
  private async say(): Promise<void> {
    const { chance, writer } = this;
    const heard: Said[] = [];
    for (let i = 0; i < 1 + chance.int(5); i++) {
      const qos = chance.int(3) as Qos;
      this.texts += 1;
      const text = chance.oneIn(6) ? '' : `${this.texts}`;
      const said: Said = { topic: this.anyTopic(), text, qos };
      const retain = chance.oneIn(3);
      this.steps.push(`say ${JSON.stringify(said)}${retain ? ' retained' : ''}`);
      const messageId = this.id16();
      const times = qos === 2 ? 1 + chance.int(3) : 1;
      for (let time = 0; time < times; time++) {
        writer.send({
          ...{ cmd: 'publish', topic: said.topic, payload: text, qos, retain, dup: time > 0 },
          ...(qos > 0 && { messageId }),
        });
      }
      if (qos === 2) writer.send({ cmd: 'pubrel', messageId });
      if (retain) this.retained.delete(said.topic);
      if (retain && text !== '') this.retained.set(said.topic, said);
      const granted = [...this.filters]
        .filter(([filter]) => isMatch(filter, said.topic))
        .map(([, each]) => each);
      if (granted.length > 0) heard.push({ ...said, qos: least(qos, Math.max(...granted) as Qos) });
    }
    await writer.ping();
    const { reader } = this;
    if (reader === null) {
      if (!this.clean) this.waiting.push(...heard.filter(({ qos }) => qos > 0));
      return;
    }
    await this.expect(
      reader,
      heard.map((said) => seen(said, {})),
    );
    if (!reader.acknowledges) this.note(heard);
  }

  private note(said: readonly Said[]): void {
    this.unacknowledged.push(...said.filter(({ qos }) => qos > 0));
  }

  private async hear(reader: FuzzClient): Promise<Seen[]> {
    await reader.settle();
    return reader.take().map(seenPacket);
  }

  private async expect(reader: FuzzClient, wanted: readonly Seen[]): Promise<void> {
    const got = await this.hear(reader);
    if (got.join('\n') !== wanted.join('\n')) this.fail(wanted, got);
  }

  private fail(wanted: readonly Seen[], got: readonly Seen[]): never {
    const steps = this.steps.join('\n');
    throw new Finding(`reader: expected ${wanted.join(', ')}; got ${got.join(', ')}`, steps);
  }

  private id16(): number {
    this.nextId += 1;
    return this.nextId;
  }

  private anyTopic(): string {
    return `${this.base}/${this.chance.pick(['a', 'a/b', 'b', '', '/b', 'é', '$x', 'a/b/c'])}`;
  }

  private anyFilter(): string {
    return `${this.base}/${this.chance.pick(['#', '+', '+/+', 'a/#', 'a', '+/b', 'a/+/c', '/#'])}`;
  }
}

function least(a: Qos, b: Qos): Qos {
  return a < b ? a : b;
}

function seen(
  said: Said & { readonly retain?: boolean },
  { retain = said.retain ?? false, again = false }: { retain?: boolean; again?: boolean },
): Seen {
  return `${said.topic}=${said.text} q${said.qos}${retain ? ' retained' : ''}${again ? ' again' : ''}`;
}

function seenPacket({ topic, payload, qos, retain, dup }: IPublishPacket): Seen {
  return seen({ topic, text: String(payload), qos: qos as Qos }, { retain, again: dup });
}
