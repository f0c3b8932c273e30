/** Watches the lengths that MQTT packets announce (MQTT 3.1.1 section 2.2.3), so that none fills the memory. */

/** Takes the bytes of a connection in order; calls `onTooLong` once for a packet above `maxBytes`. */
export function packetGuard(
  maxBytes: number,
  onTooLong: (bytes: number) => void,
): (chunk: Uint8Array) => void {
  /** Bytes of the packet that are still to come; −1 before its first byte, −2 within its length. */
  let left = -1;
  let length = 0;
  let factor = 1;
  let told = false;
  return (chunk) => {
    let at = 0;
    while (at < chunk.length && !told) {
      if (left === -1) {
        at += 1;
        left = -2;
        length = 0;
        factor = 1;
      } else if (left === -2) {
        const byte = chunk[at]!;
        at += 1;
        length += (byte & 0x7f) * factor;
        factor *= 128;
        if (length > maxBytes || factor > 128 ** 4) {
          told = true;
          onTooLong(length);
        } else if (byte < 0x80) left = length === 0 ? -1 : length;
      } else {
        const taken = Math.min(left, chunk.length - at);
        at += taken;
        left -= taken;
        if (left === 0) left = -1;
      }
    }
  };
}
