//! LIST pages, and all that can be wrong with them.
mod support;

use std::time::Duration;

use arm_simulator::{Effect, Fault, Fleet, Seeds, Settings};
use serde_json::Value;
use support::{Arm, Got, SUB};

/// Eleven VMs in pages of three, `vm-00` to `vm-10`.
async fn eleven() -> Arm {
    let arm = Arm::start(Settings { page_size: 3, ..Settings::quick() }).await;
    for n in 0..11 {
        arm.sim.vm(SUB, "shop", &format!("vm-{n:02}")).with_identity("a").create();
    }
    arm
}

fn group_list() -> String {
    format!("/subscriptions/{SUB}/resourceGroups/shop/providers/Microsoft.Compute/virtualMachines")
}

fn names(page: &Got) -> Vec<String> {
    let rows = page.body["value"].as_array().into_iter().flatten();
    rows.map(|row| row["name"].as_str().unwrap_or_default().to_owned()).collect()
}

/// Follows `nextLink` to the end, or to the first answer that is no 200; gives the pages.
async fn pages(arm: &Arm, path: &str) -> Vec<Got> {
    let mut pages = vec![arm.get(path).await];
    while let Some(next) = pages.last().and_then(|page| page.body["nextLink"].as_str()).map(str::to_owned) {
        pages.push(arm.get_url(&next).await);
    }
    pages
}

#[tokio::test]
async fn an_entry_of_a_list_is_what_a_get_shows() {
    let arm = eleven().await;
    let set = arm.sim.scale_set(SUB, "shop", "set").with_system().with_identity("a").create();
    let vm = arm.sim.vm(SUB, "shop", "vm-04").with_system().with_identity("b").create();
    for (machine, plural) in [(&vm, "virtualMachines"), (&set, "virtualMachineScaleSets")] {
        let alone = arm.get(&machine.id()).await.body;
        assert!(alone["etag"].is_string() && alone["properties"]["provisioningState"].is_string());
        for scope in ["/resourceGroups/shop", ""] {
            let list = format!("/subscriptions/{SUB}{scope}/providers/Microsoft.Compute/{plural}");
            let all = pages(&arm, &list).await;
            let mut rows = all.iter().flat_map(|page| page.body["value"].as_array().into_iter().flatten());
            assert_eq!(rows.find(|row| row["id"] == alone["id"]), Some(&alone));
        }
    }
}

#[tokio::test]
async fn every_list_has_its_own_pages() {
    let arm = eleven().await;
    for n in 0..4 {
        arm.sim.scale_set(SUB, "shop", &format!("set-{n}")).create();
        arm.sim.identity(SUB, "shop", &format!("id-{n}")).create();
    }
    let list = |rest: &str| format!("/subscriptions/{SUB}/providers/{rest}");
    for (rest, most, count) in [
        ("Microsoft.Compute/virtualMachines", 3, 11),
        ("Microsoft.Compute/virtualMachineScaleSets", 3, 4),
        // The identity a of the machines among them.
        ("Microsoft.ManagedIdentity/userAssignedIdentities", 3, 5),
    ] {
        let sizes: Vec<usize> = pages(&arm, &list(rest)).await.iter().map(|page| names(page).len()).collect();
        assert_eq!(sizes.iter().sum::<usize>(), count, "{rest}: {sizes:?}");
        assert!(sizes.iter().all(|size| (1..=most).contains(size)), "{rest}: {sizes:?}");
    }
}

#[tokio::test]
async fn a_list_can_fail_on_one_page() {
    let arm = eleven().await;
    let answer = Effect::Answer { status: 503, headers: Vec::new(), body: Value::Null };
    arm.sim.fault(Fault::on_list(&group_list(), answer).page(3).times(1));
    let first = pages(&arm, &group_list()).await;
    assert_eq!(first.iter().map(|page| page.status).collect::<Vec<_>>(), [200, 200, 503]);
    let second = pages(&arm, &group_list()).await;
    assert_eq!(second.iter().map(|page| page.status).collect::<Vec<_>>(), [200, 200, 200, 200]);
}

