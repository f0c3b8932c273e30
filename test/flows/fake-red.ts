/** As much of Node-RED as a node needs: wires between nodes of a test, their statuses, and what `done` was given. */
import { EventEmitter } from 'node:events';
import type { Message, NodeApi, NodeStatus } from '@fieldproof/flows/node-red-api';

export type FakeNode = EventEmitter & {
  id: string;
  statuses: NodeStatus[];
  sent: Message[];
  /** What it said with `warn` and `error`. */
  said: string[];
  /** Gives it a message; resolves as `done` is called. */
  take: (message: Message) => Promise<Error | undefined>;
  close: () => Promise<void>;
};

export class FakeRed implements NodeApi {
  readonly settings: { readonly userDir: string };
  readonly events = new EventEmitter() as never as NodeApi['events'] & {
    emit(event: string): void;
  };
  readonly #types = new Map<string, (this: FakeNode, def: object) => void>();
  readonly #nodes = new Map<string, FakeNode>();
  readonly #configs: object[];

  /** @param configs - of the deployed flows. */
  constructor(userDir: string, configs: readonly object[] = []) {
    this.settings = { userDir };
    this.#configs = [...configs];
  }

  readonly nodes: NodeApi['nodes'] = {
    createNode: (node, def) => {
      this.#nodes.set(def.id, node as FakeNode);
    },
    getNode: (id) => this.#nodes.get(id) ?? null,
    eachNode: (visit) => {
      for (const config of this.#configs) visit(config);
    },
    registerType: (type, create) => {
      this.#types.set(type, create as never);
    },
  };

  /** Makes a node of a registered type. `extra` is there before its constructor runs. */
  create(def: { id: string; type: string; [key: string]: unknown }, extra: object = {}): FakeNode {
    const node = Object.assign(new EventEmitter(), { id: def.id, ...extra }) as FakeNode;
    Object.assign(node, {
      statuses: [],
      sent: [],
      said: [],
      status: (status: NodeStatus) => node.statuses.push(status),
      send: (message: Message) => node.sent.push(message),
      warn: (text: string) => node.said.push(text),
      error: (error: Error) => node.said.push(error.message),
      take: (message: Message) =>
        new Promise((done) => node.emit('input', message, () => {}, done)),
      close: () => new Promise<void>((done) => node.emit('close', true, done)),
    });
    this.#types.get(def.type)!.call(node, def);
    return node;
  }
}
