//! The planner: one identity more, on a machine that carries this many.
#[allow(dead_code, reason = "the properties use the rest")]
#[path = "../properties/kit.rs"]
mod kit;

use divan::{Bencher, black_box};
use kit::{NOTHING_SAID, claim, complete, live, read, record};
use lanyard_domain::{Bounds, Facts, plan};

fn main() {
    divan::main();
}

/// ARM takes no more than 150 in one request.
#[divan::bench(args = [1, 10, 150])]
fn one_more(bencher: Bencher, identities: usize) {
    let there: Vec<String> = (0..identities - 1).map(|number| format!("i{number}")).collect();
    let wished: Vec<String> = (0..identities).map(|number| format!("+i{number}")).collect();
    let (there, wished) = (there.join(" "), wished.join(" "));
    let record = record("m1", &there);
    let claims = complete(vec![claim("web", &wished)], &record);
    let live = read(&live("m1", 1, &there), &record).expect("fresh");
    let bounds = Bounds::default();
    bencher.bench(|| {
        let facts = Facts { claims: &claims, record: &record, live: &live, bounds: &bounds, identities: &NOTHING_SAID };
        black_box(plan(black_box(facts)))
    });
}
