/**
 * Who gets what is published: rights, subscriptions and retained messages of the plain profile. MQTT 3.1.1 sections
 * 3.3, 3.8 and 3.10.
 */

import type { LimitCounter } from './limit-counter.ts';
import type { Message, Qos } from './packets.ts';
import { Publication } from './publication.ts';
import { Retained } from './retained.ts';
import { isReadable, judgeFilter, judgeTopic, type PlainRights, type Refusal } from './rights.ts';
import type { PlainSession } from './session.ts';
import type { PlainSettings } from './settings.ts';
import { SubscriptionTree, treeCost } from './topic-tree.ts';

export interface DistributionOptions {
  readonly network: string;
  readonly settings: PlainSettings;
  readonly limits: LimitCounter;
}

/** SUBACK return code of a filter that is refused. */
const FAILURE = 0x80;

export class Distribution {
  readonly retained: Retained;
  private readonly settings: PlainSettings;
  private readonly limits: LimitCounter;
  private readonly rights: PlainRights;
  private readonly tree = new SubscriptionTree<PlainSession>();
  private subscriptionTotal = 0;
  private receivedCount = 0;
  private deliveredCount = 0;

  constructor({ network, settings, limits }: DistributionOptions) {
    this.settings = settings;
    this.limits = limits;
    this.retained = new Retained(settings);
    this.rights = {
      network,
      denied: settings.plainDenied,
      maxTopicLevels: settings.plainMaxTopicLevels,
      maxTopicBytes: settings.plainMaxTopicBytes,
    };
  }

  /** What all subscriptions cost. */
  get subscriptionBytes(): number {
    return this.subscriptionTotal;
  }

  /** PUBLISH packets taken in. */
  get received(): number {
    return this.receivedCount;
  }

  /** PUBLISH packets handed to sessions. */
  get delivered(): number {
    return this.deliveredCount;
  }

  /** Why a will may not be, or null. */
  judgeWill(topic: string): Refusal | null {
    return judgeTopic(topic, this.rights);
  }

  /** A message of a client, or its will: distributed, or dropped and counted. */
  publish(message: Message, clientId: string): void {
    this.receivedCount += 1;
    const problem = judgeTopic(message.topic, this.rights);
    if (problem !== null) {
      this.limits.count(problem, clientId);
      return;
    }
    if (message.retain && !this.retained.keep(message, false)) {
      this.limits.count('ERR_PLAIN_RETAINED', clientId);
    }
    this.distribute(message);
  }

  /** A message of the broker itself, which neither rights nor limits concern. */
  announce(message: Message): void {
    if (message.retain) this.retained.keep(message, true);
    this.distribute(message);
  }

  /**
   * Takes the filters of a SUBSCRIBE, and brings what is retained.
   *
   * @param acknowledge - sends the return codes, one for each filter, before that.
   * @returns how many retained messages were looked at.
   */
  subscribe(
    session: PlainSession,
    filters: readonly { readonly filter: string; readonly qos: Qos }[],
    acknowledge: (codes: readonly number[]) => void,
  ): number {
    /** Each once, however often it is in the packet: one packet has room for 65,000 times `#`. */
    const granted = new Map<string, Qos>();
    const codes = filters.map(({ filter, qos }) => {
      if (!this.mayAdd(filter, session)) return FAILURE;
      this.add(filter, session, qos);
      granted.set(filter, qos);
      return qos;
    });
    acknowledge(codes);
    let brought = 0;
    for (const [filter, qos] of granted) {
      for (const message of this.retained.match(filter)) {
        brought += 1;
        if (!isReadable(message.topic, this.rights)) continue;
        this.deliveredCount += 1;
        session.deliver(new Publication(message), message.qos < qos ? message.qos : qos, true);
      }
    }
    return brought;
  }

  unsubscribe(session: PlainSession, filters: readonly string[]): void {
    for (const filter of filters) {
      if (!session.subscriptions.delete(filter)) continue;
      this.tree.delete(filter, session);
      this.count(session, -treeCost(filter));
    }
  }

  /** The session ends. */
  forget(session: PlainSession): void {
    for (const filter of session.subscriptions.keys()) this.tree.delete(filter, session);
    this.count(session, -session.subscriptionBytes);
  }

  private mayAdd(filter: string, session: PlainSession): boolean {
    const problem =
      judgeFilter(filter, this.rights) ??
      (session.subscriptions.has(filter) || this.hasRoom(session, treeCost(filter))
        ? null
        : 'ERR_PLAIN_SUBSCRIPTIONS');
    if (problem !== null) this.limits.count(problem, session.clientId);
    return problem === null;
  }

  private hasRoom({ subscriptions, subscriptionBytes }: PlainSession, bytes: number): boolean {
    const { settings } = this;
    return (
      subscriptions.size < settings.plainMaxSubscriptions &&
      subscriptionBytes + bytes <= settings.plainMaxSubscriptionBytes &&
      this.subscriptionTotal + bytes <= settings.plainMaxSubscriptionTotalBytes
    );
  }

  private add(filter: string, session: PlainSession, qos: Qos): void {
    if (!session.subscriptions.has(filter)) this.count(session, treeCost(filter));
    session.subscriptions.set(filter, qos);
    this.tree.set(filter, session, qos);
  }

  private count(session: PlainSession, bytes: number): void {
    session.subscriptionBytes += bytes;
    this.subscriptionTotal += bytes;
  }

  private distribute(message: Message): void {
    if (!isReadable(message.topic, this.rights)) return;
    const publication = new Publication(message);
    for (const [session, granted] of this.tree.match(message.topic)) {
      // [MQTT-3.8.4-6]; [MQTT-3.3.1-9]: not as a retained one.
      this.deliveredCount += 1;
      session.deliver(publication, message.qos < granted ? message.qos : granted, false);
    }
  }
}