#[tokio::test]
async fn pages_can_repeat_machines_and_skip_some() {
    let arm = eleven().await;
    arm.sim.fault(Fault::on_list(&group_list(), Effect::RepeatMachines { count: 2 }).page(2));
    let all = pages(&arm, &group_list()).await;
    assert_eq!(names(&all[1]), ["vm-01", "vm-02", "vm-03"], "the last two of the page before come again");
    assert_eq!(names(&all[2]), ["vm-04", "vm-05", "vm-06"], "and none is left out");
    arm.sim.clear_faults();
    arm.sim.fault(Fault::on_list(&group_list(), Effect::SkipMachines { count: 2 }).page(2));
    let all = pages(&arm, &group_list()).await;
    assert_eq!(names(&all[1]), ["vm-05", "vm-06", "vm-07"]);
    let shown: Vec<String> = all.iter().flat_map(names).collect();
    assert_eq!(shown.len(), 9, "vm-03 and vm-04 are on no page: {shown:?}");
}

#[tokio::test]
async fn a_read_can_be_a_quarter_of_an_hour_old() {
    let arm = eleven().await;
    let old = Effect::OldRead { millis: 15 * 60 * 1_000 };
    let [vm, gone] = ["vm-01", "vm-02"].map(|name| arm.sim.find_machine(&format!("{}/{name}", group_list())));
    let (vm, gone) = (vm.expect("a machine"), gone.expect("a machine"));
    let before = arm.get(&vm.id()).await.body;
    vm.attach_as_stranger("b");
    vm.attach_as_stranger("c");
    gone.delete();
    let tags = serde_json::json!({"location": "westeurope"});
    assert_eq!(arm.put(&format!("{}/vm-made", group_list()), &tags).await.status, 201);

    let number = arm.sim.fault(Fault::on_list(&group_list(), old));
    let all = pages(&arm, &group_list()).await;
    let shown: Vec<String> = all.iter().flat_map(names).collect();
    assert_eq!(shown.len(), 11, "the one that is gone is there, the new one is not: {shown:?}");
    let mut rows = all.iter().flat_map(|page| page.body["value"].as_array().into_iter().flatten());
    assert_eq!(rows.find(|row| row["name"] == "vm-01"), Some(&before), "with neither b nor c");
    assert_eq!(arm.get(&vm.id()).await.header("etag"), Some("\"3\""), "a GET is not meant");
    arm.sim.disarm(number);
    let now: Vec<String> = pages(&arm, &group_list()).await.iter().flat_map(names).collect();
    assert!(!now.contains(&"vm-02".to_owned()) && now.contains(&"vm-made".to_owned()), "{now:?}");
}

#[tokio::test]
async fn the_link_to_the_next_page_can_lead_to_a_stranger() {
    let arm = eleven().await;
    let origin = arm.sim.endpoints().stranger_https.clone();
    arm.sim.fault(Fault::on_list(&group_list(), Effect::LinkTo { origin: origin.clone() }).page(2));
    let first = arm.get(&group_list()).await;
    let next = first.body["nextLink"].as_str().expect("a link").to_owned();
    assert!(next.starts_with(arm.sim.arm_url()), "{next}");
    let second = arm.get_url(&next).await;
    assert!(second.body["nextLink"].as_str().is_some_and(|link| link.starts_with(&origin)));
}

