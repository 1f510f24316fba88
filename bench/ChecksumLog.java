import java.io.FileInputStream;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.TreeMap;
import java.util.zip.CRC32;
import java.util.zip.CRC32C;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.PartitionInfo;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/**
 * What Apache's own consumer reads from a topic, as one line a partition: partition, first offset, end, number of records, and two
 * checksums over offset, timestamp, key, value and headers of every record in order. For logs too large to be
 * compared record by record. Arguments: client.properties, topic, isolation level.
 */
public class ChecksumLog {
    private static final long stalledMs = 60_000;

    private static final class Sum {
        final CRC32C one = new CRC32C();
        final CRC32 other = new CRC32();
        final ByteBuffer number = ByteBuffer.allocate(8);
        long records = 0;

        void add(long value) {
            number.clear();
            number.putLong(value);
            one.update(number.array());
            other.update(number.array());
        }

        void add(byte[] bytes) {
            add(bytes == null ? -1 : bytes.length);
            if (bytes == null) return;
            one.update(bytes);
            other.update(bytes);
        }
    }

    public static void main(String[] args) {
        try {
            checksum(args);
        } catch (Exception error) {
            for (Throwable cause = error; cause != null; cause = cause.getCause()) System.err.println(cause);
            System.exit(1);
        }
    }

    private static void checksum(String[] args) throws Exception {
        Properties properties = new Properties();
        try (FileInputStream file = new FileInputStream(args[0])) {
            properties.load(file);
        }
        properties.put("isolation.level", args[2]);
        properties.put("enable.auto.commit", "false");
        properties.put("auto.offset.reset", "none");
        properties.put("allow.auto.create.topics", "false");
        properties.put("max.poll.records", "10000");
        properties.put("max.partition.fetch.bytes", "8388608");
        ByteArrayDeserializer bytes = new ByteArrayDeserializer();
        try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(properties, bytes, bytes)) {
            List<TopicPartition> partitions = new ArrayList<>();
            for (PartitionInfo info : consumer.partitionsFor(args[1])) {
                partitions.add(new TopicPartition(args[1], info.partition()));
            }
            consumer.assign(partitions);
            Map<TopicPartition, Long> beginnings = consumer.beginningOffsets(partitions);
            Map<TopicPartition, Long> ends = consumer.endOffsets(partitions);
            Map<Integer, Sum> sums = new TreeMap<>();
            for (TopicPartition partition : partitions) {
                consumer.seek(partition, beginnings.get(partition));
                sums.put(partition.partition(), new Sum());
            }
            long before = -1;
            long progressAt = System.currentTimeMillis();
            while (partitions.stream().anyMatch(partition -> consumer.position(partition) < ends.get(partition))) {
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(200))) {
                    Sum sum = sums.get(record.partition());
                    sum.records++;
                    sum.add(record.offset());
                    sum.add(record.timestamp());
                    sum.add(record.key());
                    sum.add(record.value());
                    for (Header header : record.headers()) {
                        sum.add(header.key().getBytes(StandardCharsets.UTF_8));
                        sum.add(header.value());
                    }
                }
                long now = partitions.stream().mapToLong(consumer::position).sum();
                if (now > before) progressAt = System.currentTimeMillis();
                before = now;
                if (System.currentTimeMillis() - progressAt > stalledMs) throw new IllegalStateException("no progress");
            }
            for (TopicPartition partition : partitions) {
                Sum sum = sums.get(partition.partition());
                System.out.printf("%d %d %d %d %08x%08x%n", partition.partition(), beginnings.get(partition),
                        ends.get(partition), sum.records, sum.one.getValue(), sum.other.getValue());
            }
        }
    }
}
