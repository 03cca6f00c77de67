// Kafka's Java client at any cluster: `java -cp 'lib/*' Program.java BOOTSTRAP [failover]`. The list of things and the
// records are those of tests/compat/clients/python/checks.py.

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.consumer.Consumer;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.GroupState;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.RecordTooLargeException;
import org.apache.kafka.common.errors.UnknownTopicOrPartitionException;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

public class Program {
    static final int PARTITIONS = 4, BIG = 900_000, TOO_BIG = 1_200_000, FAILOVER = 3000;
    static final long LIMIT_S = 30, FIRST_MS = 1_600_000_000_000L, STEP_MS = 1_000;

    interface Thing {
        void look() throws Exception;
    }

    interface Use {
        void with(Consumer<byte[], byte[]> consumer, List<ConsumerRecord<byte[], byte[]>> found) throws Exception;
    }

    final String bootstrap;
    final String run = "java-" + System.currentTimeMillis() + ProcessHandle.current().pid();
    final Admin admin;

    Program(String bootstrap) {
        this.bootstrap = bootstrap;
        this.admin = Admin.create(Map.of("bootstrap.servers", bootstrap));
    }

    public static void main(String[] arguments) {
        var program = new Program(arguments[0]);
        var things = new LinkedHashMap<String, Thing>();
        if (arguments.length > 1) {
            things.put("failover: once and in order", program::failover);
        } else {
            for (var codec : List.of("none", "gzip", "snappy", "lz4", "zstd")) {
                things.put("produce and consume: " + codec, () -> program.codec(codec));
            }
            things.put("idempotent producer", program::idempotent);
            things.put("group: shares and rebalances", program::group);
            things.put("commit: sync, async, given", program::commit);
            things.put("seek by timestamp", program::byTimestamp);
            things.put("list offsets", program::listOffsets);
            things.put("describe and alter configs", program::configs);
            things.put("list, describe, delete groups", program::groups);
            things.put("delete records", program::deleteRecords);
            things.put("delete topics", program::deleteTopics);
            things.put("unknown topic: made, or refused", program::unknownTopic);
            things.put("big record", program::big);
            things.put("record too large", program::tooBig);
        }
        var failed = new boolean[1];
        things.forEach((name, thing) -> {
            try {
                thing.look();
                System.out.println("PASS " + name);
            } catch (Exception | AssertionError error) {
                failed[0] = true;
                System.out.println("FAIL " + name + ": " + error.toString().replace('\n', ' '));
                error.printStackTrace();
            }
        });
        program.admin.close();
        System.exit(failed[0] ? 1 : 0);
    }

    static void same(String what, Object found, Object expected) {
        if (!found.equals(expected)) {
            throw new AssertionError(String.format("%s: found %.200s, expected %.200s", what, found, expected));
        }
    }

    static <T> T get(Future<T> future) throws Exception {
        return future.get(LIMIT_S, TimeUnit.SECONDS);
    }

    // A record as text, with everything of it that must come back.
    static String text(byte[] key, byte[] value, Iterable<Header> headers, long timestamp) {
        var all = new StringBuilder();
        for (var header : headers) {
            all.append(header.key()).append('=').append(new String(header.value())).append(' ');
        }
        return (key == null ? "null" : new String(key)) + " " + new String(value) + " " + all + timestamp;
    }

    static String text(ConsumerRecord<byte[], byte[]> found) {
        return text(found.key(), found.value(), found.headers(), found.timestamp());
    }

    static List<String> texts(List<ConsumerRecord<byte[], byte[]>> found) {
        return found.stream().map(Program::text).toList();
    }

    static List<String> sent(String topic, int count) {
        return records(topic, count, 1).stream()
            .map(each -> text(each.key(), each.value(), each.headers(), each.timestamp())).toList();
    }

