// What the programs of this folder share: the list of things, and the records that they send and expect back. It is
// tests/compat/clients/python/checks.py in JavaScript.
import assert from "node:assert/strict";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";

export const PARTITIONS = 4;
export const LIMIT_MS = 30_000;
export const BIG = 900_000;
export const TOO_BIG = 1_200_000;
export const FIRST_MS = 1_600_000_000_000;
export const STEP_MS = 1_000;
export const FAILOVER = 3000;

const CODECS = ["none", "gzip", "snappy", "lz4", "zstd"];
const THINGS = {
  "idempotent producer": "idempotent",
  "group: shares and rebalances": "group",
  "commit: sync, async, given": "commit",
  "seek by timestamp": "byTimestamp",
  "list offsets": "listOffsets",
  "describe and alter configs": "configs",
  "list, describe, delete groups": "groups",
  "delete records": "deleteRecords",
  "delete topics": "deleteTopics",
  "unknown topic: made, or refused": "unknownTopic",
  "big record": "big",
  "record too large": "tooBig",
};

// Different ones, in order; some without a key, with an empty header and one that is there twice.
export function records(count = 200) {
  return Array.from({ length: count }, (_, number) => ({
    key: number % 3 ? Buffer.from(`key-${number}`) : null,
    value: Buffer.from(`${number}:${"value ".repeat(number % 50)}`),
    headers: { number: [Buffer.from(`${number}`), Buffer.from("again")], empty: Buffer.alloc(0) },
    timestamp: `${FIRST_MS + number * STEP_MS}`,
  }));
}

// What is compared of a record that was read.
export function seen({ key, value, headers, timestamp }) {
  return { key, value, headers: { ...headers }, timestamp };
}

// For what nothing tells.
export async function until(what, done) {
  const deadline = Date.now() + LIMIT_MS;
  while (!(await done())) {
    assert.ok(Date.now() < deadline, `not in time: ${what}`);
    await sleep(20);
  }
}

export function unique(client) {
  return `${client}-${Date.now()}${process.pid}`;
}

// Tell who runs this; it kills the leader of partition 0 and answers with a line.
export async function askToKillTheLeader(topic) {
  const lines = createInterface({ input: process.stdin });
  const answer = new Promise((resolve) => lines.once("line", resolve));
  console.log(`KILL ${topic}`);
  assert.equal(await answer, "killed");
  lines.close();
}

// `node program BOOTSTRAP [failover]`: a line a thing, exit code 1 when one failed.
export async function run(program) {
  let failed = false;
  const look = async (name, thing) => {
    try {
      await thing();
      console.log(`PASS ${name}`);
    } catch (error) {
      failed = true;
      console.log(`FAIL ${name}: ${error.name}: ${String(error.message).replaceAll("\n", " ").slice(0, 500)}`);
      console.error(error);
    }
  };
  const made = await program(process.argv[2].split(","));
  if (process.argv[3] === "failover") {
    await look("failover: once and in order", () => made.failover());
  } else {
    for (const codec of CODECS) await look(`produce and consume: ${codec}`, () => made.codec(codec));
    for (const [name, method] of Object.entries(THINGS)) await look(name, () => made[method]());
  }
  await made.close();
  process.exit(failed ? 1 : 0);
}
