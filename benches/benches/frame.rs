//! Checksums, and opening a frame as a cold read does: header, body, both CRCs.

#![allow(missing_docs)]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ringlane::{Record, bench_support};
use ringlane_benches::{VALUE_BYTES, noise};
use std::hint::black_box;

/// One record, a page, a producer's batch, a lane's block.
const SIZES: [usize; 4] = [120, 4 << 10, 64 << 10, 1 << 20];

fn checksum(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("checksum");
    for size in SIZES {
        let body = noise(size);
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_with_input(BenchmarkId::from_parameter(size), &body, |bencher, body| {
            bencher.iter(|| bench_support::body_checksum(black_box(body)));
        });
    }
    group.finish();
}

fn open(criterion: &mut Criterion) {
    let value = noise(VALUE_BYTES);
    let mut group = criterion.benchmark_group("open_frame");
    for count in [1, 32, 512] {
        let mut body = Vec::new();
        for _ in 0..count {
            bench_support::encode(&Record::new(&value).timestamp_ms(1), &mut body).expect("the record is small");
        }
        let frame = bench_support::frame(count, &body);
        group.throughput(Throughput::Bytes(frame.len() as u64));
        group.bench_with_input(BenchmarkId::new("records", count), &frame, |bencher, frame| {
            bencher.iter(|| bench_support::open_frame(black_box(frame)).expect("the frame is whole").len());
        });
    }
    group.finish();
}

criterion_group!(benches, checksum, open);
criterion_main!(benches);
