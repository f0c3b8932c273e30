/**
 * Which `store` and `window` nodes are wired behind a node: they have to acknowledge what it sends.
 *
 * Follows wires, link nodes and subflows. Behind a `window` the way ends: its rows are its own to see to.
 * Leaves out link calls whose target is set by the message, and wires that do not exist as wires (MQTT,
 * context, HTTP).
 */

/** Of a node in the deployed flows, as Node-RED has it. */
export interface NodeConfig {
  readonly id: string;
  readonly type: string;
  /** Tab or subflow that it is on. */
  readonly z?: string;
  /** Disabled. */
  readonly d?: boolean;
  readonly disabled?: boolean;
  readonly wires?: readonly (readonly string[])[];
  readonly links?: readonly string[];
  readonly mode?: string;
  /** Of a subflow: what its inputs and outputs are wired to. */
  readonly in?: readonly { readonly wires: readonly { readonly id: string }[] }[];
  readonly out?: readonly {
    readonly wires: readonly { readonly id: string; readonly port: number }[];
  }[];
}

const CONSUMERS: ReadonlySet<string> = new Set(['fieldproof-store', 'fieldproof-window']);

/** A node, and the subflow instances that it is in, outermost first. */
interface Place {
  readonly id: string;
  readonly within: readonly string[];
}

/**
 * The ids of the consumers behind a node. Within a subflow instance Node-RED's ids are `<instance>-<node>`.
 *
 * @param start - the id of a node on a tab.
 */
export function consumersBehind(configs: Iterable<NodeConfig>, start: string): string[] {
  const nodes = new Map<string, NodeConfig>();
  for (const config of configs) nodes.set(config.id, config);
  const found = new Set<string>();
  const seen = new Set<string>();
  const queue: Place[] = [{ id: start, within: [] }];
  for (let place = queue.shift(); place !== undefined; place = queue.shift()) {
    const key = runtimeId(place);
    if (seen.has(key)) continue;
    seen.add(key);
    const node = nodes.get(place.id);
    if (node === undefined || isDisabled(node, nodes)) continue;
    if (place.id !== start || place.within.length > 0) {
      if (CONSUMERS.has(node.type)) found.add(key);
      if (node.type === 'fieldproof-window') continue;
    }
    queue.push(...nextOf(node, place, nodes));
  }
  return [...found].sort();
}

function nextOf(node: NodeConfig, place: Place, nodes: ReadonlyMap<string, NodeConfig>): Place[] {
  const { within } = place;
  const here = (ids: readonly string[]) => ids.map((id) => ({ id, within }));
  const subflow = node.type.startsWith('subflow:') ? nodes.get(node.type.slice(8)) : undefined;
  if (subflow !== undefined) {
    const inner = [...within, node.id];
    const entries = (subflow.in ?? []).flatMap(({ wires }) => wires.map(({ id }) => id));
    const through = (subflow.out ?? []).flatMap(({ wires }, output) =>
      // An output wired to the subflow's own input passes messages through.
      wires.some(({ id }) => id === subflow.id) ? here(node.wires?.[output] ?? []) : [],
    );
    return [...entries.map((id) => ({ id, within: inner })), ...through];
  }
  const places = here((node.wires ?? []).flat());
  if (node.type === 'link out' && node.mode !== 'return') {
    places.push(...(node.links ?? []).map((id) => placeOfLink(id, place, nodes)));
  }
  if (node.type === 'link call') {
    places.push(...(node.links ?? []).map((id) => placeOfLink(id, place, nodes)));
  }
  const instance = within[within.length - 1];
  const outer = instance === undefined ? undefined : nodes.get(instance);
  const around = outer === undefined ? undefined : nodes.get(outer.type.slice(8));
  for (const [output, { wires }] of (around?.out ?? []).entries()) {
    if (!wires.some(({ id }) => id === node.id)) continue;
    const ids = outer?.wires?.[output] ?? [];
    places.push(...ids.map((id) => ({ id, within: within.slice(0, -1) })));
  }
  return places;
}

/** Links lead within one instance, or from anywhere to a tab. */
function placeOfLink(id: string, { within }: Place, nodes: ReadonlyMap<string, NodeConfig>): Place {
  const home = nodes.get(nodes.get(id)?.z ?? '');
  return { id, within: home?.type === 'subflow' ? within : [] };
}

function isDisabled(node: NodeConfig, nodes: ReadonlyMap<string, NodeConfig>): boolean {
  return node.d === true || nodes.get(node.z ?? '')?.disabled === true;
}

function runtimeId({ id, within }: Place): string {
  return [...within, id].join('-');
}
