//! What a page of a list costs: 200 machines, each judged as a visit would judge it.
#[allow(dead_code, reason = "the properties use the rest")]
#[path = "../properties/kit.rs"]
mod kit;

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use kit::{claim, complete, live, record};
use lanyard_domain::glance::{AtHand, glance};
use lanyard_domain::judge::Judge;
use lanyard_domain::{Bounds, Moment, Timestamp};
use std::time::Duration;

fn main() {
    divan::main();
}

const ON_A_PAGE: usize = 200;

#[divan::bench(args = [1, 10])]
fn page(bencher: Bencher, identities: usize) {
    let names: Vec<String> = (0..identities).map(|number| format!("i{number}")).collect();
    let wished: Vec<String> = names.iter().map(|name| format!("+{name}")).collect();
    let record = record("m1", &names.join(" "));
    let claims = complete(vec![claim("web", &wished.join(" "))], &record);
    let listed = live("m1", 1, &names.join(" "));
    let (bounds, timestamp) = (Bounds::default(), Timestamp::default());
    let by = Judge { writer: "bench", now: Moment(Duration::from_secs(1)), timestamp: &timestamp };
    let at_hand = AtHand { claims: &claims, record: &record, bounds: &bounds, by };
    bencher.counter(ItemsCount::new(ON_A_PAGE)).bench(|| {
        for _ in 0..ON_A_PAGE {
            black_box(glance(black_box(&listed), at_hand));
        }
    });
}
