/**
 * The fast reader of SenML envelopes (content type 112, docs/spec/telemetry.md section 2): walks deterministic CBOR
 * and writes readings into a reusable sink, without building records.
 *
 * It accepts exactly what `readingsFromSenml(decodeSenmlCbor(bytes, { strict: true }))` accepts and gives the same
 * readings; a property test holds the two together. Values of unknown labels are left to the plain CBOR decoder.
 */

import { CborCursor, type CborValue, decodeItem, Tagged } from './cbor.ts';
import {
  addDecimals,
  type Decimal,
  decimalToMicros,
  decimalToNumber,
  MAX_EXACT,
  POWERS_OF_TEN,
  scaleToMicros,
  scaleToNumber,
  secondsToMicros,
} from './decimal.ts';
import { ProtocolError } from './errors.ts';
import {
  isReadingTime,
  LAST_MICROS,
  MAX_READINGS,
  type ReadingName,
  ReadingSink,
  type ReadingType,
  splitName,
} from './readings-sink.ts';
import { DECIMAL_FRACTION_TAG, MAX_PAYLOAD_DEPTH, MAX_PAYLOAD_ITEMS } from './senml-cbor.ts';
import {
  checkUnknownLabel,
  malformed,
  SENML_FIELD_BY_LABEL,
  SENML_VERSION,
} from './senml-fields.ts';
import { Interned } from './senml-intern.ts';
import { MAX_DECIMAL_EXPONENT } from './senml-json.ts';

const EMPTY = new Uint8Array(0);
/** `{2: 4([-18, ±65535]), 6: 65535}`: the longest record that `steadyRecords` reads. */
const MAX_STEADY_BYTES = 12;
/** Below this no product and no sum of mantissas was rounded. */
const MAX_STEADY_SUM = 2 ** 52;
const LAST_SECONDS = LAST_MICROS / 1e6;
/** Profile, slash and metric. */
const MAX_NAME_BYTES = 32 + 1 + 64;
/** Longer units are decoded each time. */
const MAX_INTERNED_UNIT = 32;

/** Slots of numbers; base slots keep their content from record to record. */
const V = 0;
const S = 1;
const T = 2;
const UT = 3;
const BT = 4;
const BV = 5;
const BS = 6;
const SUM = 7;

/** What a slot holds: a decimal with a mantissa in ±2^53, a double, or a decimal with a bigint mantissa. */
const DECIMAL = 0;
const DOUBLE = 1;
const BIG = 2;

/** Bits of the fields that a record has: the CBOR key for regular ones, 16 − key for base fields. */
const HAS_N = 1 << 0;
const HAS_U = 1 << 1;
const HAS_V = 1 << 2;
const HAS_VS = 1 << 3;
const HAS_VB = 1 << 4;
const HAS_S = 1 << 5;
const HAS_T = 1 << 6;
const HAS_VD = 1 << 8;
const HAS_VALUE = HAS_V | HAS_VS | HAS_VB | HAS_VD;
const HAS_REGULAR = 0x1ff;
const HAS_BN = 1 << 17;
const HAS_BT = 1 << 18;
const HAS_BU = 1 << 19;
const HAS_BV = 1 << 20;
const HAS_BS = 1 << 21;
const NAMES = HAS_N | HAS_U | HAS_BN | HAS_BU;

export class SenmlWalker {
  private cursor = new CborCursor(EMPTY);
  private bytes: Uint8Array = EMPTY;
  private sink: ReadingSink;
  private items = 0;
  private record = 0;

  private readonly kinds = new Uint8Array(8);
  private readonly numbers = new Float64Array(8);
  private readonly exponents = new Int8Array(8);
  private readonly bigs: bigint[] = new Array(8).fill(0n);

  private readonly names = new Interned<ReadingName>();
  private readonly units = new Interned<string>();
  /** Base name, followed by the name of the record. */
  private readonly nameBytes = new Uint8Array(2 * MAX_NAME_BYTES);
  private baseLength = 0;
  private baseName: ReadingName | undefined;
  private baseUnit = '';
  private baseHas = 0;
  private version = 0;
  /** Whether a number with neither name nor unit of its own continues the run. */
  private isSteady = false;
  private unit = '';
  private nameStart = 0;
  private nameEnd = 0;
  private text = '';
  private truth = false;
  private data: Uint8Array = EMPTY;

  constructor(sink = new ReadingSink()) {
    this.sink = sink;
  }

