import java.io.FileInputStream;
import java.util.ArrayList;
import java.util.List;
import java.util.Properties;
import java.util.Random;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * Writes committed transactions, one producer a partition. Arguments: client.properties, topic, partitions, records of each
 * partition, records of each transaction, bytes of a value.
 */
public class TransactionalFill {
    public static void main(String[] args) throws Exception {
        String topic = args[1];
        int partitions = Integer.parseInt(args[2]);
        int records = Integer.parseInt(args[3]);
        int perTransaction = Integer.parseInt(args[4]);
        int valueBytes = Integer.parseInt(args[5]);
        ExecutorService threads = Executors.newFixedThreadPool(partitions);
        List<Future<?>> running = new ArrayList<>();
        for (int partition = 0; partition < partitions; partition++) {
            int mine = partition;
            running.add(threads.submit(() -> {
                write(args[0], topic, mine, records, perTransaction, valueBytes);
                return null;
            }));
        }
        for (Future<?> one : running) one.get();
        threads.shutdown();
    }

    private static void write(String file, String topic, int partition, int records, int perTransaction, int valueBytes)
            throws Exception {
        Properties properties = new Properties();
        try (FileInputStream in = new FileInputStream(file)) {
            properties.load(in);
        }
        properties.put("transactional.id", topic + "-" + partition);
        properties.put("batch.size", "16384");
        properties.put("linger.ms", "1000"); // a commit sends what there is
        properties.put("buffer.memory", "4194304");
        Random random = new Random(partition);
        ByteArraySerializer bytes = new ByteArraySerializer();
        try (KafkaProducer<byte[], byte[]> producer = new KafkaProducer<>(properties, bytes, bytes)) {
            producer.initTransactions();
            for (int written = 0; written < records; ) {
                producer.beginTransaction();
                for (int i = 0; i < perTransaction && written < records; i++, written++) {
                    byte[] value = new byte[valueBytes];
                    random.nextBytes(value);
                    producer.send(new ProducerRecord<>(topic, partition, null, value));
                }
                producer.commitTransaction();
            }
        }
    }
}
