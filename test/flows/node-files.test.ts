import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { FLOWS_ERRORS } from '@fieldproof/flows/errors';
import { logLines, withoutSecrets } from '@fieldproof/flows/log-lines';
import { describe, expect, test } from '@jest/globals';

const root = resolve(import.meta.dirname, '../../flows');
const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
const nodes = Object.entries(manifest['node-red'].nodes as Record<string, string>);

interface FlowNode {
  readonly id: string;
  readonly type: string;
  readonly z?: string;
  readonly x?: number;
  readonly y?: number;
  readonly network?: string;
  readonly wires?: readonly (readonly string[])[];
}

test.each(nodes)(
  '%s has an editor part with help, and fields for all that it saves',
  (type, file) => {
    const html = readFileSync(join(root, file.replace(/\.c?js$/, '.html')), 'utf8');
    expect(html).toContain(`registerType('${type}'`);
    expect(html).toContain(`data-template-name="${type}"`);
    expect(html).toContain(`data-help-name="${type}"`);
    expect(html).toContain('<h3>Details</h3>');
    if (type !== 'fieldproof-network') expect(html).toMatch(/<h3>(In|Out)puts<\/h3>/);
    const kind = type === 'fieldproof-network' ? 'node-config-input' : 'node-input';
    const [, defaults] = /defaults: \{(.*?)\n {4}\},/s.exec(html)!;
    for (const [, field] of defaults!.matchAll(/^ {6}(\w+): \{/gm)) {
      expect(html).toContain(`id="${kind}-${field}"`);
    }
  },
);

describe('the default flow', () => {
  const flow: FlowNode[] = JSON.parse(readFileSync(join(root, 'src/default-flow.json'), 'utf8'));
  const ids = new Set(flow.map(({ id }) => id));

  test('is wired to what is there', () => {
    for (const { wires = [], network, z } of flow) {
      for (const id of [...wires.flat(), network ?? 'fp-tab', z ?? 'fp-tab']) {
        expect(ids).toContain(id);
      }
    }
  });

  test('has nothing that overlaps', () => {
    const placed = flow.filter(({ x }) => x !== undefined);
    for (const a of placed) {
      for (const b of placed) {
        if (a === b) continue;
        expect(Math.abs(a.y! - b.y!) >= 40 || Math.abs(a.x! - b.x!) >= 180).toBe(true);
      }
    }
  });
});

test('every error says what it is and what to do', () => {
  for (const { what, remedy } of Object.values(FLOWS_ERRORS)) {
    expect(what).toMatch(/^[A-Z].*\.$/);
    expect(remedy).toMatch(/^[A-Z].*\.$/);
  }
});

test('log lines are JSON and hide passwords and tokens', () => {
  const lines: string[] = [];
  const log = logLines(
    (line) => lines.push(line),
    () => 5,
  );
  log('warn', 'at http://me:pw@host/ with fpt_abc and Bearer x.y', { node: 'a' });
  expect(JSON.parse(lines[0]!)).toEqual({
    level: 40,
    time: 5,
    name: 'flows',
    node: 'a',
    msg: 'at http://***@host/ with fpt_*** and Bearer ***',
  });
  expect(withoutSecrets('plain http://host/path@x')).toBe('plain http://host/path@x');
});