  /**
   * Reads a payload. The result is the sink, valid until the next call.
   *
   * @throws {ProtocolError} ERR_SENML_MALFORMED, ERR_CBOR_MALFORMED, ERR_CBOR_NOT_DETERMINISTIC, ERR_CBOR_LIMIT.
   */
  walk(payload: Uint8Array, sink = this.sink): ReadingSink {
    const cursor = new CborCursor(payload);
    this.cursor = cursor;
    this.bytes = payload;
    this.sink = sink;
    sink.reset();
    this.items = 0;
    this.baseLength = 0;
    this.baseName = undefined;
    this.baseUnit = '';
    this.baseHas = 0;
    this.version = 0;
    this.isSteady = false;
    cursor.next();
    const count = cursor.argument;
    if (cursor.major !== 4 || count < 1 || count > MAX_READINGS) {
      throw new ProtocolError(
        'ERR_SENML_MALFORMED',
        `senml: expected an array of 1..${MAX_READINGS} records`,
      );
    }
    this.spend(1);
    for (let i = 0; i < count; i++) {
      if (this.isSteady) i += this.steadyRecords(count - i);
      if (i === count) break;
      this.record = i;
      this.finish(this.fields());
    }
    if (!cursor.done) throw cursor.malformed('bytes after the item', cursor.offset);
    return sink;
  }

  /**
   * Reads `{v, t}` records that continue a run of numbers, which most records are, while every number in them is a
   * short one: what `fields` and `finish` do, without the slots. Returns how many there were, at most `limit`.
   */
  private steadyRecords(limit: number): number {
    const { bytes, cursor, sink, kinds, numbers, exponents, baseHas } = this;
    const baseSeconds = baseHas & HAS_BT ? numbers[BT]! : 0;
    const baseMantissa = baseHas & HAS_BV ? numbers[BV]! : 0;
    const baseExponent = baseHas & HAS_BV ? exponents[BV]! : 0;
    if (baseHas & HAS_BT && (kinds[BT]! | exponents[BT]!) !== 0) return 0;
    if (baseHas & HAS_BV && (kinds[BV] !== DECIMAL || baseExponent > 0)) return 0;
    const last = bytes.length - MAX_STEADY_BYTES;
    const { timesUs, values } = sink;
    let at = cursor.offset;
    let done = 0;
    let items = 0;
    while (done < limit && at <= last && bytes[at] === 0xa2 && bytes[at + 1] === 0x02) {
      let next = at + 2;
      let exponent = 0;
      if (bytes[next] === 0xc4) {
        exponent = 0x1f - bytes[next + 2]!;
        if (bytes[next + 1] !== 0x82 || exponent >= 0 || exponent < -MAX_DECIMAL_EXPONENT) break;
        next += 3;
      }
      let head = bytes[next++]!;
      const isNegative = head >= 0x20;
      if (isNegative) head -= 0x20;
      let mantissa = head;
      if (head === 0x18) {
        mantissa = bytes[next++]!;
        if (mantissa < 0x18) break;
      } else if (head === 0x19) {
        mantissa = (bytes[next]! << 8) | bytes[next + 1]!;
        next += 2;
        if (mantissa < 0x100) break;
      } else if (head > 0x19) break;
      if (isNegative) mantissa = -1 - mantissa;

      if (bytes[next++] !== 0x06) break;
      let seconds = bytes[next++]!;
      if (seconds === 0x18) {
        seconds = bytes[next++]!;
        if (seconds < 0x18) break;
      } else if (seconds === 0x19) {
        seconds = (bytes[next]! << 8) | bytes[next + 1]!;
        next += 2;
        if (seconds < 0x100) break;
      } else if (seconds > 0x19) break;
      const micros = (seconds + baseSeconds) * 1e6;
      if (!(micros >= 0 && micros <= LAST_MICROS)) break;

      let sum = mantissa + baseMantissa;
      let scale = exponent;
      if (exponent > baseExponent) {
        sum = mantissa * POWERS_OF_TEN[exponent - baseExponent]! + baseMantissa;
        scale = baseExponent;
      } else if (exponent < baseExponent) {
        sum = mantissa + baseMantissa * POWERS_OF_TEN[baseExponent - exponent]!;
      }
      if (!(sum < MAX_STEADY_SUM && sum > -MAX_STEADY_SUM)) break;
      const spent = exponent === 0 ? 5 : 8;
      if (this.items + items + spent > MAX_PAYLOAD_ITEMS) break;
      items += spent;
      timesUs[sink.count + done] = micros;
      values[sink.count + done] = scaleToNumber(sum, scale);
      done++;
      at = next;
    }
    if (done === 0) return 0;
    cursor.offset = at;
    this.items += items;
    sink.extend(done);
    return done;
  }

