//! Times the two parts of each hot path: parsing the body and encoding the elements for Redis.

#![allow(missing_docs, reason = "criterion's macros generate undocumented functions")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use hot_paths::{Path, output, write};

fn hot_paths(criterion: &mut Criterion) {
    let output = output();
    for path in Path::all() {
        let name = path.name;
        criterion.bench_function(&format!("{name}/read"), |bencher| bencher.iter(|| path.read()));
        let event = path.read();
        criterion.bench_function(&format!("{name}/write"), |bencher| {
            bencher.iter(|| write(&output, black_box(event.clone())));
        });
    }
}

criterion_group!(benches, hot_paths);
criterion_main!(benches);
