//! What the API server refuses, in which words, and that the domain's parsers agree with it.
use crate::harness::Own;
use anyhow::{Context, Result, ensure};
use arm_simulator::Settings;
use devenv::world::World;
use kube::api::{Api, Patch, PatchParams, PostParams};
use lanyard::api::IdentityAssignment;
use lanyard::api::duration::drift_interval;
use lanyard::domain::{IdentityId, TargetId};
use lanyard::manifests::{self, Checker, Problem};
use serde_json::{Value, json};

const SUB: &str = "/subscriptions/5a3b1e00-0000-4000-8000-00000000000A";
const MACHINE: &str = "providers/Microsoft.Compute/virtualMachines";
const IDENTITY: &str = "providers/Microsoft.ManagedIdentity/userAssignedIdentities";

/// Accepted, or refused with these words.
type Verdict = Result<(), &'static str>;

fn targets() -> Vec<(String, Verdict)> {
    let below = |rest: &str| format!("{SUB}/resourceGroups/shop/{rest}");
    let group = |group: &str| format!("{SUB}/resourceGroups/{group}/{MACHINE}/web");
    let name = |name: &str| below(&format!("{MACHINE}/{name}"));
    vec![
        (name("web"), Ok(())),
        (name("web").to_uppercase(), Ok(())),
        (format!("azure://{}", name("web")), Ok(())),
        (below("providers/Microsoft.Compute/virtualMachineScaleSets/workers"), Ok(())),
        (name(&"a".repeat(64)), Ok(())),
        (name("web_1.x-(2)"), Ok(())),
        (group("bär"), Ok(())),
        (group(&"g".repeat(90)), Ok(())),
        (group("..."), Ok(())),
        (String::new(), Err("is no ARM resource id")),
        ("web".into(), Err("is no ARM resource id")),
        (format!("AZURE://{}", name("web")), Err("is no ARM resource id")),
        (format!("azure://azure://{}", name("web")), Err("is no ARM resource id")),
        (format!("{SUB}/resourceGroups/shop"), Err("is no ARM resource id")),
        (below("providers/Microsoft.Compute/virtualMachines"), Err("is no ARM resource id")),
        (below("disks/Microsoft.Compute/virtualMachines/web"), Err("is no ARM resource id")),
        (name("web").replace("subscriptions", "\u{17f}ubscriptions"), Err("is no ARM resource id")),
        (name("web/"), Err("ends with a slash")),
        (name("/web"), Err("empty part")),
        (format!("/{}", name("web")), Err("empty part")),
        (name("my web"), Err("blank or control character")),
        (name("my\u{a0}web"), Err("blank or control character")),
        (name("my\u{2028}web"), Err("blank or control character")),
        (name("web\n"), Err("blank or control character")),
        (name("we\u{85}b"), Err("blank or control character")),
        (name("web%2f"), Err("percent sign")),
        (name("web?api-version=1"), Err("query or fragment")),
        (name("web#top"), Err("query or fragment")),
        (name("web:1"), Err("character that ARM reserves")),
        (name("web\\1"), Err("character that ARM reserves")),
        (name("'web'"), Err("character that ARM reserves")),
        (name("\"web\""), Err("character that ARM reserves")),
        (name(".."), Err("'.' or '..' as a part")),
        (group("."), Err("'.' or '..' as a part")),
        (name("web").replace("5a3b1e00-", "5a3b1e0-"), Err("subscription that is no GUID")),
        (group(&"g".repeat(91)), Err("more than 90 characters")),
        (below("providers/Microsoft.Compute/disks/web"), Err("another type of resource")),
        (below("providers/Microsoft.ComputeX/virtualMachines/web"), Err("another type of resource")),
        (below(&format!("{IDENTITY}/shop-db")), Err("another type of resource")),
        (name("web/extensions/agent"), Err("child resource")),
        (below("providers/Microsoft.Compute/virtualMachineScaleSets/workers/virtualMachines/0"), Err("child resource")),
        (name(&"a".repeat(65)), Err("more than 64 characters")),
        (name(&"a".repeat(500)), Err("Too long")),
    ]
}

