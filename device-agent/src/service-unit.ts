/**
 * The systemd unit of an installed agent: a user of its own, a system that it can only read, a cap on memory, and a
 * watchdog. What it leaves open and why: `MemoryDenyWriteExecute`, because V8 compiles while it runs; `PrivateDevices`,
 * because sensors may be serial lines; `ProcSubset`, because the driver `system` reads /proc/stat.
 */

/** Where things are on the installed machine. */
export interface UnitOptions {
  readonly user: string;
  readonly dataDir: string;
  /** Absolute path of Node. */
  readonly node: string;
  /** Absolute path of fieldproof-agent.mjs. */
  readonly program: string;
}

export const UNIT_NAME = 'fieldproof-agent.service';
/** Three of its notices may be late before systemd restarts the agent. */
const WATCHDOG_SECONDS = 180;
/** The agent takes 60 MB; what grows beyond this is a fault. */
const MEMORY_MAX = '192M';

/** The text of the unit file. The options are checked before: they have no character that systemd would expand. */
export function unitText({ user, dataDir, node, program }: UnitOptions): string {
  return `# Made by fieldproof-agent install; run it again rather than editing this file. Changes of your own belong into
# a drop-in: systemctl edit ${UNIT_NAME}
[Unit]
Description=Fieldproof agent: samples sensors, signs and delivers what they say
Documentation=man:systemd.exec(5)
Wants=network-online.target
After=network-online.target time-sync.target
ConditionPathExists=${dataDir}/device.key
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=all
ExecStart=${node} ${program} run --data ${dataDir}
User=${user}
Restart=always
RestartSec=10
# A mistake in the command line or the configuration does not go away by itself.
RestartPreventExitStatus=64 78
TimeoutStartSec=180
TimeoutStopSec=60
WatchdogSec=${WATCHDOG_SECONDS}

MemoryMax=${MEMORY_MAX}
TasksMax=64
CPUWeight=50
IOWeight=50
OOMScoreAdjust=200

ProtectSystem=strict
ReadWritePaths=${dataDir}
ProtectHome=true
PrivateTmp=true
UMask=0077
# What the network acknowledges in time never touches the card; a restart finds it again, the machine's end does not.
RuntimeDirectory=fieldproof-agent
RuntimeDirectoryMode=0700
RuntimeDirectoryPreserve=restart
NoNewPrivileges=true
CapabilityBoundingSet=
AmbientCapabilities=
DevicePolicy=closed
DeviceAllow=char-ttyUSB rw
DeviceAllow=char-ttyACM rw
DeviceAllow=char-ttyAMA rw
DeviceAllow=char-ttyS rw
ProtectClock=true
ProtectControlGroups=true
ProtectHostname=true
ProtectKernelLogs=true
ProtectKernelModules=true
ProtectKernelTunables=true
ProtectProc=invisible
LockPersonality=true
RemoveIPC=true
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=true
RestrictRealtime=true
RestrictSUIDSGID=true
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
`;
}