  /** Reads the fields of one record and returns which there were. */
  private fields(): number {
    const { cursor, bytes } = this;
    const head = bytes[cursor.offset]!;
    let pairs = head - 0xa0;
    if (pairs >= 0 && pairs < 24) {
      cursor.start = cursor.offset++;
    } else {
      cursor.next();
      if (cursor.major !== 5) throw malformed(this.record, 'expected a map');
      pairs = cursor.argument;
    }
    // A pair takes two bytes at least.
    if (pairs < 0 || 2 * pairs > bytes.length - cursor.offset) {
      throw cursor.malformed(`map of ${pairs} pairs`, cursor.start);
    }
    this.spend(1 + 2 * pairs);
    let has = 0;
    let before = 0;
    let beforeEnd = 0;
    for (let i = 0; i < pairs; i++) {
      const start = cursor.offset;
      const key = bytes[start];
      let bit = 0;
      if (key !== undefined && (key <= 0x08 || (key >= 0x20 && key <= 0x25))) {
        cursor.offset = start + 1;
        bit = 1 << (key <= 0x08 ? key : key - 0x10);
      } else {
        this.unknownKey();
      }
      const end = cursor.offset;
      if (i > 0) {
        // One byte against one byte is the common case.
        const order =
          beforeEnd - before === 1 && bit !== 0
            ? bytes[before]! - key!
            : compareRanges(bytes, before, beforeEnd, start, end);
        if (order >= 0) {
          if (order === 0) throw cursor.malformed('duplicate map key', start);
          throw cursor.fail('ERR_CBOR_NOT_DETERMINISTIC', 'map keys not sorted', start);
        }
      }
      before = start;
      beforeEnd = end;
      has |= bit;
      if (bit === 0) this.unknownValue();
      else this.field(key!);
    }
    return has;
  }

  private field(key: number): void {
    const { cursor } = this;
    switch (key) {
      case 0x02:
        this.number(V);
        return;
      case 0x06:
        this.number(T);
        return;
      case 0x00:
        this.expect(3, 'n');
        this.nameStart = cursor.skipContent();
        this.nameEnd = cursor.offset;
        this.checkUtf8();
        return;
      case 0x01:
        this.unit = this.unitText('u');
        return;
      case 0x03:
        this.expect(3, 'vs');
        this.text = cursor.text();
        return;
      case 0x04:
        this.expect(7, 'vb');
        if (cursor.info !== 20 && cursor.info !== 21) throw this.wrong('vb', 'true or false');
        this.truth = cursor.info === 21;
        return;
      case 0x05:
        this.number(S);
        return;
      case 0x07:
        this.number(UT);
        return;
      case 0x08:
        this.expect(2, 'vd');
        this.data = cursor.byteString();
        return;
      case 0x20:
        this.baseVersion();
        return;
      case 0x21:
        this.setBaseName();
        return;
      case 0x22:
        this.number(BT);
        return;
      case 0x23:
        this.baseUnit = this.unitText('bu');
        return;
      case 0x24:
        this.number(BV);
        return;
      default:
        this.number(BS);
    }
  }

  /** Applies the base fields to the record read and adds its reading. */
  private finish(has: number): void {
    if (has === 0) throw malformed(this.record, 'expected at least one field, got none');
    const value = has & HAS_VALUE;
    if ((value & (value - 1)) !== 0)
      throw malformed(this.record, 'expected one value, got several');
    if (this.version === 0) this.version = SENML_VERSION;
    this.baseHas |= has;
    if ((has & HAS_REGULAR) === 0) {
      this.isSteady = false;
      return;
    }
    const { sink, baseHas } = this;
    const time = this.time(has);
    if (has & HAS_S && baseHas & HAS_BS) this.add(BS, S);
    let type: ReadingType;
    let slot: number;
    if (value === HAS_V || (value === 0 && !(has & HAS_S) && baseHas & HAS_BV)) {
      type = 'number';
      slot = this.combine(has & HAS_V, V, baseHas & HAS_BV, BV);
    } else if (value !== 0) {
      type = value === HAS_VS ? 'string' : value === HAS_VB ? 'boolean' : 'data';
      slot = -1;
    } else if (has & HAS_S || baseHas & HAS_BS) {
      type = 'sum';
      slot = this.combine(has & HAS_S, S, baseHas & HAS_BS, BS);
    } else {
      throw malformed(this.record, 'expected a value (v, vs, vb or vd) or a sum (s), got neither');
    }
    // The common record: name and unit are the base's, as they were for the one before.
    if (type !== 'number' || !this.isSteady || has & NAMES) {
      const unit = has & HAS_U ? this.unit : this.baseUnit;
      sink.run(this.name(has), unit, type, 'ERR_SENML_MALFORMED');
      this.isSteady = type === 'number' && (has & (HAS_N | HAS_U)) === 0;
    }
    if (slot >= 0) sink.add(time, this.toNumber(slot));
    else if (type === 'boolean') sink.add(time, this.truth ? 1 : 0);
    else sink.addObject(time, type === 'string' ? this.text : this.data);
  }

