/** Whether an address or a name is of this machine only: `localhost`, 127.0.0.0/8, ::1, also as sockets write it. */

const IPV4 = /^(::ffff:)?127(\.\d{1,3}){3}$/i;

/** @param host - of a URL, a setting, or a socket. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || host === '[::1]' || IPV4.test(host);
}
