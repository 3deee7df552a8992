//! Encoding records on the sender's side and reading them on the consumer's.

// Criterion's macros make public items without documentation.
#![allow(missing_docs)]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ringlane::{Header, Record, RecordRef, bench_support};
use ringlane_benches::{VALUE_BYTES, noise};
use std::hint::black_box;

/// As many as fill a producer's batch.
const RECORDS: usize = 512;

fn encode(criterion: &mut Criterion) {
    let value = noise(VALUE_BYTES);
    let headers = [Header { name: "trace", value: b"0123456789abcdef" }];
    let plain = Record::new(&value).timestamp_ms(1);
    let mut target = Vec::with_capacity(1 << 20);
    let mut group = criterion.benchmark_group("encode");
    group.throughput(Throughput::Elements(RECORDS as u64));
    for (name, record) in [
        ("value", plain),
        ("key", plain.key(b"order-12345678")),
        ("key_and_header", plain.key(b"order-12345678").headers(&headers)),
    ] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                target.clear();
                for _ in 0..RECORDS {
                    bench_support::encode(black_box(&record), &mut target).expect("the record is small");
                }
                black_box(target.len())
            });
        });
    }
    group.finish();
}

fn decode(criterion: &mut Criterion) {
    let value = noise(VALUE_BYTES);
    let headers = [Header { name: "trace", value: b"0123456789abcdef" }];
    let plain = Record::new(&value).timestamp_ms(1);
    let mut group = criterion.benchmark_group("decode");
    group.throughput(Throughput::Elements(RECORDS as u64));
    for (name, record) in [("value", plain), ("key_and_header", plain.key(b"order-12345678").headers(&headers))] {
        let mut bytes = Vec::new();
        for _ in 0..RECORDS {
            bench_support::encode(&record, &mut bytes).expect("the record is small");
        }
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut rest = &bytes[..];
                let mut seen = 0;
                while let Some((record, next)) = RecordRef::parse(rest) {
                    black_box((record.key(), record.value(), record.timestamp_ms()));
                    rest = &rest[next..];
                    seen += 1;
                }
                assert_eq!(seen, RECORDS);
            });
        });
    }
    group.finish();
}

criterion_group!(benches, encode, decode);
criterion_main!(benches);
