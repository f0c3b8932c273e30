import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { StateJournal } from '@fieldproof/analytics/projection/state-journal';
import { crc32c } from '@fieldproof/protocol/crc32c';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { Encoder } from 'cbor-x';

let folder = '';
let path = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'journal-'));
  path = join(folder, 'deep', 's.state');
});
afterEach(() => rmSync(folder, { recursive: true }));

/** A snapshot and two changes behind it. */
async function filled(): Promise<void> {
  const { journal } = await StateJournal.load(path);
  await journal.replace('one');
  await journal.append({ n: 1 });
  await journal.append({ n: 2 });
  await journal.close();
}

const found = async () => {
  const { state, changes, problems, journal } = await StateJournal.load(path);
  await journal.close();
  return { state, changes, problems };
};

test('nothing is found where there is nothing', async () => {
  const { journal, state, changes, problems } = await StateJournal.load(path);
  expect({ state, changes, problems }).toEqual({ state: undefined, changes: [], problems: [] });
  expect(journal.hasSnapshot).toBe(false);
});

test('a snapshot and the changes behind it are found, through restarts', async () => {
  await filled();
  const { journal } = await StateJournal.load(path);
  expect(journal.hasSnapshot).toBe(true);
  await journal.append({ n: 3 });
  await journal.close();
  expect(await found()).toEqual({
    state: 'one',
    changes: [{ n: 1 }, { n: 2 }, { n: 3 }],
    problems: [],
  });
});

test('a snapshot takes the place of the changes before it', async () => {
  await filled();
  const { journal } = await StateJournal.load(path);
  await journal.replace('two');
  await journal.append({ n: 3 });
  await journal.replace('three');
  await journal.append({ n: 4 });
  await journal.close();
  expect(await found()).toEqual({ state: 'three', changes: [{ n: 4 }], problems: [] });
  expect(readdirSync(join(folder, 'deep')).sort()).toEqual([
    's.state',
    's.state.journal-2',
    's.state.journal-3',
    's.state.previous',
  ]);
});

test('a record torn at any byte is dropped and said, and what follows is kept', async () => {
  await filled();
  const whole = readFileSync(`${path}.journal-1`);
  for (let length = whole.length / 2; length < whole.length; length++) {
    for (const rest of [Buffer.alloc(0), Buffer.alloc(whole.length - length)]) {
      const torn = Buffer.concat([whole.subarray(0, length), rest]);
      writeFileSync(`${path}.journal-1`, torn);
      const expected =
        torn.length === whole.length / 2 ? [] : [expect.stringContaining('journal-1')];
      const before = torn.equals(whole) ? [{ n: 1 }, { n: 2 }] : [{ n: 1 }];
      const { journal, changes, problems } = await StateJournal.load(path);
      expect(changes).toEqual(before);
      if (!torn.equals(whole)) expect(problems).toEqual(expected);
      await journal.append({ n: 3 });
      await journal.close();
      expect(await found()).toEqual({ state: 'one', changes: [...before, { n: 3 }], problems: [] });
    }
  }
});

test('a damaged or missing snapshot gives way to the one before and every change since', async () => {
  await filled();
  const { journal } = await StateJournal.load(path);
  await journal.replace('two');
  await journal.append({ n: 3 });
  await journal.close();
  const all = { state: 'one', changes: [{ n: 1 }, { n: 2 }, { n: 3 }] };
  const bytes = readFileSync(path);
  for (let i = 0; i < bytes.length; i++) {
    const damaged = Buffer.from(bytes);
    damaged[i]! ^= 0x10;
    writeFileSync(path, damaged);
    expect(await found()).toEqual({ ...all, problems: [expect.stringContaining('s.state: ')] });
  }
  rmSync(path);
  expect(await found()).toEqual({ ...all, problems: [] });
  // The next one leaves the good one where it is.
  const next = await StateJournal.load(path);
  await next.journal.append({ n: 4 });
  await next.journal.replace('three');
  await next.journal.close();
  expect(await found()).toEqual({ state: 'three', changes: [], problems: [] });
  rmSync(path);
  expect((await found()).changes).toEqual([...all.changes, { n: 4 }]);
});