fn identities() -> Vec<(String, Verdict)> {
    let name = |name: &str| format!("{SUB}/resourceGroups/ids/{IDENTITY}/{name}");
    vec![
        (name("shop-db"), Ok(())),
        (name("SHOP_DB").to_lowercase(), Ok(())),
        (format!("azure://{}", name("shop-db")), Ok(())),
        (name("0ab"), Ok(())),
        (name(&"a".repeat(128)), Ok(())),
        (name(&"a".repeat(129)), Err("name is none that Azure allows")),
        (name("ab"), Err("name is none that Azure allows")),
        (name("-abc"), Err("name is none that Azure allows")),
        (name("shop.db"), Err("name is none that Azure allows")),
        (name("bär"), Err("name is none that Azure allows")),
        (name("\u{212a}elvin"), Err("name is none that Azure allows")),
        (name("shop-db/"), Err("ends with a slash")),
        (name("shop-db/federatedIdentityCredentials/x"), Err("child resource")),
        (format!("{SUB}/resourceGroups/shop/{MACHINE}/web"), Err("another type of resource")),
        ("shop-db".into(), Err("is no ARM resource id")),
    ]
}

fn durations() -> Vec<(String, Verdict)> {
    let ok = ["30s", "45s", "10m", "1h30m", "1h1m1s", "5400s", "0h45s", "24h", "23h60m"];
    let none = ["", "10", "ten", "1d", "30m1h", "1m1m", "1h 30m", "1.5h", "-10m", "60000ms", "m", "99999h", "10m\n"];
    let out = ["0s", "29s", "24h1s", "1441m", "9999h"];
    let told = |texts: &[&str], verdict: Verdict| texts.iter().map(|&text| (text.into(), verdict)).collect::<Vec<_>>();
    [told(&ok, Ok(())), told(&none, Err("is no duration")), told(&out, Err("out of bounds"))].concat()
}

fn machine() -> String {
    format!("{SUB}/resourceGroups/shop/{MACHINE}/web")
}

fn identity(name: &str) -> Value {
    json!({"resourceId": format!("{SUB}/resourceGroups/ids/{IDENTITY}/{name}")})
}

/// An assignment to one machine, with some fields of its spec changed.
fn assignment(changed: &Value) -> Result<IdentityAssignment> {
    let mut spec = json!({"target": {"resourceId": machine()}});
    for (field, value) in changed.as_object().context("fields are an object")? {
        spec[field] = value.clone();
    }
    Ok(serde_json::from_value(json!({"metadata": {"name": "web"}, "spec": spec}))?)
}

struct Server(Api<IdentityAssignment>);

impl Server {
    fn of(world: &World) -> Self {
        Self(Api::namespaced(world.client.clone(), &world.namespace))
    }

    /// What the server says to it, without keeping it. `lanyard validate` must take and refuse the same, in the same words.
    async fn answer(&self, changed: &Value) -> Result<Result<(), String>> {
        let dry = PostParams { dry_run: true, ..PostParams::default() };
        let object = assignment(changed)?;
        let answer = said(self.0.create(&dry, &object).await)?;
        let (offline, quickly) = offline(&object)?;
        ensure!(
            answer.is_ok() == offline.is_empty(),
            "{changed}: the server said {answer:?}, offline is said {offline:?}"
        );
        ensure!(offline == quickly, "{changed}: {offline:?} thoroughly, {quickly:?} quickly");
        if let (Err(answer), [one]) = (&answer, offline.as_slice()) {
            // The field's path comes first, which holds no blank.
            let sentence = one.split_once(' ').map_or(one.as_str(), |(_, said)| said);
            ensure!(
                answer.contains(sentence)
                    || one.contains("too long")
                    || (one.contains("repeats entry") && answer.contains("Duplicate value")),
                "the server said {answer}, offline is said {one}"
            );
        }
        Ok(answer)
    }

    /// The answers must be as told, and `parses` must agree.
    async fn agrees(
        &self,
        table: Vec<(String, Verdict)>,
        parses: fn(&str) -> bool,
        changed: fn(&str) -> Value,
    ) -> Result<()> {
        let mut wrong = Vec::new();
        for (text, verdict) in table {
            let answer = self.answer(&changed(&text)).await?;
            let as_told = match (&answer, verdict) {
                (Ok(()), Ok(())) => true,
                (Err(said), Err(words)) => said.contains(words) && is_one_sentence(said, words),
                (Ok(()), Err(_)) | (Err(_), Ok(())) => false,
            };
            if !as_told || parses(&text) != verdict.is_ok() {
                wrong.push(format!("{text:?}: wanted {verdict:?}, parses: {}, answered {answer:?}", parses(&text)));
            }
        }
        ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
        Ok(())
    }
}

