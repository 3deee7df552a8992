//! From a sender's thread to a lane: the queue alone, the send call, and there and back.
//!
//! There and back is a buffered send and its receipt, which comes when the lane has taken the record:
//! no device is in it, but a sleeping thread is woken on each side.

#![allow(missing_docs)]

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use crossbeam_queue::ArrayQueue;
use ringlane::{Durability, ProducerOptions, Record};
use ringlane_benches::{Scratch, VALUE_BYTES, noise};
use std::hint::black_box;

/// Records of one call.
const BATCH: usize = 64;

fn queue(criterion: &mut Criterion) {
    let queue = ArrayQueue::new(4096);
    criterion.bench_function("queue/push_and_pop", |bencher| {
        bencher.iter(|| {
            queue.push(black_box(7u64)).expect("it has room");
            queue.pop()
        });
    });
}

fn send(criterion: &mut Criterion) {
    let scratch = Scratch::new();
    let value = noise(VALUE_BYTES);
    let producer =
        scratch.engine.producer(ProducerOptions::new().durability(Durability::Buffered)).expect("the engine is open");
    let mut group = criterion.benchmark_group("send");
    group.bench_function("one", |bencher| {
        bencher.iter(|| drop(producer.send(&scratch.topic, Record::new(black_box(&value))).expect("there is room")));
    });
    group.bench_function("there_and_back", |bencher| {
        bencher.iter(|| {
            producer
                .send(&scratch.topic, Record::new(black_box(&value)))
                .expect("there is room")
                .wait()
                .expect("it is taken")
        });
    });
    group.throughput(Throughput::Elements(BATCH as u64));
    group.bench_function("batch", |bencher| {
        bencher.iter_batched_ref(
            || vec![Record::new(&value); BATCH],
            |records| drop(producer.send_batch(&scratch.topic, records).expect("there is room")),
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

criterion_group!(benches, queue, send);
criterion_main!(benches);
