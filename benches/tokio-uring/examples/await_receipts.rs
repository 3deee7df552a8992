//! Awaiting receipts under tokio-uring. The engine knows nothing of the runtime: a `SendHandle` is a
//! plain `Future`, woken by the lane when its record is durable.
//!
//! Run it: `cargo run -p ringlane-tokio-uring --example await_receipts [DIRECTORY]`.

use ringlane::{ConsumerOptions, Engine, Options, ProducerOptions, Record, Start, TopicOptions};
use std::error::Error;
use std::time::Duration;

fn main() -> Result<(), Box<dyn Error>> {
    let scratch = tempfile::tempdir()?;
    let directory = std::env::args_os().nth(1).unwrap_or_else(|| scratch.path().as_os_str().to_owned());
    tokio_uring::start(async {
        // Opening and closing block for some milliseconds: before and after the loop is serving.
        let engine = Engine::open(&directory, Options::new())?;
        let topic = match engine.topic("orders") {
            Ok(topic) => topic,
            Err(_) => engine.create_topic("orders", TopicOptions::new().partitions(4))?,
        };
        let producer = engine.producer(ProducerOptions::new())?;

        // One record: the task sleeps until it is on the device; others run meanwhile.
        let receipt = producer.send(&topic, Record::new(b"paid").key(b"order-1"))?.await?;
        println!("partition {}, offset {:?}, {:?}", receipt.partition, receipt.offset, receipt.durability);

        // Many tasks: their records leave together, in one write and one flush.
        let tasks: Vec<_> = (0..100)
            .map(|number| {
                let (producer, topic) = (producer.clone(), topic.clone());
                tokio_uring::spawn(async move {
                    let key = format!("order-{number}");
                    producer.send(&topic, Record::new(b"shipped").key(key.as_bytes()))?.await
                })
            })
            .collect();
        let mut durable = 0;
        for task in tasks {
            task.await??;
            durable += 1;
        }
        println!("{durable} records are durable");

        let mut consumer = engine.consumer(ConsumerOptions::new())?;
        consumer.assign_all(&topic, Start::Beginning)?;
        let mut read = 0;
        // Zero: what is there now, without blocking the loop.
        while let records = consumer.poll(Duration::ZERO)?
            && !records.is_empty()
        {
            read += records.len();
        }
        println!("{read} records were read");
        engine.close()?;
        Ok(())
    })
}
