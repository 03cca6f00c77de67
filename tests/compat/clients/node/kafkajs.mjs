// kafkajs at any cluster: `node kafkajs.mjs BOOTSTRAP [failover]`.
import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import kafkajs from "kafkajs";
import snappy from "kafkajs-snappy";
import lz4 from "lz4-napi";
import { ZstdCodec } from "zstd-codec";

import {
  BIG, FAILOVER, FIRST_MS, PARTITIONS, STEP_MS, TOO_BIG,
  askToKillTheLeader, records, run, seen, unique, until,
} from "./checks.mjs";

const { CompressionCodecs, CompressionTypes, ConfigResourceTypes, Kafka, logLevel } = kafkajs;
const zstd = await new Promise((resolve) => ZstdCodec.run((found) => resolve(new found.Simple())));

// kafkajs brings gzip only.
CompressionCodecs[CompressionTypes.Snappy] = snappy;
CompressionCodecs[CompressionTypes.LZ4] = () => ({
  compress: (encoder) => lz4.compressFrame(encoder.buffer),
  decompress: (data) => lz4.decompressFrame(data),
});
CompressionCodecs[CompressionTypes.ZSTD] = () => ({
  compress: async (encoder) => Buffer.from(zstd.compress(encoder.buffer)),
  decompress: async (data) => Buffer.from(zstd.decompress(data)),
});

class Program {
  static async connect(brokers) {
    const made = new Program();
    made.run = unique("kafkajs");
    made.kafka = new Kafka({ clientId: "checks", brokers, logLevel: logLevel.NOTHING });
    made.admin = made.kafka.admin();
    await made.admin.connect();
    return made;
  }

  async close() {
    await this.admin.disconnect();
  }

  async topic(name, numPartitions = 1) {
    const topic = `${this.run}-${name}`;
    await this.admin.createTopics({ topics: [{ topic, numPartitions, replicationFactor: 3 }], waitForLeaders: true });
    return topic;
  }

  async send(topic, messages, { compression = CompressionTypes.None, ...settings } = {}) {
    const producer = this.kafka.producer(settings);
    await producer.connect();
    try {
      return await producer.send({ topic, messages, compression });
    } finally {
      await producer.disconnect();
    }
  }

  // kafkajs hears of a rebalance, and ends, only between fetches, which wait 5 s unless told otherwise.
  consumer(settings) {
    return this.kafka.consumer({ maxWaitTimeInMs: 200, ...settings });
  }

  async filled(name) {
    const topic = await this.topic(name);
    await this.send(topic, records());
    return topic;
  }

  // What a consumer reads while `use` goes on; every consumer of kafkajs has a group.
  async reading(topic, groupId, use) {
    const consumer = this.consumer({ groupId });
    const found = [];
    await consumer.connect();
    await consumer.subscribe({ topic, fromBeginning: true });
    const joined = new Promise((resolve) => consumer.on(consumer.events.GROUP_JOIN, resolve));
    await consumer.run({ autoCommit: false, eachMessage: async ({ message }) => void found.push(message) });
    try {
      await joined;
      return await use(found, consumer);
    } finally {
      await consumer.disconnect();
    }
  }

  async readTopic(topic, count) {
    return this.reading(topic, `${topic}-reader`, async (found) => {
      await until(`${count} records of ${topic}`, () => found.length >= count);
      return found;
    });
  }

  async codec(name) {
    const topic = await this.topic(name);
    const compression = {
      none: CompressionTypes.None, gzip: CompressionTypes.GZIP, snappy: CompressionTypes.Snappy,
      lz4: CompressionTypes.LZ4, zstd: CompressionTypes.ZSTD,
    }[name];
    await this.send(topic, records(), { compression });
    assert.deepEqual((await this.readTopic(topic, 200)).map(seen), records().map(seen));
  }

  async idempotent() {
    const topic = await this.topic("idempotent");
    const producer = this.kafka.producer({ idempotent: true });
    await producer.connect();
    const all = records(500);
    for (let first = 0; first < all.length; first += 50) {
      await producer.send({ topic, messages: all.slice(first, first + 50) });
    }
    await producer.disconnect();
    assert.deepEqual((await this.readTopic(topic, 500)).map(seen), all.map(seen));
  }

