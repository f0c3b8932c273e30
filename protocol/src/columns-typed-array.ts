/**
 * The typed arrays of columns payloads (RFC 8746 section 2.1; docs/spec/telemetry.md 3.1): which tags there are, and
 * how their elements are read. Left out: 64-bit integers, float16, float32, float128, clamped uint8.
 */

export interface TypedArrayTag {
  readonly tag: number;
  readonly bytes: 1 | 2 | 4 | 8;
  readonly kind: 'unsigned' | 'signed' | 'float';
  readonly littleEndian: boolean;
}

export const TYPED_ARRAY_TAGS: readonly TypedArrayTag[] = [
  { tag: 64, bytes: 1, kind: 'unsigned', littleEndian: false },
  { tag: 65, bytes: 2, kind: 'unsigned', littleEndian: false },
  { tag: 66, bytes: 4, kind: 'unsigned', littleEndian: false },
  { tag: 69, bytes: 2, kind: 'unsigned', littleEndian: true },
  { tag: 70, bytes: 4, kind: 'unsigned', littleEndian: true },
  { tag: 72, bytes: 1, kind: 'signed', littleEndian: false },
  { tag: 73, bytes: 2, kind: 'signed', littleEndian: false },
  { tag: 74, bytes: 4, kind: 'signed', littleEndian: false },
  { tag: 77, bytes: 2, kind: 'signed', littleEndian: true },
  { tag: 78, bytes: 4, kind: 'signed', littleEndian: true },
  { tag: 82, bytes: 8, kind: 'float', littleEndian: false },
  { tag: 86, bytes: 8, kind: 'float', littleEndian: true },
];

const BY_TAG: ReadonlyMap<unknown, TypedArrayTag> = new Map(
  TYPED_ARRAY_TAGS.map((row) => [row.tag, row]),
);

/** The row of a tag, undefined for one that columns do not use. */
export function typedArrayTag(tag: number | bigint): TypedArrayTag | undefined {
  return BY_TAG.get(tag);
}

/** Reads the elements of a typed array. `content` holds a whole number of them. */
export function readTypedArray(type: TypedArrayTag, content: Uint8Array, out: Float64Array): void {
  const view = new DataView(content.buffer, content.byteOffset, content.byteLength);
  const count = content.byteLength / type.bytes;
  const { littleEndian } = type;
  for (let i = 0; i < count; i++) {
    const at = i * type.bytes;
    if (type.kind === 'float') out[i] = view.getFloat64(at, littleEndian);
    else if (type.kind === 'unsigned') {
      if (type.bytes === 1) out[i] = view.getUint8(at);
      else if (type.bytes === 2) out[i] = view.getUint16(at, littleEndian);
      else out[i] = view.getUint32(at, littleEndian);
    } else if (type.bytes === 1) out[i] = view.getInt8(at);
    else if (type.bytes === 2) out[i] = view.getInt16(at, littleEndian);
    else out[i] = view.getInt32(at, littleEndian);
  }
}

/** The narrowest integer row (big-endian) that holds min..max, undefined beyond 32 bits. */
export function integerTypedArray(min: number, max: number): TypedArrayTag | undefined {
  return TYPED_ARRAY_TAGS.find(({ kind, bytes, littleEndian }) => {
    if (kind === 'float' || littleEndian) return false;
    const range = 2 ** (8 * bytes);
    return kind === 'unsigned' ? min >= 0 && max < range : min >= -range / 2 && max < range / 2;
  });
}

/** The bytes of a big-endian typed array; the elements fit `type`. */
export function writeTypedArray(type: TypedArrayTag, elements: ArrayLike<number>): Uint8Array {
  const content = new Uint8Array(elements.length * type.bytes);
  const view = new DataView(content.buffer);
  for (let i = 0; i < elements.length; i++) {
    const at = i * type.bytes;
    const element = elements[i]!;
    if (type.kind === 'float') view.setFloat64(at, element);
    // Two's complement: signed and unsigned are the same bits.
    else if (type.bytes === 1) view.setUint8(at, element);
    else if (type.bytes === 2) view.setUint16(at, element);
    else view.setUint32(at, element);
  }
  return content;
}