  private time(has: number): number {
    const ownTime = has & HAS_T;
    const baseTime = this.baseHas & HAS_BT;
    if (!ownTime && !baseTime) return 0;
    const { kinds, numbers, exponents } = this;
    if (
      ownTime &&
      baseTime &&
      (kinds[T]! | kinds[BT]! | exponents[T]! | exponents[BT]!) === 0 &&
      numbers[T]! + numbers[BT]! >= 0 &&
      numbers[T]! + numbers[BT]! <= LAST_SECONDS
    ) {
      return (numbers[T]! + numbers[BT]!) * 1e6;
    }
    const micros = this.toMicros(this.combine(ownTime, T, baseTime, BT));
    if (!isReadingTime(micros)) {
      throw malformed(this.record, `time: ${micros} µs is outside of what is read`);
    }
    return micros;
  }

  /** The slot with own + base, where a missing one counts as zero. One of them is there. */
  private combine(hasOwn: number, own: number, ...[hasBase, base]: [number, number]): number {
    if (!hasBase) return own;
    if (!hasOwn) return base;
    this.add(base, own);
    return SUM;
  }

  // --- names and units

  private name(has: number): ReadingName {
    if (!(has & HAS_N)) {
      this.baseName ??= this.lookUp(this.baseLength);
      return this.baseName;
    }
    const { nameBytes, baseLength, nameStart, nameEnd, bytes } = this;
    const length = baseLength + nameEnd - nameStart;
    if (length <= MAX_NAME_BYTES) {
      for (let i = nameStart, j = baseLength; i < nameEnd; i++) nameBytes[j++] = bytes[i]!;
    }
    return this.lookUp(length);
  }

  private lookUp(length: number): ReadingName {
    if (length > MAX_NAME_BYTES) {
      throw malformed(this.record, `name: expected at most ${MAX_NAME_BYTES} bytes, got ${length}`);
    }
    const { nameBytes } = this;
    const known = this.names.get(nameBytes, 0, length);
    if (known !== undefined) return known;
    const text = String.fromCharCode(...nameBytes.subarray(0, length));
    const name = splitName(text);
    if (name === undefined) throw malformed(this.record, `name: no metric name in ${text}`);
    return this.names.put(nameBytes, 0, length, name);
  }

  private setBaseName(): void {
    const { cursor, bytes, nameBytes } = this;
    this.expect(3, 'bn');
    const start = cursor.skipContent();
    this.checkUtf8();
    this.baseName = undefined;
    this.baseLength = cursor.offset - start;
    if (this.baseLength > MAX_NAME_BYTES) return;
    for (let i = start, j = 0; i < cursor.offset; i++) nameBytes[j++] = bytes[i]!;
  }

  private unitText(label: string): string {
    const { cursor, bytes } = this;
    this.expect(3, label);
    const start = cursor.offset;
    const end = start + cursor.argument;
    const internable = cursor.argument >= 0 && cursor.argument <= MAX_INTERNED_UNIT;
    if (!internable || end > bytes.length) return cursor.text();
    const known = this.units.get(bytes, start, end);
    if (known === undefined) return this.units.put(bytes, start, end, cursor.text());
    cursor.offset = end;
    return known;
  }

  /** Checks the text string that the cursor has just skipped. */
  private checkUtf8(): void {
    const { cursor, bytes } = this;
    const end = cursor.offset;
    for (let i = end - cursor.argument; i < end; i++) {
      if (bytes[i]! > 0x7f) {
        cursor.offset = end - cursor.argument;
        cursor.text();
        return;
      }
    }
  }

