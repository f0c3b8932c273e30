/**
 * A second reading of MQTT 3.1.1 (sections 3 and 4.7) and of docs/spec/topics.md section 5, apart from the plain broker:
 * what a filter matches, what is forbidden, and how a stream of good packets must be answered.
 */

/** Whether a filter matches a topic name, by a regular expression. */
export function isMatch(filter: string, topic: string): boolean {
  if (topic.startsWith('$') && /^[#+]/.test(filter)) return false;
  const pattern = filter
    .split('/')
    .map((level) => {
      if (level === '+') return '[^/]*';
      if (level === '#') return '.*';
      return level.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
    })
    .join('/');
  // # stands for the level above it as well.
  const whole = filter === '#' ? '.*' : pattern.replace(/\/\.\*$/, '(/.*)?');
  return new RegExp(`^${whole}$`, 'su').test(topic);
}

/** Whether nobody may publish there. */
export function isReserved(topic: string): boolean {
  return /^(fp|\$SYS|\$share)(\/|$)/.test(topic);
}

/** Whether a filter is answered with 0x80. */
export function isRefused(filter: string, network: string): boolean {
  if (/^\$share(\/|$)/.test(filter)) return true;
  if (!/^fp(\/|$)/.test(filter)) return false;
  return !new RegExp(`^fp/1/${network}/d/(\\+|z6Mk[1-9A-HJ-NP-Za-km-z]{44})/state$`).test(filter);
}

/** The answers to good packets, in their order, as `describeAnswer` writes them; until a DISCONNECT. */
export function expectedAnswers(
  good: Buffer,
  network: string,
): { readonly answers: readonly string[]; readonly disconnects: boolean } {
  const answers: string[] = [];
  for (let at = 0; at < good.length; ) {
    const first = good[at]!;
    let length = 0;
    let shift = 0;
    let byte: number;
    do {
      at += 1;
      byte = good[at]!;
      length |= (byte & 127) << shift;
      shift += 7;
    } while (byte > 127);
    const body = good.subarray(at + 1, at + 1 + length);
    at += 1 + length;
    const type = first >> 4;
    if (type === 14) return { answers, disconnects: true };
    const answer = answerOf(type, first & 15, body, network);
    if (answer !== null) answers.push(answer);
  }
  return { answers, disconnects: false };
}

function answerOf(type: number, flags: number, body: Buffer, network: string): string | null {
  const id = body.length >= 2 ? body.readUInt16BE(0) : 0;
  switch (type) {
    case 1:
      return 'connack';
    case 3: {
      const qos = (flags >> 1) & 3;
      if (qos === 0) return null;
      return `${qos === 1 ? 'puback' : 'pubrec'} ${body.readUInt16BE(2 + id)}`;
    }
    case 5:
      return `pubrel ${id}`;
    case 6:
      return `pubcomp ${id}`;
    case 8: {
      const codes: number[] = [];
      for (let at = 2; at < body.length; ) {
        const size = body.readUInt16BE(at);
        const filter = body.toString('utf8', at + 2, at + 2 + size);
        codes.push(isRefused(filter, network) ? 128 : body[at + 2 + size]!);
        at += 3 + size;
      }
      return `suback ${id} ${codes.join()}`;
    }
    case 10:
      return `unsuback ${id}`;
    case 12:
      return 'pingresp';
    default:
      return null;
  }
}
