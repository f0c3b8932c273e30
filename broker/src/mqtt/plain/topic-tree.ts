/**
 * Topic filters and topic names of MQTT 3.1.1 section 4.7 in trees, level by level: which subscribers a topic has,
 * and which topics a filter matches. Both cost as much as they find, not as much as there is.
 */

import type { Qos } from './packets.ts';

/** [MQTT-4.7.2-1]: a filter that starts with a wildcard does not match topic names that start with $. */
function isHidden(topic: string): boolean {
  return topic.startsWith('$');
}

/** What a level costs in a tree, with its maps: measured, and rounded up. */
const LEVEL_COST_BYTES = 600;

/** What a filter or topic costs in a tree at most: it may share levels with others. */
export function treeCost(text: string): number {
  return 2 * text.length + LEVEL_COST_BYTES * countLevels(text);
}

export function countLevels(text: string): number {
  let levels = 1;
  for (let at = text.indexOf('/'); at !== -1; at = text.indexOf('/', at + 1)) levels += 1;
  return levels;
}

/** Whether a filter matches a topic name. */
export function matches(filter: string, topic: string): boolean {
  if (isHidden(topic) && (filter.startsWith('+') || filter.startsWith('#'))) return false;
  const wanted = filter.split('/');
  const levels = topic.split('/');
  for (const [i, level] of wanted.entries()) {
    if (level === '#') return true;
    if (i >= levels.length || (level !== '+' && level !== levels[i])) return false;
  }
  return wanted.length === levels.length;
}

interface FilterNode<Subscriber> {
  readonly children: Map<string, FilterNode<Subscriber>>;
  readonly subscribers: Map<Subscriber, Qos>;
}

/** Who has subscribed to what. */
export class SubscriptionTree<Subscriber> {
  private readonly root: FilterNode<Subscriber> = newFilterNode();

  /** Adds or replaces a subscription. */
  set(filter: string, subscriber: Subscriber, qos: Qos): void {
    let node = this.root;
    for (const level of filter.split('/')) {
      let child = node.children.get(level);
      if (child === undefined) {
        child = newFilterNode();
        node.children.set(level, child);
      }
      node = child;
    }
    node.subscribers.set(subscriber, qos);
  }

  delete(filter: string, subscriber: Subscriber): void {
    const path: (readonly [FilterNode<Subscriber>, string])[] = [];
    let node = this.root;
    for (const level of filter.split('/')) {
      const child = node.children.get(level);
      if (child === undefined) return;
      path.push([node, level]);
      node = child;
    }
    node.subscribers.delete(subscriber);
    for (const [parent, level] of path.reverse()) {
      const child = parent.children.get(level)!;
      if (child.subscribers.size > 0 || child.children.size > 0) return;
      parent.children.delete(level);
    }
  }

  /** Subscribers to a topic, each with the greatest QoS of its filters that match. [MQTT-3.3.5-1] */
  match(topic: string): ReadonlyMap<Subscriber, Qos> {
    const found = new Map<Subscriber, Qos>();
    const levels = topic.split('/');
    const take = (node: FilterNode<Subscriber> | undefined): void => {
      if (node === undefined) return;
      for (const [subscriber, qos] of node.subscribers) {
        if (qos >= (found.get(subscriber) ?? 0)) found.set(subscriber, qos);
      }
    };
    const visit = (node: FilterNode<Subscriber>, depth: number): void => {
      const mayBeWild = depth > 0 || !isHidden(topic);
      // Section 4.7.1.2: # includes the level above it.
      if (mayBeWild) take(node.children.get('#'));
      const level = levels[depth];
      if (level === undefined) {
        take(node);
        return;
      }
      const same = node.children.get(level);
      if (same !== undefined) visit(same, depth + 1);
      const any = mayBeWild ? node.children.get('+') : undefined;
      if (any !== undefined) visit(any, depth + 1);
    };
    visit(this.root, 0);
    return found;
  }
}

interface NameNode<Value> {
  /** Null for none: nearly every node is the last of its topic. */
  children: Map<string, NameNode<Value>> | null;
  value: Value | undefined;
}

/** Values by topic name, found by filter. */
export class NameTree<Value> {
  private readonly root: NameNode<Value> = { children: null, value: undefined };

  get(topic: string): Value | undefined {
    let node: NameNode<Value> | undefined = this.root;
    for (const level of topic.split('/')) {
      node = node.children?.get(level);
      if (node === undefined) return undefined;
    }
    return node.value;
  }

  set(topic: string, value: Value): void {
    let node = this.root;
    for (const level of topic.split('/')) {
      node.children ??= new Map();
      let child = node.children.get(level);
      if (child === undefined) {
        child = { children: null, value: undefined };
        node.children.set(level, child);
      }
      node = child;
    }
    node.value = value;
  }

  delete(topic: string): void {
    const path: (readonly [NameNode<Value>, string])[] = [];
    let node = this.root;
    for (const level of topic.split('/')) {
      const child = node.children?.get(level);
      if (child === undefined) return;
      path.push([node, level]);
      node = child;
    }
    node.value = undefined;
    for (const [parent, level] of path.reverse()) {
      const children = parent.children!;
      const child = children.get(level)!;
      if (child.value !== undefined || child.children !== null) return;
      children.delete(level);
      if (children.size === 0) parent.children = null;
    }
  }

  /** The values of all topics that a filter matches. */
  match(filter: string): readonly Value[] {
    const found: Value[] = [];
    const levels = filter.split('/');
    const take = ({ value }: NameNode<Value>): void => {
      if (value !== undefined) found.push(value);
    };
    const takeAll = (node: NameNode<Value>, isFirst: boolean): void => {
      take(node);
      for (const [level, child] of node.children ?? []) {
        if (!(isFirst && isHidden(level))) takeAll(child, false);
      }
    };
    const visit = (node: NameNode<Value>, depth: number): void => {
      const wanted = levels[depth];
      if (wanted === undefined) take(node);
      else if (wanted === '#') takeAll(node, depth === 0);
      else if (wanted === '+') {
        for (const [level, child] of node.children ?? []) {
          if (!(depth === 0 && isHidden(level))) visit(child, depth + 1);
        }
      } else {
        const child = node.children?.get(wanted);
        if (child !== undefined) visit(child, depth + 1);
      }
    };
    visit(this.root, 0);
    return found;
  }
}

function newFilterNode<Subscriber>(): FilterNode<Subscriber> {
  return { children: new Map(), subscribers: new Map() };
}