    static List<ProducerRecord<byte[], byte[]>> records(String topic, int count, int partitions) {
        var made = new ArrayList<ProducerRecord<byte[], byte[]>>();
        for (int number = 0; number < count; number++) {
            var key = number % 3 == 0 ? null : ("key-" + number).getBytes();
            var value = (number + ":" + "value ".repeat(number % 50)).getBytes();
            var record = new ProducerRecord<>(topic, number % partitions, FIRST_MS + number * STEP_MS, key, value);
            record.headers().add("number", ("" + number).getBytes()).add("number", "again".getBytes())
                .add("empty", new byte[0]);
            made.add(record);
        }
        return made;
    }

    String topic(String name, int partitions) throws Exception {
        var topic = run + "-" + name;
        get(admin.createTopics(List.of(new NewTopic(topic, partitions, (short) 3))).all());
        return topic;
    }

    String filled(String name) throws Exception {
        var topic = topic(name, 1);
        send(records(topic, 200, 1), Map.of());
        return topic;
    }

    KafkaProducer<byte[], byte[]> producer(Map<String, Object> settings) {
        var all = new Properties();
        all.put("bootstrap.servers", bootstrap);
        all.putAll(settings);
        return new KafkaProducer<>(all, new ByteArraySerializer(), new ByteArraySerializer());
    }

    void send(List<ProducerRecord<byte[], byte[]>> what, Map<String, Object> settings) throws Exception {
        try (var producer = producer(settings)) {
            var all = new ArrayList<Future<RecordMetadata>>();
            for (var each : what) {
                all.add(producer.send(each));
            }
            for (var each : all) {
                get(each);
            }
        }
    }

    KafkaConsumer<byte[], byte[]> consumer(String group) {
        return consumer(group, Map.of());
    }

