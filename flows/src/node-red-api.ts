/**
 * The part of Node-RED's API that this package uses. Its published types bring the browser's types into the whole
 * program, where they clash with Node's; hence these.
 */

export interface NodeDef {
  readonly id: string;
  readonly type: string;
  readonly name?: string;
}

export interface NodeStatus {
  readonly fill: 'red' | 'yellow' | 'green' | 'grey';
  readonly shape: 'dot' | 'ring';
  readonly text: string;
}

/** A message; flows add what they like. */
export interface Message {
  payload?: unknown;
  topic?: string;
  fieldproof?: { readonly origin?: string };
}

type Done = (error?: Error) => void;

export interface NodeBase<Credentials = Record<string, never>> {
  readonly id: string;
  readonly credentials?: Credentials;
  send(message: object): void;
  status(status: NodeStatus): void;
  warn(message: string): void;
  error(error: Error): void;
  on(event: 'input', listener: (message: Message, send: unknown, done: Done) => void): void;
  on(event: 'close', listener: (removed: boolean, done: () => void) => void): void;
}

interface Events {
  on(event: string, listener: (value: never) => void): void;
  once(event: string, listener: (value: never) => void): void;
  removeListener(event: string, listener: (value: never) => void): void;
}

/** What a node module is given. */
export interface NodeApi {
  readonly settings: { readonly userDir?: string };
  readonly events: Events;
  readonly nodes: {
    createNode(node: object, def: NodeDef): void;
    getNode(id: string): unknown;
    eachNode(visit: (config: unknown) => void): void;
    registerType(type: string, create: unknown, options?: object): void;
  };
}

/** What `require('node-red')` gives to a process that embeds it. */
export interface NodeRed {
  init(server: object, settings: object): void;
  start(): Promise<void>;
  stop(): Promise<void>;
  readonly httpAdmin: never;
  readonly httpNode: never;
  readonly events: Events;
}