/// What `lanyard validate` says, and what commands that are in a hurry say.
fn offline(object: &IdentityAssignment) -> Result<(Vec<String>, Vec<String>)> {
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), serde_json::to_vec(object)?)?;
    let read = manifests::read(&[file.path().to_owned()], "default");
    ensure!(read.problems.is_empty() && read.manifests.len() == 1, "{:?}", read.problems);
    let checker = Checker::new()?;
    let words = |problems: Vec<Problem>| problems.into_iter().map(|problem| problem.message).collect();
    let one = &read.manifests[0];
    Ok((words(checker.check(one)), words(checker.check_quickly(one))))
}

/// A refusal by a rule names one fault: the schema's own limits add that rules were not looked at.
fn is_one_sentence(said: &str, words: &str) -> bool {
    words == "Too long" || said.matches("Invalid value").count() == 1
}

fn said(answer: kube::Result<IdentityAssignment>) -> kube::Result<Result<(), String>> {
    match answer {
        Ok(_) => Ok(Ok(())),
        Err(kube::Error::Api(status)) if status.code == 422 => Ok(Err(status.message.clone())),
        Err(error) => Err(error),
    }
}

#[tokio::test]
async fn targets_are_refused_at_admission_as_the_domain_refuses_them() -> Result<()> {
    let world = World::start().await?;
    let changed = |id: &str| json!({"target": {"resourceId": id}});
    Server::of(&world).agrees(targets(), |id| id.parse::<TargetId>().is_ok(), changed).await
}

#[tokio::test]
async fn identities_are_refused_at_admission_as_the_domain_refuses_them() -> Result<()> {
    let world = World::start().await?;
    let changed = |id: &str| json!({"userAssigned": [{"resourceId": id}]});
    Server::of(&world).agrees(identities(), |id| id.parse::<IdentityId>().is_ok(), changed).await
}

#[tokio::test]
async fn drift_intervals_are_refused_at_admission_as_they_are_read() -> Result<()> {
    let world = World::start().await?;
    let changed = |text: &str| json!({"driftInterval": text});
    Server::of(&world).agrees(durations(), |text| drift_interval(text).is_ok(), changed).await
}

#[tokio::test]
async fn an_identity_is_named_once_and_at_most_150_are() -> Result<()> {
    let world = World::start().await?;
    let server = Server::of(&world);
    let many = |count: usize| -> Vec<Value> { (0..count).map(|n| identity(&format!("id-{n}"))).collect() };
    assert_eq!(server.answer(&json!({"userAssigned": many(150)})).await?, Ok(()));

    let refused = server.answer(&json!({"userAssigned": many(151)})).await?.expect_err("too many");
    assert!(refused.contains("more than 150 identities") && refused.contains("several assignments"), "{refused}");

    let prefixed = json!({"resourceId": format!("azure://{SUB}/resourceGroups/ids/{IDENTITY}/shop-db")});
    for twice in [identity("SHOP-DB"), prefixed, identity("shop-db")] {
        let list = json!({"userAssigned": [identity("shop-db"), identity("other"), twice]});
        let refused = server.answer(&list).await?.expect_err("twice");
        assert!(refused.contains("names an identity twice (ids are compared without case)"), "{refused}");
    }
    Ok(())
}

#[tokio::test]
async fn a_repair_is_asked_for_of_what_is_to_be_present_alone() -> Result<()> {
    let world = World::start().await?;
    let server = Server::of(&world);
    let with = |ensure: Value, repair: Value| {
        let mut entry = identity("shop-db");
        (entry["ensure"], entry["repair"]) = (ensure, repair);
        entry.as_object_mut().into_iter().for_each(|entry| entry.retain(|_, value| !value.is_null()));
        json!({"userAssigned": [identity("other"), entry]})
    };
    for (ensure, repair) in [
        (json!("Present"), json!(true)),
        (Value::Null, json!(true)),
        (json!("Absent"), json!(false)),
        (json!("Absent"), Value::Null),
    ] {
        assert_eq!(server.answer(&with(ensure.clone(), repair.clone())).await?, Ok(()), "{ensure} {repair}");
    }
    let refused = server.answer(&with(json!("Absent"), json!(true))).await?.expect_err("nothing to repair");
    assert!(refused.contains("leave repair out, or write ensure: Present"), "{refused}");
    assert!(is_one_sentence(&refused, ""), "{refused}");
    Ok(())
}