    KafkaConsumer<byte[], byte[]> consumer(String group, Map<String, Object> settings) {
        var all = new Properties();
        all.put("bootstrap.servers", bootstrap);
        all.put("group.id", group);
        all.put("auto.offset.reset", "earliest");
        all.put("enable.auto.commit", false);
        all.putAll(settings);
        return new KafkaConsumer<>(all, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    static List<ConsumerRecord<byte[], byte[]>> read(Consumer<byte[], byte[]> consumer, int count) {
        var found = new ArrayList<ConsumerRecord<byte[], byte[]>>();
        var deadline = System.nanoTime() + LIMIT_S * 1_000_000_000;
        while (found.size() < count) {
            if (System.nanoTime() > deadline) {
                throw new AssertionError(found.size() + " of " + count + " records read");
            }
            consumer.poll(Duration.ofMillis(200)).forEach(found::add);
        }
        return found;
    }

    List<ConsumerRecord<byte[], byte[]>> readTopic(String topic, int count) {
        try (var consumer = consumer(topic + "-reader")) {
            consumer.assign(List.of(new TopicPartition(topic, 0)));
            return read(consumer, count);
        }
    }

    void codec(String codec) throws Exception {
        var topic = topic(codec, 1);
        send(records(topic, 200, 1), Map.of("compression.type", codec, "linger.ms", 20));
        same(codec, texts(readTopic(topic, 200)), sent(topic, 200));
    }

    void idempotent() throws Exception {
        var topic = topic("idempotent", 1);
        send(records(topic, 500, 1), Map.of("enable.idempotence", true, "batch.size", 1000));
        same("records", texts(readTopic(topic, 500)), sent(topic, 500));
    }

    void group() throws Exception {
        for (var protocol : List.of("classic", "consumer")) {
            var topic = topic("shared-" + protocol, PARTITIONS);
            send(records(topic, 200, PARTITIONS), Map.of());
            Map<String, Object> settings = Map.of("group.protocol", protocol);
            Set<String> values = new HashSet<>();
            try (var first = consumer(topic + "-group", settings)) {
                var second = consumer(topic + "-group", settings);
                var members = new ArrayList<>(List.of(first, second));
                try (second) {
                    members.forEach(each -> each.subscribe(List.of(topic)));
                    until(members, values, "two each", () ->
                        first.assignment().size() == 2 && second.assignment().size() == 2);
                    until(members, values, "all read", () -> values.size() == 200);
                }
                members.remove(second);
                until(members, values, "all for who is left", () -> first.assignment().size() == PARTITIONS);
            }
        }
    }

    static void until(
        List<KafkaConsumer<byte[], byte[]>> members, Set<String> values, String what,
        java.util.function.BooleanSupplier done
    ) {
        var deadline = System.nanoTime() + LIMIT_S * 1_000_000_000;
        while (!done.getAsBoolean()) {
            if (System.nanoTime() > deadline) {
                throw new AssertionError("not in time: " + what);
            }
            for (var each : members) {
                each.poll(Duration.ofMillis(20)).forEach(found -> values.add(new String(found.value())));
            }
        }
    }

    void goOn(String topic, String group, long offset, Use use) throws Exception {
        try (var consumer = consumer(group, Map.of("max.poll.records", 10))) {
            consumer.subscribe(List.of(topic));
            var found = read(consumer, 10);
            same("goes on at", found.get(0).offset(), offset);
            use.with(consumer, found);
        }
    }

    void commit() throws Exception {
        var topic = filled("commit");
        var group = run + "-commit";
        var where = new TopicPartition(topic, 0);
        goOn(topic, group, 0, (consumer, found) -> consumer.commitSync());
        goOn(topic, group, 10, (consumer, found) -> {
            var told = new AtomicReference<Object>();
            consumer.commitAsync((offsets, error) -> told.set(error == null ? offsets : error));
            consumer.pause(consumer.assignment());
            var deadline = System.nanoTime() + LIMIT_S * 1_000_000_000;
            while (told.get() == null && System.nanoTime() < deadline) {
                consumer.poll(Duration.ofMillis(20));
            }
            same("committed", told.get(), Map.of(where, ((Map<?, ?>) told.get()).get(where)));
        });
        goOn(topic, group, 20, (consumer, found) -> {
            consumer.commitSync(Map.of(where, new OffsetAndMetadata(100, "mine")));
            same("metadata", consumer.committed(Set.of(where)).get(where).metadata(), "mine");
        });
        goOn(topic, group, 100, (consumer, found) -> { });
    }

    void byTimestamp() throws Exception {
        var topic = filled("times");
        var where = new TopicPartition(topic, 0);
        try (var consumer = consumer(topic + "-reader")) {
            consumer.assign(List.of(where));
            var found = consumer.offsetsForTimes(Map.of(where, FIRST_MS + 50 * STEP_MS - 1)).get(where);
            consumer.seek(where, found.offset());
            same("offset", read(consumer, 1).get(0).offset(), 50L);
        }
    }

    long offset(String topic, OffsetSpec spec) throws Exception {
        var where = new TopicPartition(topic, 0);
        return get(admin.listOffsets(Map.of(where, spec)).partitionResult(where)).offset();
    }

    void listOffsets() throws Exception {
        var topic = filled("offsets");
        same("earliest", offset(topic, OffsetSpec.earliest()), 0L);
        same("latest", offset(topic, OffsetSpec.latest()), 200L);
        same("max timestamp", offset(topic, OffsetSpec.maxTimestamp()), 199L);
        same("for a time", offset(topic, OffsetSpec.forTimestamp(FIRST_MS + STEP_MS)), 1L);
    }

    String config(ConfigResource resource, String name) throws Exception {
        try {
            return get(admin.describeConfigs(List.of(resource)).all()).get(resource).get(name).value();
        } catch (ExecutionException error) {
            same("error", error.getCause().getClass(), UnknownTopicOrPartitionException.class);
            return "not known yet";
        }
    }

    void configs() throws Exception {
        var topic = new ConfigResource(ConfigResource.Type.TOPIC, topic("configs", 1));
        var change = new AlterConfigOp(new ConfigEntry("retention.ms", "3600000"), AlterConfigOp.OpType.SET);
        get(admin.incrementalAlterConfigs(Map.of(topic, List.of(change))).all());
        // Any broker may be asked, and hear of topic and change a moment later.
        waitFor("the change is seen", () -> config(topic, "retention.ms").equals("3600000"));
        same("cleanup.policy", config(topic, "cleanup.policy"), "delete");
        var broker = new ConfigResource(ConfigResource.Type.BROKER, "1");
        same("log.segment.bytes", config(broker, "log.segment.bytes").isEmpty(), false);
    }

    interface Condition {
        boolean holds() throws Exception;
    }

    static void waitFor(String what, Condition condition) throws Exception {
        var deadline = System.nanoTime() + LIMIT_S * 1_000_000_000;
        while (!condition.holds()) {
            if (System.nanoTime() > deadline) {
                throw new AssertionError("not in time: " + what);
            }
            Thread.sleep(20);
        }
    }

    boolean isListed(String group) throws Exception {
        return get(admin.listGroups().all()).stream().anyMatch(each -> each.groupId().equals(group));
    }

    void groups() throws Exception {
        var topic = filled("groups");
        var group = run + "-groups";
        goOn(topic, group, 0, (consumer, found) -> {
            consumer.commitSync();
            same("listed", isListed(group), true);
            var described = get(admin.describeConsumerGroups(List.of(group)).all()).get(group);
            same("state", described.groupState(), GroupState.STABLE);
            same("members", described.members().size(), 1);
        });
        var offsets = get(admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata());
        same("position", offsets.get(new TopicPartition(topic, 0)).offset(), 10L);
        get(admin.deleteConsumerGroups(List.of(group)).all());
        same("listed after", isListed(group), false);
    }

    void deleteRecords() throws Exception {
        var topic = filled("shortened");
        var where = new TopicPartition(topic, 0);
        var answer = admin.deleteRecords(Map.of(where, RecordsToDelete.beforeOffset(60)));
        same("low watermark", get(answer.lowWatermarks().get(where)).lowWatermark(), 60L);
        same("earliest", offset(topic, OffsetSpec.earliest()), 60L);
    }

    void deleteTopics() throws Exception {
        var topic = topic("doomed", 1);
        get(admin.deleteTopics(List.of(topic)).all());
        waitFor("the topic is gone", () -> !get(admin.listTopics().names()).contains(topic));
    }

    // A producer makes it; an admin client asks only.
    void unknownTopic() throws Exception {
        send(records(run + "-made", 1, 1), Map.of());
        try {
            get(admin.describeTopics(List.of(run + "-unknown")).allTopicNames());
            throw new AssertionError("it is there");
        } catch (ExecutionException error) {
            same("error", error.getCause().getClass(), UnknownTopicOrPartitionException.class);
        }
        same("listed", get(admin.listTopics().names()).contains(run + "-unknown"), false);
    }

    static byte[] full(int size) {
        var made = new byte[size];
        Arrays.fill(made, (byte) 'x');
        return made;
    }

    void big() throws Exception {
        var topic = topic("big", 1);
        send(List.of(new ProducerRecord<>(topic, full(BIG))), Map.of());
        same("size", readTopic(topic, 1).get(0).value().length, BIG);
    }

    void tooBig() throws Exception {
        var topic = topic("too-big", 1);
        try {
            send(List.of(new ProducerRecord<>(topic, full(TOO_BIG))), Map.of("max.request.size", 3_000_000));
            throw new AssertionError("it was taken");
        } catch (ExecutionException error) {
            same("error", error.getCause().getClass(), RecordTooLargeException.class);
        }
    }

    void failover() throws Exception {
        var topic = topic("failover", 1);
        try (var producer = producer(Map.of())) {
            var all = new ArrayList<Future<RecordMetadata>>();
            for (int number = 0; number < FAILOVER; number++) {
                all.add(producer.send(new ProducerRecord<>(topic, ("" + number).getBytes())));
                Thread.sleep(1);
                if (number == FAILOVER / 3) {
                    System.out.println("KILL " + topic);
                    same("answer", new BufferedReader(new InputStreamReader(System.in)).readLine(), "killed");
                }
            }
            for (int number = 0; number < FAILOVER; number++) {
                same("offset", get(all.get(number)).offset(), (long) number);
            }
        }
        var found = readTopic(topic, FAILOVER);
        for (int number = 0; number < FAILOVER; number++) {
            same("value", new String(found.get(number).value()), "" + number);
        }
    }
}
