import { consumersBehind, type NodeConfig } from '@fieldproof/flows/consumers';
import { expect, test } from '@jest/globals';

const tab: NodeConfig = { id: 'tab', type: 'tab' };
const node = (id: string, type: string, wires: string[] = [], extra: Partial<NodeConfig> = {}) => ({
  id,
  type,
  z: 'tab',
  wires: [wires],
  ...extra,
});
const store = (id: string, extra: Partial<NodeConfig> = {}) =>
  node(id, 'fieldproof-store', [], extra);
const behind = (...configs: NodeConfig[]) => consumersBehind([tab, ...configs], 't');
const telemetry = (...wires: string[]) => node('t', 'fieldproof-telemetry', wires);

test('stores and windows behind any nodes are found, those behind a window are its own', () => {
  const flow = [
    telemetry('f', 'w'),
    node('f', 'function', ['s1', 'debug']),
    node('debug', 'debug'),
    store('s1'),
    node('w', 'fieldproof-window', ['s2']),
    store('s2'),
    store('elsewhere'),
  ];
  expect(behind(...flow)).toEqual(['s1', 'w']);
  expect(consumersBehind([tab, ...flow], 'w')).toEqual(['s2']);
});

test('circles end', () => {
  expect(
    behind(
      telemetry('a'),
      node('a', 'function', ['b']),
      node('b', 'switch', ['a', 's']),
      store('s'),
    ),
  ).toEqual(['s']);
});

test('disabled nodes and tabs do not count', () => {
  expect(
    behind(telemetry('s', 'x'), store('s', { d: true }), store('x', { z: 'off' }), {
      id: 'off',
      type: 'tab',
      disabled: true,
    }),
  ).toEqual([]);
});

test('link nodes and link calls are followed', () => {
  expect(
    behind(
      telemetry('out', 'call'),
      node('out', 'link out', [], { links: ['in'], mode: 'link' }),
      node('in', 'link in', ['s1']),
      store('s1'),
      node('call', 'link call', ['s3'], { links: ['in2'] }),
      node('in2', 'link in', ['s2', 'back']),
      node('back', 'link out', [], { mode: 'return', links: [] }),
      store('s2'),
      store('s3'),
    ),
  ).toEqual(['s1', 's2', 's3']);
});

test('subflows are entered and left again; ids inside are those that Node-RED gives', () => {
  const subflow: NodeConfig = {
    id: 'sf',
    type: 'subflow',
    in: [{ wires: [{ id: 'f' }, { id: 'inner' }] }],
    out: [{ wires: [{ id: 'f', port: 0 }] }, { wires: [{ id: 'other', port: 0 }] }],
  };
  expect(
    behind(
      telemetry('i1', 'i2'),
      subflow,
      node('f', 'function', [], { z: 'sf' }),
      store('inner', { z: 'sf' }),
      { id: 'i1', type: 'subflow:sf', z: 'tab', wires: [['after'], ['never']] },
      { id: 'i2', type: 'subflow:sf', z: 'tab', wires: [[], []] },
      store('after'),
      store('never'),
    ),
  ).toEqual(['after', 'i1-inner', 'i2-inner']);
});