#[tokio::test]
async fn the_machine_cannot_be_changed_but_its_spelling_can() -> Result<()> {
    let world = World::start().await?;
    let server = Server::of(&world);
    let group = |group: &str| machine().replace("/shop/", &format!("/{group}/"));
    server.0.create(&PostParams::default(), &assignment(&json!({"target": {"resourceId": group("BÄR.x")}}))?).await?;

    let change = async |id: String| {
        let patch = json!({"spec": {"target": {"resourceId": id}}});
        said(server.0.patch("web", &PatchParams::default(), &Patch::Merge(patch)).await)
    };
    assert_eq!(change(group("bär.x")).await?, Ok(()));
    assert_eq!(change(format!("azure://{}", group("Bär.X").to_uppercase())).await?, Ok(()));
    for other in [group("bar.x"), group("bärax"), format!("{}2", group("bär.x"))] {
        let refused = change(other).await?.expect_err("another machine");
        assert!(refused.contains("cannot be changed: create another assignment"), "{refused}");
    }
    Ok(())
}

#[tokio::test]
async fn two_field_managers_share_the_list_of_identities() -> Result<()> {
    let world = World::start().await?;
    let api = Server::of(&world).0;
    let apply = async |manager: &str, names: &[&str]| {
        let ids: Vec<Value> = names.iter().map(|name| identity(name)).collect();
        let spec = json!({"target": {"resourceId": machine()}, "userAssigned": ids});
        let object = json!({
            "apiVersion": "lanyard.dev/v1alpha1", "kind": "IdentityAssignment", "metadata": {"name": "web"}, "spec": spec,
        });
        api.patch("web", &PatchParams::apply(manager), &Patch::Apply(object)).await
    };
    let names = |object: &IdentityAssignment| -> Vec<String> {
        let ids = object.spec.user_assigned.iter();
        ids.filter_map(|entry| entry.resource_id.rsplit('/').next().map(Into::into)).collect()
    };
    apply("flux", &["shop-db"]).await?;
    assert_eq!(names(&apply("jane", &["shop-queue"]).await?), ["shop-db", "shop-queue"]);
    assert_eq!(names(&apply("flux", &[]).await?), ["shop-queue"]);
    Ok(())
}

#[tokio::test]
async fn columns_show_what_a_team_and_a_platform_team_look_for() -> Result<()> {
    // Without a controller, which would write a status of its own.
    let own = Own::new(Settings::quick()).await?;
    let api: Api<IdentityAssignment> = Api::namespaced(own.client.clone(), &own.namespace);
    api.create(&PostParams::default(), &assignment(&json!({}))?).await?;
    let ready = json!({
        "type": "Ready", "status": "False", "reason": "Applying", "message": "attaching shop-db",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    });
    let status = json!({
        "conditions": [ready], "target": {"name": "web-abc", "kind": "VirtualMachine"},
        "systemAssigned": {"state": "On"}, "summary": {"machine": "web", "user": "2/3"}, "unmanaged": {"count": 1},
    });
    api.patch_status("web", &PatchParams::default(), &Patch::Merge(json!({"status": status}))).await?;

    let table = shown(&own, &["get", "ida", "web", "-n", &own.namespace]).await?;
    assert_eq!(row(&table, 0)[..7], ["NAME", "TARGET", "KIND", "SYSTEM", "USER", "READY", "REASON"]);
    assert_eq!(row(&table, 1)[..7], ["web", "web", "VirtualMachine", "On", "2/3", "False", "Applying"]);
    let wide = shown(&own, &["get", "lanyard", "-o", "wide", "-n", &own.namespace]).await?;
    for part in [machine().as_str(), "attaching shop-db", "web-abc", "Enforce", "false"] {
        assert!(wide.contains(part), "{part} in {wide}");
    }
    let explained = shown(&own, &["explain", "idt.record.intent"]).await?;
    assert!(explained.contains("Recorded before the PATCH leaves"), "{explained}");
    Ok(())
}

fn row(table: &str, index: usize) -> Vec<&str> {
    table.lines().nth(index).unwrap_or_default().split_whitespace().collect()
}

async fn shown(own: &Own, arguments: &[&str]) -> Result<String> {
    let output = own.control_plane()?.kubectl(arguments.iter().copied()).await?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}
