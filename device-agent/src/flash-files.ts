/** The files that a Raspberry Pi with cloud-init reads at its first start. Pure: texts from options. */

import { pbkdf2Sync } from 'node:crypto';

/** First line of our user-data: what begins so may be replaced. */
export const USER_DATA_MARK = '#cloud-config\n# Made by fieldproof-agent flash.\n';
/** Where the boot partition is on the running device, and our folder on it. */
const BOOT_FOLDER = '/boot/firmware/fieldproof';
const UNIT = 'fieldproof-first-boot.service';

export interface Wifi {
  readonly ssid: string;
  readonly password: string;
  /** ISO 3166 alpha-2. */
  readonly country: string;
}

/** cloud-config; JSON is YAML, and quotes everything. */
export function userData(options: {
  readonly hostname: string | undefined;
  readonly sshKeys: readonly string[];
}): string {
  const { hostname, sshKeys } = options;
  const ssh = sshKeys.length > 0;
  const user = { name: 'pi', shell: '/bin/bash', lock_passwd: true };
  const config = {
    ...(hostname === undefined ? {} : { hostname, manage_etc_hosts: true }),
    ...(ssh && {
      ssh_pwauth: false,
      users: [{ ...user, sudo: 'ALL=(ALL) NOPASSWD:ALL', ssh_authorized_keys: sshKeys }],
    }),
    write_files: [
      { path: `/etc/systemd/system/${UNIT}`, permissions: '0644', content: FIRST_BOOT_UNIT },
    ],
    runcmd: [
      ...(ssh ? [['systemctl', 'enable', '--now', 'ssh']] : []),
      ['systemctl', 'daemon-reload'],
      ['systemctl', 'enable', UNIT],
      ['systemctl', 'start', '--no-block', UNIT],
    ],
  };
  return `${USER_DATA_MARK}${JSON.stringify(config, null, 2)}\n`;
}

/** @param deviceId - the same device is the same instance: cloud-init does nothing twice. */
export function metaData(deviceId: string, hostname: string | undefined): string {
  const id = { 'instance-id': `fieldproof-${deviceId.slice(-16)}` };
  return `${JSON.stringify({ ...id, ...(hostname && { 'local-hostname': hostname }) })}\n`;
}

/** Netplan, version 2. The password is in it as WPA's key, which opens this network only. */
export function networkConfig({ ssid, password, country }: Wifi): string {
  const key = pbkdf2Sync(password, ssid, 4096, 32, 'sha1').toString('hex');
  const wlan0 = {
    dhcp4: true,
    optional: true,
    'regulatory-domain': country,
    'access-points': { [ssid]: { password: key } },
  };
  const network = {
    version: 2,
    ethernets: { eth0: { dhcp4: true, optional: true } },
    wifis: { wlan0 },
  };
  return `# Made by fieldproof-agent flash.\n${JSON.stringify({ network }, null, 2)}\n`;
}

/** Tries until it has worked: the network may come a week later, and power may go in the middle. */
const FIRST_BOOT_UNIT = `[Unit]
Description=Fieldproof agent: first start
Wants=network-online.target
After=network-online.target
ConditionPathExists=${BOOT_FOLDER}/data/device.key
StartLimitIntervalSec=0

[Service]
Type=oneshot
ExecStart=/bin/sh ${BOOT_FOLDER}/first-boot.sh
Restart=on-failure
RestartSec=30

[Install]
WantedBy=multi-user.target
`;

/** What the unit runs. Each step may have been done before; the secrets leave the boot partition last. */
export const FIRST_BOOT_SCRIPT = `#!/bin/sh
# Made by fieldproof-agent flash. Brings Node and the agent onto this device and takes the secrets off the boot partition.
set -eu
boot="\${FIELDPROOF_BOOT:-${BOOT_FOLDER}}"
data="\${FIELDPROOF_DATA:-/var/lib/fieldproof-agent}"

suits() {
  command -v node >/dev/null && node -e '
    const [major, minor] = process.versions.node.split(".").map(Number);
    process.exit(major > 20 || (major === 20 && minor >= 19) ? 0 : 1);'
}

if ! suits; then
  for tarball in "$boot"/node-v*-linux-arm64.tar.*; do
    if [ -f "$tarball" ]; then
      echo "Node from $tarball"
      tar -xf "$tarball" --strip-components=1 -C /usr/local
    fi
  done
fi
if ! suits; then
  echo 'Node from Debian'
  apt-get update
  DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends nodejs
fi
suits || { echo 'expected Node 20.19 or newer: flash again with --node-tarball' >&2; exit 1; }

# A device that has a key keeps it. The key comes last: with it the folder is whole.
if [ ! -e "$data/device.key" ]; then
  mkdir -p -m 700 "$data"
  for name in owner.json agent.yaml join-line device.key; do
    install -m 600 "$boot/data/$name" "$data/$name.new"
    sync
    mv "$data/$name.new" "$data/$name"
  done
  sync
fi
node "$boot/fieldproof-agent.mjs" install --data "$data"
# The device has all of it before the card loses the only other copy.
sync
rm -rf "$boot/data"
sync
echo 'done: journalctl -u fieldproof-agent shows the agent'
`;