  private baseVersion(): void {
    this.expect(0, 'bver');
    const stated = this.cursor.argument;
    if (stated < 1 || stated > SENML_VERSION || (this.version !== 0 && stated !== this.version)) {
      const expected = this.version || `1..${SENML_VERSION}`;
      throw malformed(this.record, `bver: expected ${expected}, got ${stated}`);
    }
    this.version = stated;
  }

  // --- numbers

  /** Reads an integer, a decimal fraction or a float into a slot (telemetry.md 1.7). */
  private number(slot: number): void {
    const { cursor } = this;
    if (this.shortNumber(slot)) return;
    cursor.next();
    switch (cursor.major) {
      case 0:
      case 1:
        this.kinds[slot] = DECIMAL;
        this.exponents[slot] = 0;
        this.integer(slot);
        return;
      case 6:
        this.decimalFraction(slot);
        return;
      case 7: {
        const value = cursor.info >= 25 ? cursor.float() : Number.NaN;
        if (!Number.isFinite(value)) throw this.wrong('a number', 'a finite float');
        this.kinds[slot] = DOUBLE;
        this.numbers[slot] = value;
        return;
      }
      default:
        throw this.wrong('a number', 'an integer, a decimal fraction or a float');
    }
  }

  /** The numbers that most records have: integers of one byte, tag 4 with a mantissa of one or two. */
  private shortNumber(slot: number): boolean {
    const { cursor, bytes } = this;
    let at = cursor.offset;
    let exponent = 0;
    if (bytes[at] === 0xc4 && bytes[at + 1] === 0x82) {
      exponent = 0x1f - bytes[at + 2]!;
      // Not for exponents that are not negative, out of range, or not there (NaN).
      if (!(exponent < 0 && exponent >= -MAX_DECIMAL_EXPONENT)) return false;
      at += 3;
    }
    const head = bytes[at++]!;
    let mantissa: number;
    if (head <= 0x17) mantissa = head;
    else if (head >= 0x20 && head <= 0x37) mantissa = 0x1f - head;
    else if ((head === 0x18 || head === 0x38) && bytes[at]! >= 24) {
      mantissa = head === 0x18 ? bytes[at]! : -1 - bytes[at]!;
      at++;
    } else return false;
    if (exponent !== 0) this.spend(3);
    cursor.offset = at;
    this.kinds[slot] = DECIMAL;
    this.numbers[slot] = mantissa;
    this.exponents[slot] = exponent;
    return true;
  }

  /** The integer head read last, as the mantissa of a slot. */
  private integer(slot: number): void {
    const { cursor } = this;
    const negative = cursor.major === 1;
    if (cursor.argument >= 0) {
      this.numbers[slot] = negative ? -1 - cursor.argument : cursor.argument;
    } else {
      const argument = cursor.bigArgument();
      this.kinds[slot] = BIG;
      this.bigs[slot] = negative ? -1n - argument : argument;
    }
  }

  private decimalFraction(slot: number): void {
    const { cursor } = this;
    if (cursor.argument !== DECIMAL_FRACTION_TAG) throw this.wrong('a number', 'tag 4');
    this.spend(3);
    this.expect(4, 'tag 4');
    if (cursor.argument !== 2) throw this.wrong('tag 4', 'two integers');
    cursor.next();
    const exponent = cursor.major === 1 ? -1 - cursor.argument : cursor.argument;
    if (
      cursor.major > 1 ||
      cursor.argument < 0 ||
      exponent > MAX_DECIMAL_EXPONENT ||
      exponent < -MAX_DECIMAL_EXPONENT
    ) {
      throw this.wrong('tag 4', `an exponent in ±${MAX_DECIMAL_EXPONENT}`);
    }
    cursor.next();
    if (cursor.major > 1) throw this.wrong('tag 4', 'an integer mantissa');
    this.kinds[slot] = DECIMAL;
    this.exponents[slot] = exponent;
    this.integer(slot);
    if (this.kinds[slot] !== BIG) return;
    if (this.bigs[slot]! > MAX_EXACT || this.bigs[slot]! < -MAX_EXACT) {
      throw this.wrong('tag 4', 'a mantissa within ±2^53');
    }
  }

