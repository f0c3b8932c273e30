import { PassThrough } from 'node:stream';
import { asker } from '@fieldproof/device-agent/ask';
import { askPhrase } from '@fieldproof/device-agent/ask-phrase';
import { expect, test } from '@jest/globals';

/** A terminal at which somebody types. */
function terminal() {
  const input = Object.assign(new PassThrough(), { isTTY: true, setRawMode: () => {} });
  const output = Object.assign(new PassThrough(), { isTTY: true, columns: 200 });
  const ask = asker(
    input as unknown as NodeJS.ReadStream,
    output as unknown as NodeJS.WriteStream,
  )!;
  return { input, output, ask };
}

test('what is typed up to Enter is the answer, question after question', async () => {
  const { input, ask } = terminal();
  const first = ask('Name: ');
  input.write('kitchen\r');
  expect(await first).toBe('kitchen');
  const second = ask('Owner: ');
  input.write('\r');
  expect(await second).toBe('');
});

test('lines that are pasted at once are one answer, whether the last one ends or not', async () => {
  const { input, ask } = terminal();
  const first = ask('Join line: ');
  input.write('fieldproof://host:1/net\r    ?root=x\r&token=y\r');
  expect(await first).toBe('fieldproof://host:1/net\n    ?root=x\n&token=y');
  const second = ask('Join line: ');
  input.write('fieldproof://host:1/net\r?root=x');
  expect(await second).toBe('fieldproof://host:1/net\n?root=x');
});

test('words that are pasted in two lines are one phrase, which nobody sees', async () => {
  const { input, output } = terminal();
  let asked = '';
  const phrase = askPhrase(input as unknown as NodeJS.ReadStream, (text) => {
    asked += text;
  });
  input.write('legal winner thank\ryear wave sausage\r');
  expect(await phrase).toBe('legal winner thank year wave sausage');
  expect(asked + String(output.read() ?? '')).not.toContain('legal');
});

test('leaving gives no answer', async () => {
  const { input, ask } = terminal();
  const left = ask('Name: ');
  input.write('\x03');
  expect(await left).toBeUndefined();
});
