/**
 * Requests and answers of Modbus TCP, functions 1 to 4 (Modbus Application Protocol V1.1b3 sections 6.1 to 6.4 and 7,
 * Modbus Messaging on TCP/IP V1.0b section 3.1.3).
 */

/** Transaction, protocol, length, unit. */
export const HEADER_BYTES = 7;
/** The length field counts the unit and a PDU of at most 253 bytes. */
const MAX_LENGTH = 254;

export const REGISTER_TYPES = ['uint16', 'int16', 'uint32', 'int32', 'float32', 'float64'] as const;
export type RegisterType = (typeof REGISTER_TYPES)[number];
export type FunctionCode = 1 | 2 | 3 | 4;

export interface ReadRequest {
  readonly unitId: number;
  readonly functionCode: FunctionCode;
  readonly address: number;
  /** Registers, or bits. */
  readonly count: number;
}

/** Section 7. */
const EXCEPTIONS: Readonly<Record<number, string>> = {
  1: 'illegal function',
  2: 'illegal data address',
  3: 'illegal data value',
  4: 'server device failure',
  5: 'acknowledge',
  6: 'server device busy',
  8: 'memory parity error',
  10: 'gateway path unavailable',
  11: 'gateway target device failed to respond',
};

/** The device answered that it will not. */
export class ModbusException extends Error {
  readonly exceptionCode: number;

  constructor(exceptionCode: number) {
    super(`exception ${exceptionCode} (${EXCEPTIONS[exceptionCode] ?? 'not in the standard'})`);
    this.exceptionCode = exceptionCode;
  }
}

/** Whether a function reads bits (coils, discrete inputs) and not registers. */
export function isBitFunction(functionCode: FunctionCode): boolean {
  return functionCode <= 2;
}

/** Registers of a type, 16 bits each. */
export function registersOf(type: RegisterType): number {
  return Number(/\d+$/.exec(type)![0]) / 16;
}

/** A whole frame. @param transaction - 0 to 65535. */
export function encodeRequest(transaction: number, request: ReadRequest): Uint8Array {
  const { unitId, functionCode, address, count } = request;
  const frame = new DataView(new ArrayBuffer(12));
  frame.setUint16(0, transaction);
  frame.setUint16(4, 6);
  frame.setUint8(6, unitId);
  frame.setUint8(7, functionCode);
  frame.setUint16(8, address);
  frame.setUint16(10, count);
  return new Uint8Array(frame.buffer);
}

/**
 * The length of the frame that begins the bytes, undefined while there are too few to know.
 *
 * @throws {Error} when it cannot be Modbus.
 */
export function frameLength(bytes: Uint8Array): number | undefined {
  if (bytes.length < 6) return undefined;
  const protocol = bytes[2]! * 256 + bytes[3]!;
  const length = bytes[4]! * 256 + bytes[5]!;
  if (protocol !== 0) throw new Error(`protocol: expected 0, got ${protocol}`);
  // Unit, function and an exception code are the least there is.
  if (length < 3 || length > MAX_LENGTH) {
    throw new Error(`frame: expected a length from 3 to ${MAX_LENGTH}, got ${length}`);
  }
  return 6 + length;
}

/** The transaction of a frame. */
export function transactionOf(frame: Uint8Array): number {
  return frame[0]! * 256 + frame[1]!;
}

/**
 * The data of a whole frame that answers a request.
 *
 * @throws {ModbusException} what the device answered.
 * @throws {Error} when it is no answer to this request.
 */
export function decodeAnswer(frame: Uint8Array, request: ReadRequest): Uint8Array {
  const { unitId, functionCode, count } = request;
  if (frame[6] !== unitId) throw new Error(`unit: expected ${unitId}, got ${frame[6]}`);
  if (frame[7] === functionCode + 0x80 && frame.length === HEADER_BYTES + 2) {
    throw new ModbusException(frame[8]!);
  }
  if (frame[7] !== functionCode) {
    throw new Error(`function: expected ${functionCode}, got ${frame[7]}`);
  }
  const expected = isBitFunction(functionCode) ? Math.ceil(count / 8) : 2 * count;
  const data = frame.subarray(HEADER_BYTES + 2);
  if (frame[8] !== expected || data.length !== expected) {
    throw new Error(`data: expected ${expected} bytes, got ${data.length}, announced ${frame[8]}`);
  }
  return data;
}

/** The number in the registers. Words come with the high one first, as bytes do, unless said otherwise. */
export function decodeValue(
  data: Uint8Array,
  options: {
    readonly type: RegisterType;
    readonly wordOrder: 'big' | 'little';
    readonly byteOrder: 'big' | 'little';
  },
): number {
  const bytes = new Uint8Array(data.length);
  const words = data.length / 2;
  for (let word = 0; word < words; word += 1) {
    const from = 2 * (options.wordOrder === 'big' ? word : words - 1 - word);
    const swap = options.byteOrder === 'little' ? 1 : 0;
    bytes[2 * word] = data[from + swap]!;
    bytes[2 * word + 1] = data[from + 1 - swap]!;
  }
  const view = new DataView(bytes.buffer);
  switch (options.type) {
    case 'uint16':
      return view.getUint16(0);
    case 'int16':
      return view.getInt16(0);
    case 'uint32':
      return view.getUint32(0);
    case 'int32':
      return view.getInt32(0);
    case 'float32':
      // Seven digits are all that it holds; as a double 0.1 would be 0.10000000149011612.
      return Number(view.getFloat32(0).toPrecision(7));
    case 'float64':
      return view.getFloat64(0);
  }
}