  /** SUM = a + b: exact where both are decimals, else of doubles. */
  private add(a: number, b: number): void {
    const { kinds, numbers, exponents } = this;
    if (kinds[a] === DECIMAL && kinds[b] === DECIMAL) {
      const exponentA = exponents[a]!;
      const exponentB = exponents[b]!;
      let mantissaA = numbers[a]!;
      let mantissaB = numbers[b]!;
      // Bring both to the smaller exponent, exactly while the products stay below 2^53.
      if (exponentA > exponentB) mantissaA *= POWERS_OF_TEN[exponentA - exponentB] ?? Infinity;
      if (exponentB > exponentA) mantissaB *= POWERS_OF_TEN[exponentB - exponentA] ?? Infinity;
      const sum = mantissaA + mantissaB;
      if (
        Math.abs(mantissaA) <= MAX_EXACT &&
        Math.abs(mantissaB) <= MAX_EXACT &&
        Math.abs(sum) < MAX_EXACT
      ) {
        kinds[SUM] = DECIMAL;
        numbers[SUM] = sum;
        exponents[SUM] = Math.min(exponentA, exponentB);
        return;
      }
    }
    if (kinds[a] === DOUBLE || kinds[b] === DOUBLE) {
      const sum = this.toNumber(a) + this.toNumber(b);
      if (!Number.isFinite(sum))
        throw malformed(this.record, 'the sum with the base is not finite');
      kinds[SUM] = DOUBLE;
      numbers[SUM] = sum;
      return;
    }
    const { mantissa, exponent } = addDecimals(this.toDecimal(a), this.toDecimal(b));
    kinds[SUM] = BIG;
    this.bigs[SUM] = BigInt(mantissa);
    exponents[SUM] = exponent;
  }

  private toNumber(slot: number): number {
    switch (this.kinds[slot]) {
      case DECIMAL:
        return scaleToNumber(this.numbers[slot]!, this.exponents[slot]!);
      case DOUBLE:
        return this.numbers[slot]!;
      default:
        return decimalToNumber(this.toDecimal(slot));
    }
  }

  private toMicros(slot: number): number {
    switch (this.kinds[slot]) {
      case DECIMAL:
        return scaleToMicros(this.numbers[slot]!, this.exponents[slot]!);
      case DOUBLE:
        return secondsToMicros(this.numbers[slot]!);
      default:
        return decimalToMicros(this.toDecimal(slot));
    }
  }

  private toDecimal(slot: number): Decimal {
    const mantissa = this.kinds[slot] === BIG ? this.bigs[slot]! : this.numbers[slot]!;
    return { mantissa, exponent: this.exponents[slot]! };
  }

  // --- labels that RFC 8428 does not define

  private unknownKey(): void {
    const { cursor, record } = this;
    cursor.next();
    if (cursor.major === 3) {
      const label = cursor.text();
      if (SENML_FIELD_BY_LABEL.has(label))
        throw malformed(record, `label ${label}: expected its integer`);
      checkUnknownLabel(label, record);
    } else if (cursor.major > 1) {
      throw malformed(record, 'labels: expected integers and texts');
    }
  }

  private unknownValue(): void {
    // The array and the record are two levels; fields() has counted one item.
    const maxDepth = MAX_PAYLOAD_DEPTH - 2;
    const maxItems = MAX_PAYLOAD_ITEMS - this.items + 1;
    this.spend(countItems(decodeItem(this.cursor, { maxDepth, maxItems })) - 1);
  }

  // --- checks

  private spend(items: number): void {
    this.items += items;
    if (this.items > MAX_PAYLOAD_ITEMS) {
      throw this.cursor.fail('ERR_CBOR_LIMIT', 'too many items', this.cursor.start);
    }
  }

  private expect(major: number, what: string): void {
    this.cursor.next();
    if (this.cursor.major !== major) throw this.wrong(what, MAJOR_TYPES[major]!);
  }

  private wrong(what: string, expected: string): ProtocolError {
    return malformed(this.record, `${what}: expected ${expected}, at byte ${this.cursor.start}`);
  }
}

const MAJOR_TYPES = [
  'an unsigned integer',
  'a negative integer',
  'a byte string',
  'a text string',
  'an array',
  'a map',
  'a tag',
  'true or false',
];

function countItems(value: CborValue): number {
  let count = 1;
  if (Array.isArray(value)) for (const item of value) count += countItems(item);
  else if (value instanceof Map) {
    for (const [key, item] of value) count += countItems(key) + countItems(item);
  } else if (value instanceof Tagged) count += countItems(value.value);
  return count;
}

function compareRanges(
  bytes: Uint8Array,
  ...[a, aEnd, b, bEnd]: [number, number, number, number]
): number {
  let i = a;
  let j = b;
  while (i < aEnd && j < bEnd) {
    const difference = bytes[i++]! - bytes[j++]!;
    if (difference !== 0) return difference;
  }
  return aEnd - i - (bEnd - j);
}
