import { csvChunks, csvLine } from '@fieldproof/analytics/server/csv';
import { describe, expect, test } from '@jest/globals';

describe('CSV', () => {
  test.each([
    ['plain', 'plain'],
    ['a,b', '"a,b"'],
    ['say "hi"', '"say ""hi"""'],
    ['two\nlines', '"two\nlines"'],
    ['=1+1', `"'=1+1"`],
    ['+1', `"'+1"`],
    ['-1', `"'-1"`],
    ['@SUM(A1)', `"'@SUM(A1)"`],
    ['\t=1', `"'\t=1"`],
    ['  =1', `"'  =1"`],
    ['＝1', `"'＝1"`],
    ['=HYPERLINK("http://x","y")', `"'=HYPERLINK(""http://x"",""y"")"`],
  ])('the text %j is written as %s', (text, expected) => {
    expect(csvLine([text])).toBe(`${expected}\r\n`);
  });

  test('numbers stay numbers, negative ones too, and nothing is an empty cell', () => {
    expect(csvLine([-1.5, 1e-7, true, null, undefined, ''])).toBe('-1.5,1e-7,true,,,\r\n');
  });

  test('pieces together are the document', () => {
    const rows = Array.from({ length: 5001 }, (_, i) => [i, 'x']);
    const chunks = [...csvChunks(['n', 't'], rows)];
    expect(chunks.length).toBe(3);
    expect(chunks.join('').split('\r\n')).toHaveLength(5003);
  });
});
