//! Finding an offset or a time in a partition's resident index.

#![allow(missing_docs)]

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use ringlane::bench_support::Index;
use std::hint::black_box;

/// Records of a run; offsets in the middle of one are looked for as well.
const RUN_RECORDS: u32 = 8;

fn look_up(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("index");
    for runs in [100u64, 10_000, 1_000_000] {
        let index = Index::of_runs(runs, RUN_RECORDS);
        let records = runs * u64::from(RUN_RECORDS);
        // A step that is prime to every count of records visits them all, in no order a cache would like.
        let mut offset = 0;
        let mut next = move || {
            offset = (offset + 7_368_787) % records;
            offset
        };
        group.bench_function(BenchmarkId::new("offset", runs), |bencher| {
            bencher.iter(|| index.position_of_offset(black_box(next())).expect("the offset is there"));
        });
        group.bench_function(BenchmarkId::new("time", runs), |bencher| {
            let latest = (runs - 1) * u64::from(RUN_RECORDS);
            bencher.iter(|| index.position_of_time(black_box(next().min(latest) as i64)).expect("the time is there"));
        });
    }
    group.finish();
}

criterion_group!(benches, look_up);
criterion_main!(benches);