test('journals of a past that cannot be read any more do not follow a new beginning', async () => {
  await filled();
  const { journal } = await StateJournal.load(path);
  await journal.replace('two');
  await journal.append({ n: 3 });
  await journal.close();
  writeFileSync(path, 'nonsense');
  writeFileSync(`${path}.previous`, 'nonsense');
  const anew = await StateJournal.load(path);
  expect(anew.state).toBeUndefined();
  expect(anew.problems).toHaveLength(2);
  await anew.journal.replace('new');
  await anew.journal.close();
  expect(await found()).toEqual({ state: 'new', changes: [], problems: [] });
});

test('a change that could not be written is written with the next one', async () => {
  const { journal: first } = await StateJournal.load(path);
  await first.replace('one');
  await first.close();
  rmSync(`${path}.journal-1`);
  mkdirSync(`${path}.journal-1`);
  const { journal } = await StateJournal.load(path);
  await expect(journal.append({ n: 1 })).rejects.toMatchObject({ code: 'EISDIR' });
  rmdirSync(`${path}.journal-1`);
  await journal.append({ n: 2 });
  await journal.close();
  expect((await found()).changes).toEqual([{ n: 1 }, { n: 2 }]);
});

test('a journal is long when it is longer than a MiB and twice its snapshot', async () => {
  const { journal } = await StateJournal.load(path);
  await journal.replace('x'.repeat(1_000_000));
  for (let i = 0; i < 3; i++) {
    expect(journal.isLong).toBe(false);
    await journal.append('y'.repeat(999_000));
  }
  expect(journal.isLong).toBe(true);
  await journal.replace('x');
  expect(journal.isLong).toBe(false);
  await journal.close();
});

/** Writes a snapshot as another release does, good but for its format. */
function writeFormat(file: string, format: number): Buffer {
  const body = new Encoder({ useRecords: false }).encode({ format, generation: 1, state: 'old' });
  const head = Buffer.alloc(4);
  head.writeUInt32BE(crc32c(body));
  const bytes = Buffer.concat([head, body]);
  writeFileSync(file, bytes);
  return bytes;
}

test('a state of another format is said and kept with its journals, whatever is written since', async () => {
  await filled();
  const changes = readFileSync(`${path}.journal-1`);
  const old = writeFormat(path, 1);
  const before = writeFormat(`${path}.previous`, 2);
  // A crash before anything is written meets it again.
  for (let start = 0; start < 2; start++) {
    const { state, problems, otherFormat, journal } = await StateJournal.load(path);
    expect({ state, problems }).toEqual({ state: undefined, problems: [] });
    expect(otherFormat).toContain(`expected format 3, got 1; kept as ${path}.kept-1`);
    if (start === 0) continue;
    await journal.replace('new');
    await journal.append({ n: 9 });
    await journal.replace('newer');
    await journal.close();
  }
  expect(await found()).toEqual({ state: 'newer', changes: [], problems: [] });
  expect(readFileSync(`${path}.kept-1`)).toEqual(old);
  expect(readFileSync(`${path}.kept-1.previous`)).toEqual(before);
  expect(existsSync(`${path}.kept-2`)).toBe(false);
  expect(readFileSync(`${path}.kept-1.journal-1`)).toEqual(changes);
  writeFormat(path, 77);
  const { otherFormat } = await StateJournal.load(path);
  expect(otherFormat).toContain(`got 77; kept as ${path}.kept-2`);
});

test('the first snapshot, too, may be damaged anywhere without a loss', async () => {
  await filled();
  const bytes = readFileSync(path);
  for (let i = 0; i < bytes.length; i++) {
    const damaged = Buffer.from(bytes);
    damaged[i]! ^= 0x10;
    writeFileSync(path, damaged);
    expect(await found()).toMatchObject({ state: 'one', changes: [{ n: 1 }, { n: 2 }] });
  }
});
