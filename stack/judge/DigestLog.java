import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.BufferedWriter;
import java.io.FileInputStream;
import java.io.InputStreamReader;
import java.io.OutputStreamWriter;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.stream.Collectors;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/**
 * What Apache's own consumer sees of a topic, a digest a record: the judge of logs that are compared in great numbers. Lives as long
 * as its input and keeps its consumers. Run from source by `java -cp <kafka jars> DigestLog.java client.properties ...`, one
 * file a cluster, which commands name by their number.
 *
 * Command: { id, cluster, topic, partitions, isolation: read_committed | read_uncommitted, ends?: { partition: offset } }.
 * Answer: a line `partition offset timestamp timestampType digest` a record, ascending within its partition, then one JSON line
 * { id, partitions: [{ partition, beginning, end, position }] }, or { id, error }. `end` is the high watermark, or the last stable
 * offset under read_committed; it reads to `ends`, or to there. The digest covers key, value and headers, null and empty told apart.
 */
public class DigestLog {
    private static final ObjectMapper json = new ObjectMapper();
    private static final Map<String, KafkaConsumer<byte[], byte[]>> consumers = new HashMap<>();
    private static final List<Properties> clusters = new ArrayList<>();
    private static final long stalledMs = 30_000;

    public static void main(String[] args) throws Exception {
        BufferedWriter out = new BufferedWriter(new OutputStreamWriter(System.out, StandardCharsets.UTF_8), 1 << 16);
        System.setOut(System.err); // loggers without a configuration write there
        for (String path : args) {
            Properties properties = new Properties();
            try (FileInputStream file = new FileInputStream(path)) {
                properties.load(file);
            }
            clusters.add(properties);
        }
        BufferedReader commands = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = commands.readLine(); line != null; line = commands.readLine()) {
            JsonNode command = json.readTree(line);
            ObjectNode answer = json.createObjectNode();
            answer.put("id", command.get("id").asLong());
            try {
                digest(command, answer, out);
            } catch (Exception error) {
                answer.put("error", error.toString());
                KafkaConsumer<byte[], byte[]> broken = consumers.remove(keyOf(command));
                if (broken != null) broken.close(Duration.ZERO);
            }
            out.write(json.writeValueAsString(answer));
            out.write('\n');
            out.flush();
        }
        System.exit(0);
    }

    private static String keyOf(JsonNode command) {
        return command.get("cluster").asInt() + " " + command.get("isolation").asText();
    }

    private static KafkaConsumer<byte[], byte[]> consumer(JsonNode command) {
        return consumers.computeIfAbsent(keyOf(command), key -> {
            Properties properties = new Properties();
            properties.putAll(clusters.get(command.get("cluster").asInt()));
            properties.put("isolation.level", command.get("isolation").asText());
            properties.put("enable.auto.commit", "false");
            properties.put("auto.offset.reset", "none");
            properties.put("allow.auto.create.topics", "false");
            properties.put("default.api.timeout.ms", String.valueOf(stalledMs));
            properties.put("max.poll.records", "5000");
            // A topic of the same name as before may have come since.
            properties.put("metadata.max.age.ms", "1000");
            ByteArrayDeserializer bytes = new ByteArrayDeserializer();
            return new KafkaConsumer<>(properties, bytes, bytes);
        });
    }

    private static void digest(JsonNode command, ObjectNode answer, BufferedWriter out) throws Exception {
        KafkaConsumer<byte[], byte[]> consumer = consumer(command);
        List<TopicPartition> partitions = new ArrayList<>();
        for (JsonNode partition : command.get("partitions")) {
            partitions.add(new TopicPartition(command.get("topic").asText(), partition.asInt()));
        }
        consumer.assign(partitions);
        Map<TopicPartition, Long> beginnings = consumer.beginningOffsets(partitions);
        Map<TopicPartition, Long> ends = consumer.endOffsets(partitions);
        Map<TopicPartition, Long> wanted = new HashMap<>();
        for (TopicPartition partition : partitions) {
            consumer.seek(partition, beginnings.get(partition));
            JsonNode end = command.path("ends").path(String.valueOf(partition.partition()));
            wanted.put(partition, end.isMissingNode() ? ends.get(partition) : Math.min(ends.get(partition), end.asLong()));
        }
        long progressAt = System.currentTimeMillis();
        for (;;) {
            List<TopicPartition> unread = partitions.stream()
                    .filter(partition -> consumer.position(partition) < wanted.get(partition))
                    .collect(Collectors.toList());
            if (unread.isEmpty()) break;
            consumer.resume(unread);
            consumer.pause(partitions.stream().filter(partition -> !unread.contains(partition)).collect(Collectors.toList()));
            long before = unread.stream().mapToLong(consumer::position).sum();
            for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(200))) {
                TopicPartition partition = new TopicPartition(record.topic(), record.partition());
                if (record.offset() < wanted.get(partition)) write(out, record);
            }
            if (unread.stream().mapToLong(consumer::position).sum() > before) progressAt = System.currentTimeMillis();
            if (System.currentTimeMillis() - progressAt > stalledMs) {
                throw new IllegalStateException("no progress for " + stalledMs + " ms at " + unread);
            }
        }
        ArrayNode summaries = answer.putArray("partitions");
        for (TopicPartition partition : partitions) {
            ObjectNode summary = summaries.addObject();
            summary.put("partition", partition.partition());
            summary.put("beginning", String.valueOf(beginnings.get(partition)));
            summary.put("end", String.valueOf(ends.get(partition)));
            summary.put("position", String.valueOf(consumer.position(partition)));
        }
    }

    private static void write(BufferedWriter out, ConsumerRecord<byte[], byte[]> record) throws Exception {
        MessageDigest digest = MessageDigest.getInstance("SHA-256");
        add(digest, record.key());
        add(digest, record.value());
        for (Header header : record.headers()) {
            add(digest, header.key().getBytes(StandardCharsets.UTF_8));
            add(digest, header.value());
        }
        out.write(record.partition() + " " + record.offset() + " " + record.timestamp() + " " + record.timestampType() + " ");
        byte[] sum = digest.digest();
        for (int i = 0; i < 8; i++) out.write(String.format("%02x", sum[i]));
        out.write('\n');
    }

    private static void add(MessageDigest digest, byte[] bytes) {
        digest.update(ByteBuffer.allocate(4).putInt(bytes == null ? -1 : bytes.length).array());
        if (bytes != null) digest.update(bytes);
    }
}