#[tokio::test]
async fn a_subscription_can_be_throttled_for_a_time_and_no_other() {
    let arm = eleven().await;
    let other = "0b0b0b0b-1111-4111-8111-0b0b0b0b0b0b";
    let theirs = arm.sim.vm(other, "shop", "web").create();
    let throttle = Effect::Throttle { retry_after_secs: None };
    arm.sim.fault(Fault::of_subscription(SUB, throttle).lasting(Duration::from_millis(1_500)));
    let refused = arm.get(&group_list()).await;
    assert_eq!((refused.status, refused.code()), (429, "SubscriptionRequestsThrottled"));
    assert_eq!(refused.header("retry-after"), Some("2"), "what is left of it");
    assert_eq!(arm.get(&theirs.id()).await.status, 200);
    for _ in 0..1_000 {
        if arm.get(&group_list()).await.status == 200 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    unreachable!("it never ended");
}

#[tokio::test]
async fn a_token_can_be_refused_for_one_subscription() {
    let arm = eleven().await;
    let other = "0b0b0b0b-1111-4111-8111-0b0b0b0b0b0b";
    let theirs = arm.sim.vm(other, "shop", "web").create();
    arm.sim.fault(Fault::of_subscription(SUB, Effect::RefuseToken {}));
    let refused = arm.get(&group_list()).await;
    assert_eq!((refused.status, refused.code()), (401, "InvalidAuthenticationToken"));
    assert!(refused.header("www-authenticate").is_some_and(|text| text.contains("invalid_token")));
    assert_eq!(arm.get(&theirs.id()).await.status, 200);
}

#[tokio::test]
async fn a_subscription_can_hang_until_the_fault_is_cleared() {
    let arm = eleven().await;
    arm.sim.fault(Fault::of_subscription(SUB, Effect::Hang {}));
    let request = arm.request(reqwest::Method::GET, &group_list()).timeout(Duration::from_millis(200));
    assert!(request.send().await.is_err_and(|error| error.is_timeout()));
    let waiting = arm.request(reqwest::Method::GET, &group_list()).send();
    let clear = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        arm.sim.clear_faults_of(SUB);
    };
    let (waited, ()) = tokio::join!(waiting, clear);
    assert!(waited.is_err_and(|error| !error.is_timeout()), "the connection is closed without an answer");
    assert_eq!(arm.get(&group_list()).await.status, 200);
}

#[tokio::test]
async fn a_fleet_is_sown_at_once_and_counted_as_it_is_read() {
    let fleet = Fleet {
        machines: 10_000,
        subscriptions: 50,
        groups: 4,
        scale_set_every: 10,
        identities: vec!["app".into()],
        ..Fleet::default()
    };
    let arm = Arm::quick().await;
    arm.sim.sow(Seeds { fleets: vec![fleet.clone()], ..Seeds::default() }).expect("sown");
    let seen = || (arm.sim.sightings().machines, arm.sim.sightings().shown);
    arm.sim.watch_for_sightings();
    assert_eq!(seen(), (10_000, 0));
    let first = arm.get(&fleet.machine(17)).await;
    assert_eq!(first.body["identity"]["userAssignedIdentities"].as_object().map(serde_json::Map::len), Some(1));
    assert_eq!(seen(), (10_000, 1));
    let subscription = Fleet::subscription(17);
    let vms = format!("/subscriptions/{subscription}/providers/Microsoft.Compute/virtualMachines");
    let shown: usize = pages(&arm, &vms).await.iter().map(|page| names(page).len()).sum();
    assert_eq!((shown, seen().1), (200, 200), "number 17 among them");
    let sets = format!("/subscriptions/{}/providers/Microsoft.Compute/virtualMachineScaleSets", Fleet::subscription(0));
    assert_eq!(names(&arm.get(&sets).await).len(), 200, "every tenth, so all of each fifth subscription");
    let count = |what: &str| {
        let of = arm.sim.tally().into_iter().filter(|count| count.sort.what == what && count.sort.status == Some(200));
        of.map(|count| count.count).sum::<u64>()
    };
    assert_eq!((count("get machine"), count("list virtualMachines"), count("patch machine")), (1, 1, 0));
    arm.sim.watch_for_sightings();
    assert_eq!(seen(), (10_000, 0), "a new watch begins with none");
}
