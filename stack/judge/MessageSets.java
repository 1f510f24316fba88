import java.io.PrintStream;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;
import org.apache.kafka.common.compress.Compression;
import org.apache.kafka.common.record.CompressionType;
import org.apache.kafka.common.record.MemoryRecords;
import org.apache.kafka.common.record.MemoryRecordsBuilder;
import org.apache.kafka.common.record.Record;
import org.apache.kafka.common.record.RecordBatch;
import org.apache.kafka.common.record.TimestampType;

/**
 * Logs as Apache's own library writes and reads them, in every message format, codec and timestamp type, with holes where the log cleaner
 * would leave some: one a line, as its name, its bytes in base64 and its records (offset, timestamp, key and value in base64 or "null").
 * Needs the jars of Kafka 3.9: 4.x writes v2 alone. Run from source by `java -cp <kafka jars> MessageSets.java`.
 */
public class MessageSets {
    private static final long FIRST_OFFSET = 5_000_000_000L;
    private static final long APPENDED_AT = 1_650_000_000_789L;

    public static void main(String[] args) throws Exception {
        PrintStream out = new PrintStream(System.out, true, "UTF-8");
        for (byte magic = 0; magic <= 2; magic++) {
            for (CompressionType codec : CompressionType.values()) {
                if (codec == CompressionType.ZSTD && magic < 2) continue;
                for (TimestampType type : new TimestampType[] {TimestampType.CREATE_TIME, TimestampType.LOG_APPEND_TIME}) {
                    if (magic == 0 && type == TimestampType.LOG_APPEND_TIME) continue;
                    for (boolean holes : new boolean[] {false, true}) write(out, magic, codec, type, holes);
                }
            }
        }
    }

    private static void write(PrintStream out, byte magic, CompressionType codec, TimestampType type, boolean holes) {
        ByteBuffer buffer = ByteBuffer.allocate(1 << 20);
        MemoryRecordsBuilder builder =
                MemoryRecords.builder(buffer, magic, Compression.of(codec).build(), type, FIRST_OFFSET, APPENDED_AT);
        long offset = FIRST_OFFSET;
        for (int i = 0; i < 60; i++) {
            // Later ones are large enough for several blocks of lz4 and snappy.
            byte[] value = i % 7 == 3 ? null : "value ".repeat(i * 40).concat(String.valueOf(i)).getBytes(StandardCharsets.UTF_8);
            byte[] key = i % 5 == 1 ? null : ("key " + i).getBytes(StandardCharsets.UTF_8);
            long timestamp = magic == 0 ? RecordBatch.NO_TIMESTAMP : 1_600_000_000_000L + (i * 7919) % 1000;
            builder.appendWithOffset(offset, timestamp, key, value);
            offset += holes && i % 3 == 2 ? 1 + i % 4 : 1;
        }
        MemoryRecords records = builder.build();
        ByteBuffer bytes = records.buffer().duplicate();
        byte[] copy = new byte[bytes.remaining()];
        bytes.get(copy);
        List<String> found = new ArrayList<>();
        for (Record record : MemoryRecords.readableRecords(ByteBuffer.wrap(copy)).records()) {
            found.add(record.offset() + " " + record.timestamp() + " " + text(record.key()) + " " + text(record.value()));
        }
        String name = "v" + magic + " " + codec.name + " " + type.name + (holes ? " with holes" : "");
        out.println(name + "|" + Base64.getEncoder().encodeToString(copy) + "|" + String.join(";", found));
    }

    private static String text(ByteBuffer bytes) {
        if (bytes == null) return "null";
        byte[] copy = new byte[bytes.remaining()];
        bytes.duplicate().get(copy);
        return "b" + Base64.getEncoder().encodeToString(copy);
    }
}