  async group() {
    const topic = await this.topic("shared", PARTITIONS);
    await this.send(topic, records());
    const values = new Set();
    const member = async () => {
      const consumer = this.consumer({ groupId: `${topic}-group`, sessionTimeout: 6000, heartbeatInterval: 300 });
      const made = { consumer, owned: 0 };
      consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
        made.owned = (payload.memberAssignment[topic] ?? []).length;
      });
      await consumer.connect();
      await consumer.subscribe({ topic, fromBeginning: true });
      await consumer.run({ eachMessage: async ({ message }) => void values.add(message.value.toString()) });
      return made;
    };
    const first = await member();
    const second = await member();
    try {
      await until("two each", () => first.owned === 2 && second.owned === 2);
      await until("all read", () => values.size === 200);
      await second.consumer.disconnect();
      await until("all for who is left", () => first.owned === PARTITIONS);
    } finally {
      await Promise.all([first.consumer.disconnect(), second.consumer.disconnect()]);
    }
  }

  // kafkajs commits given offsets, or by itself.
  async commit() {
    const topic = await this.filled("commit");
    const group = `${this.run}-commit`;
    const goOn = (offset, commit) =>
      this.reading(topic, group, async (found, consumer) => {
        await until("ten records", () => found.length >= 10);
        assert.equal(found[0].offset, `${offset}`);
        await commit(consumer);
      });
    await goOn(0, (consumer) => consumer.commitOffsets([{ topic, partition: 0, offset: "10" }]));
    await goOn(10, (consumer) => consumer.commitOffsets([{ topic, partition: 0, offset: "100" }]));
    const automatic = this.consumer({ groupId: group });
    const read = [];
    await automatic.connect();
    await automatic.subscribe({ topic });
    await automatic.run({ autoCommitThreshold: 1, eachMessage: async ({ message }) => void read.push(message.offset) });
    await until("the rest", () => read.length === 100);
    await automatic.disconnect();
    const [{ partitions }] = await this.admin.fetchOffsets({ groupId: group, topics: [topic] });
    assert.deepEqual([read[0], partitions[0].offset], ["100", "200"]);
  }

  async byTimestamp() {
    const topic = await this.filled("times");
    const [{ offset }] = await this.admin.fetchTopicOffsetsByTimestamp(topic, FIRST_MS + 50 * STEP_MS - 1);
    assert.equal(offset, "50");
    await this.reading(topic, `${topic}-reader`, async (found, consumer) => {
      await until("the first records", () => found.length > 0);
      consumer.seek({ topic, partition: 0, offset: "150" });
      await until("offset 150 anew", () => found.filter((each) => each.offset === "199").length > 0);
    });
  }

  async listOffsets() {
    const topic = await this.filled("offsets");
    const [{ low, high }] = await this.admin.fetchTopicOffsets(topic);
    assert.deepEqual([low, high], ["0", "200"]);
  }

  async configs() {
    const topic = await this.topic("configs");
    const type = ConfigResourceTypes.TOPIC;
    await this.admin.alterConfigs({
      resources: [{ type, name: topic, configEntries: [{ name: "retention.ms", value: "3600000" }] }],
    });
    const value = async (resource, name) => {
      const { resources } = await this.admin.describeConfigs({ resources: [resource], includeSynonyms: false });
      return resources[0].configEntries.find((each) => each.configName === name)?.configValue;
    };
    await until("the change is seen", async () => (await value({ type, name: topic }, "retention.ms")) === "3600000");
    assert.equal(await value({ type, name: topic }, "cleanup.policy"), "delete");
    assert.ok(await value({ type: ConfigResourceTypes.BROKER, name: "1" }, "log.segment.bytes"));
  }

  async groups() {
    const topic = await this.filled("groups");
    const group = `${this.run}-groups`;
    const listed = async () => (await this.admin.listGroups()).groups.some((each) => each.groupId === group);
    await this.reading(topic, group, async (found, consumer) => {
      await until("ten records", () => found.length >= 10);
      await consumer.commitOffsets([{ topic, partition: 0, offset: "10" }]);
      assert.equal(await listed(), true);
      const { groups } = await this.admin.describeGroups([group]);
      assert.deepEqual([groups[0].state, groups[0].members.length], ["Stable", 1]);
    });
    const [{ partitions }] = await this.admin.fetchOffsets({ groupId: group, topics: [topic] });
    assert.equal(partitions[0].offset, "10");
    await this.admin.deleteGroups([group]);
    assert.equal(await listed(), false);
  }

  async deleteRecords() {
    const topic = await this.filled("shortened");
    // kafkajs knows the leaders only of topics that this admin client has asked about.
    await this.admin.fetchTopicOffsets(topic);
    await this.admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: "60" }] });
    const [{ low, high }] = await this.admin.fetchTopicOffsets(topic);
    assert.deepEqual([low, high], ["60", "200"]);
  }

  async deleteTopics() {
    const topic = await this.topic("doomed");
    await this.admin.deleteTopics({ topics: [topic] });
    await until("the topic is gone", async () => !(await this.admin.listTopics()).includes(topic));
  }

  // Made by a producer, and not when that is switched off.
  async unknownTopic() {
    await this.send(`${this.run}-made`, records(1));
    await assert.rejects(
      this.send(`${this.run}-unknown`, records(1), { allowAutoTopicCreation: false, retry: { retries: 1 } }),
      /does not host this topic/,
    );
    assert.equal((await this.admin.listTopics()).includes(`${this.run}-unknown`), false);
  }

  async big() {
    const topic = await this.topic("big");
    await this.send(topic, [{ value: Buffer.alloc(BIG, "x") }]);
    assert.equal((await this.readTopic(topic, 1))[0].value.length, BIG);
  }

  async tooBig() {
    const topic = await this.topic("too-big");
    await assert.rejects(
      this.send(topic, [{ value: Buffer.alloc(TOO_BIG, "x") }]),
      (error) => (error.cause ?? error).type === "MESSAGE_TOO_LARGE",
    );
  }

  async failover() {
    const topic = await this.topic("failover");
    const producer = this.kafka.producer({ idempotent: true });
    await producer.connect();
    // A batch is awaited before the next: kafkajs keeps no order between calls of send.
    for (let first = 0; first < FAILOVER; first += 10) {
      const messages = Array.from({ length: 10 }, (_, index) => ({ value: `${first + index}` }));
      await producer.send({ topic, messages });
      await sleep(1);
      if (first === FAILOVER / 2) await askToKillTheLeader(topic);
    }
    await producer.disconnect();
    const values = (await this.readTopic(topic, FAILOVER)).map((each) => each.value.toString());
    assert.deepEqual(values, Array.from({ length: FAILOVER }, (_, number) => `${number}`));
  }
}

await run((brokers) => Program.connect(brokers));
