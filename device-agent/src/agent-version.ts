/** What births and enrolments say this program is. */
export const AGENT_VERSION = 'fieldproof-agent/0.1.0';
