import java.io.BufferedWriter;
import java.io.FileInputStream;
import java.io.OutputStreamWriter;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Base64;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.stream.Collectors;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.PartitionInfo;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/**
 * What Apache's own consumer reads from topics, one JSON object a line, bytes as base64: the judge of what
 * our writer wrote. Run from source by `java -cp <kafka jars> DumpLog.java` (a JDK, no build).
 *
 * Arguments: client.properties, topics with commas between them, partition (or "all"), isolation level, first offset (or "beginning"),
 * most records (0: no limit), milliseconds without progress before it gives up.
 *
 * Reads up to the ends that were seen at the beginning (under read_committed: the last stable offsets). The
 * last line holds, per partition, the beginning, that end and the consumer's position; exit 0 means that
 * the line was written.
 */
public class DumpLog {
    public static void main(String[] args) {
        try {
            dump(args);
        } catch (Exception error) {
            // Caught here: Kafka's errors have no stack trace, which the source launcher of JDK 17 trips over.
            for (Throwable cause = error; cause != null; cause = cause.getCause()) System.err.println(cause);
            System.exit(1);
        }
    }

    private static void dump(String[] args) throws Exception {
        Properties properties = new Properties();
        try (FileInputStream file = new FileInputStream(args[0])) {
            properties.load(file);
        }
        String[] topics = args[1].split(",");
        String wantedPartition = args[2];
        String firstOffset = args[4];
        long recordsMax = Long.parseLong(args[5]);
        long stalledMs = Long.parseLong(args[6]);
        properties.put("isolation.level", args[3]);
        properties.put("enable.auto.commit", "false");
        properties.put("auto.offset.reset", "none");
        properties.put("allow.auto.create.topics", "false");
        properties.put("default.api.timeout.ms", String.valueOf(stalledMs));
        properties.put("max.poll.records", "5000");

        ByteArrayDeserializer bytes = new ByteArrayDeserializer();
        try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(properties, bytes, bytes);
                BufferedWriter out = new BufferedWriter(new OutputStreamWriter(System.out, StandardCharsets.UTF_8), 1 << 16)) {
            List<TopicPartition> partitions = new ArrayList<>();
            for (String topic : topics) {
                for (PartitionInfo info : consumer.partitionsFor(topic)) {
                    if (wantedPartition.equals("all") || Integer.parseInt(wantedPartition) == info.partition()) {
                        partitions.add(new TopicPartition(topic, info.partition()));
                    }
                }
            }
            if (partitions.isEmpty()) throw new IllegalArgumentException("no partition " + wantedPartition + " in " + args[1]);
            consumer.assign(partitions);
            Map<TopicPartition, Long> beginnings = consumer.beginningOffsets(partitions);
            Map<TopicPartition, Long> ends = consumer.endOffsets(partitions);
            for (TopicPartition partition : partitions) {
                long from = firstOffset.equals("beginning") ? beginnings.get(partition) : Long.parseLong(firstOffset);
                consumer.seek(partition, from);
            }

            long records = 0;
            long progressAt = System.currentTimeMillis();
            while (recordsMax == 0 || records < recordsMax) {
                List<TopicPartition> unread = partitions.stream()
                        .filter(partition -> consumer.position(partition) < ends.get(partition))
                        .collect(Collectors.toList());
                if (unread.isEmpty()) break;
                // Reading on behind an end would never stop on a topic that is being written to.
                consumer.pause(partitions.stream().filter(partition -> !unread.contains(partition)).collect(Collectors.toList()));
                long positionsBefore = positions(consumer, unread);
                ConsumerRecords<byte[], byte[]> batch = consumer.poll(Duration.ofMillis(200));
                for (ConsumerRecord<byte[], byte[]> record : batch) {
                    if (record.offset() >= ends.get(new TopicPartition(record.topic(), record.partition()))) continue;
                    if (recordsMax > 0 && records == recordsMax) break;
                    write(out, record);
                    records++;
                }
                if (positions(consumer, unread) > positionsBefore) progressAt = System.currentTimeMillis();
                if (System.currentTimeMillis() - progressAt > stalledMs) {
                    out.flush();
                    System.err.println("no progress for " + stalledMs + " ms at " + unread);
                    System.exit(3);
                }
            }

            partitions.sort(Comparator.comparing(TopicPartition::topic).thenComparing(TopicPartition::partition));
            List<String> summary = new ArrayList<>();
            for (TopicPartition partition : partitions) {
                summary.add("{\"partition\":" + partition.partition()
                        + ",\"beginning\":\"" + beginnings.get(partition) + "\",\"end\":\"" + ends.get(partition)
                        + "\",\"position\":\"" + consumer.position(partition) + "\"}");
            }
            out.write("{\"partitions\":[" + String.join(",", summary) + "]}\n");
        }
    }

    private static long positions(KafkaConsumer<byte[], byte[]> consumer, List<TopicPartition> partitions) {
        return partitions.stream().mapToLong(consumer::position).sum();
    }

    private static void write(BufferedWriter out, ConsumerRecord<byte[], byte[]> record) throws Exception {
        List<String> headers = new ArrayList<>();
        for (Header header : record.headers()) {
            // The key as base64 too: it may hold quotes and line ends.
            headers.add("[" + base64(header.key().getBytes(StandardCharsets.UTF_8)) + "," + base64(header.value()) + "]");
        }
        out.write("{\"topic\":\"" + record.topic() + "\",\"partition\":" + record.partition() + ",\"offset\":\"" + record.offset()
                + "\",\"timestamp\":\"" + record.timestamp() + "\",\"timestampType\":\"" + record.timestampType()
                + "\",\"key\":" + base64(record.key()) + ",\"value\":" + base64(record.value())
                + ",\"headers\":[" + String.join(",", headers) + "]}\n");
    }

    private static String base64(byte[] bytes) {
        return bytes == null ? "null" : "\"" + Base64.getEncoder().encodeToString(bytes) + "\"";
    }
}
